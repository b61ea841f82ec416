"""Months and statements."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import InvalidRequest
from gateway.domain.statement import KINDS, Line, Month, Statement, month_named

NOW_MS = 1_795_737_600_000  # 2026-11-27
DAY_MS = 86_400_000


@given(year=st.integers(1970, 2026), number=st.integers(1, 11))
def test_months_follow_each_other(year: int, number: int) -> None:
    one = month_named(f"{year:04}-{number:02}", NOW_MS)
    following = month_named(f"{year:04}-{number + 1:02}", NOW_MS * 2)
    assert one.until_ms == following.since_ms
    assert (one.until_ms - one.since_ms) // DAY_MS in (28, 29, 30, 31)


def test_december_ends_the_year() -> None:
    one = month_named("2025-12", NOW_MS)
    assert one.until_ms == month_named("2026-01", NOW_MS).since_ms


@pytest.mark.parametrize(
    "text", ["", "2026", "2026-13", "2026-00", "0000-01", "26-11", "2026-11-01"]
)
def test_what_is_no_month_is_named(text: str) -> None:
    with pytest.raises(InvalidRequest, match="2026-11"):
        month_named(text, NOW_MS)


def test_a_month_to_come_has_no_statement() -> None:
    with pytest.raises(InvalidRequest, match="not begun"):
        month_named("2026-12", NOW_MS)
    assert month_named("2026-11", NOW_MS).name == "2026-11"


def test_totals_are_by_kind() -> None:
    lines = [Line(0, "grant", 7), Line(0, "grant", 2), Line(0, "charge", -3), Line(0, "refund", 1)]
    found = Statement("t", "studio", Month("2026-11", 0, 1), 0, 7, lines)
    assert [found.total(kind) for kind in KINDS] == [9, 0, -3, 1, 0]
