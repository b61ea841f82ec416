"""An invoice against the books: what agrees, and each way in which they can differ."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.invoice import Booked, Difference, Finding, compare

PAID = Booked("a1", "task-1", "v1", 22_000, 0)
ABANDONED = Booked("a2", "task-2", "v2", 0, 44_000)
LOST = Booked("a3", "task-3", None, 0, 60_000)


def test_what_both_have_at_one_amount_agrees():
    found = compare([("v1", 20_000), ("v1", 2_000)], [PAID])
    assert (found.findings, found.agreeing, found.billed, found.booked) == ((), 1, 22_000, 22_000)


def test_every_way_to_differ_is_told_apart():
    other = Booked("a4", "task-4", "v4", 30_000, 0)
    found = compare([("v1", 25_000), ("v9", 5_000), ("v2", 44_000)], [PAID, ABANDONED, other, LOST])
    assert found.findings == (
        Finding(Difference.AMOUNT, "v1", "a1", "task-1", 25_000, 22_000),
        Finding(Difference.NOT_BOOKED, "v9", None, None, 5_000, None),
        Finding(Difference.EXPOSURE_BILLED, "v2", "a2", "task-2", 44_000, 44_000),
        Finding(Difference.NOT_BILLED, "v4", "a4", "task-4", None, 30_000),
    )
    assert (found.unnamed, found.unnamed_exposure, found.agreeing) == (1, 60_000, 0)
    (missing,) = compare([], [ABANDONED]).findings
    assert missing.kind is Difference.EXPOSURE_NOT_BILLED


def test_amounts_within_the_tolerance_agree():
    assert compare([("v1", 22_001)], [PAID], tolerance=1).findings == ()
    assert len(compare([("v1", 22_002)], [PAID], tolerance=1).findings) == 1
    assert compare([], [Booked("a", "t", "v", 1, 0)], tolerance=1).findings == ()


@given(
    st.dictionaries(st.text("abc", min_size=1), st.integers(1, 10**9)),
    st.dictionaries(st.text("abc", min_size=1), st.integers(1, 10**9)),
)
def test_findings_explain_the_whole_difference(billed, booked):
    found = compare(billed.items(), [Booked(n, n, n, cost, 0) for n, cost in booked.items()])
    explained = sum((one.billed or 0) - (one.booked or 0) for one in found.findings)
    assert explained == found.billed - found.booked
    assert found.agreeing + len(found.findings) == len(billed.keys() | booked.keys())
