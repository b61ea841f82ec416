"""The small records: callbacks, exposure, marks of calls, ids of transfers, errors."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, replace
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain import errors
from gateway.domain.callback import RETRY_DELAYS_MS, SLOW_DELAYS_MS, TryResult, next_try_ms
from gateway.domain.errors import InvalidRequest, Problem
from gateway.domain.exposure import Exposure, resolved, with_attempt
from gateway.domain.ledger import (
    LedgerReport,
    Transfer,
    TransferKind,
    Violation,
    resolution_id,
    transfer_id,
)
from gateway.domain.records import changed
from gateway.domain.repeats import RETRY_PAUSE_MS, RETRY_TTL_MS, CallMark, EarlierCall
from gateway.domain.request import GenerationRequest
from gateway.domain.submission import Draft, PartlyRead
from gateway.domain.task import Attempt, Outcome
from tests.domain.tasks import a_task

LOST = Attempt("a1", 1, "cheap", "evolink", "wan", 0, 60_000, Outcome.UNKNOWN, exposure=60_000)


@given(st.integers(1, 50), st.booleans())
def test_tries_come_later_and_later_and_end(tries, patient):
    delays = RETRY_DELAYS_MS + SLOW_DELAYS_MS * patient
    expected = 1_000 + delays[tries - 1] if tries <= len(delays) else None
    assert next_try_ms(tries, 1_000, patient=patient) == expected
    assert list(delays) == sorted(delays)


@pytest.mark.parametrize(
    ("status", "delivered", "gone"),
    [
        (200, True, False),
        (299, True, False),
        (302, False, False),
        (410, False, True),
        (None, False, False),
    ],
)
def test_what_a_receiver_s_answer_means(status, delivered, gone):
    result = TryResult(status, None, 0, 1)
    assert (result.delivered, result.gone) == (delivered, gone)


@given(st.integers(0, 60_000))
def test_a_resolved_exposure_is_a_certain_cost_or_nothing(cost):
    known = resolved(LOST, cost)
    assert (known.cost, known.exposure, known.outcome) == (cost, 0, Outcome.UNKNOWN)
    assert known.resolution == ("billed" if cost else "free")
    task = replace(a_task(), attempts=(LOST, replace(LOST, id="a2")))
    assert with_attempt(task, known).attempts == (known, replace(LOST, id="a2"))


@pytest.mark.parametrize("cost", [-1, 60_001])
def test_an_exposure_costs_at_most_what_was_booked(cost):
    with pytest.raises(InvalidRequest, match=r"0 to 0\.06"):
        resolved(LOST, cost)


def test_a_late_delivery_costs_its_pictures():
    one = Exposure("a", "t", "team", "cheap", "wan", "v", "abandoned", None, 7, 60_000, n=3)
    assert [one.cost_of(pictures) for pictures in (0, 1, 3, 9)] == [0, 20_000, 60_000, 60_000]
    assert one.created_ms == 7


@given(st.text(min_size=1), st.text(min_size=1))
def test_a_task_has_one_id_per_transfer_and_one_for_its_resolution(one, other):
    ids = {transfer_id(one, kind) for kind in TransferKind} | {resolution_id(one)}
    assert len(ids) == len(TransferKind) + 1
    assert (resolution_id(one) == resolution_id(other)) == (one == other)


def test_a_transfer_gains_what_the_balance_gains():
    gains = {kind: Transfer(uuid4(), kind, "team", 5, 0).gain for kind in TransferKind}
    assert gains == {
        "grant": 5, "hold": 0, "capture": -5, "release": 0, "credit": 5, "debit": -5, "refund": 5,
        "expiration": -5,
    }  # fmt: skip


def test_a_report_with_a_violation_is_not_sound():
    assert LedgerReport(0, 0, 0, ()).is_sound
    assert not LedgerReport(0, 0, 0, (Violation("rule", "task", "why"),)).is_sound


@pytest.mark.parametrize(
    ("mark", "age_ms", "attaches"),
    [
        (CallMark("s", b"f"), 0, False),
        (CallMark("s", b"f", retries=0), 0, True),
        (CallMark("s", b"f", retries=0), RETRY_TTL_MS - RETRY_PAUSE_MS, False),
        (CallMark("s", b"f", key="k"), RETRY_TTL_MS, True),
    ],
)
def test_a_repetition_attaches_while_its_mark_counts(mark, age_ms, attaches):
    assert mark.attaches(1_000, 1_000 + age_ms) is attaches


def test_a_partly_read_call_carries_what_could_be_read():
    draft = Draft(GenerationRequest(model="m", prompt="p"))
    error = PartlyRead((Problem("n", "n is not valid.", legal="1 to 4"),), draft)
    assert (error.draft, error.param) == (draft, "n")


ERRORS = [
    (errors.UpstreamError("it broke", blame=errors.Blame.PROVIDER), 502, "it broke"),
    (errors.ModelNotFound("wam", ("wan",)), 404, "Did you mean wan?"),
    (errors.ModelNotFound("x"), 404, "lists them"),
    (errors.RateLimited("slow down", 2.0), 429, "slow down"),
    (errors.StoreUnavailable("It is away.", "for operators"), 503, "It is away. (for operators)"),
    (errors.StoreUnavailable(), 503, "The database is away"),
    (errors.WaitExpired("task-1"), 504, "still running"),
    (errors.RepeatedCall(EarlierCall("task-1", b"")), 500, "Idempotency-Key"),
    (errors.RepeatedChange("team_1", None), 500, "Idempotency-Key"),
    (errors.ConfigError(("models.x", "is odd")), 500, "models.x: is odd"),
]


@pytest.mark.parametrize(("error", "status", "words"), ERRORS, ids=str)
def test_an_error_has_a_status_and_words(error, status, words):
    assert error.status == status
    assert words in str(error)


@pytest.mark.parametrize("kind", [errors.InvalidRequest, errors.ConfigError])
def test_an_error_about_problems_has_one(kind):
    with pytest.raises(ValueError, match="at least one problem"):
        kind()


def test_a_problem_names_its_legal_values():
    assert str(Problem("n", "n is not valid.", legal="1 to 4")).endswith("(legal: 1 to 4)")
    assert str(Problem("n", "n is not valid.")) == "n is not valid."


def test_a_quick_record_is_frozen_compares_and_copies_like_any_other():
    one = GenerationRequest("wan", "a kite", n=2)
    other = changed(one, n=3, seed=7)
    assert other == replace(one, n=3, seed=7) != one
    assert type(other) is type(one) is GenerationRequest
    for record in (one, other):
        with pytest.raises(FrozenInstanceError):
            record.n = 4  # type: ignore[misc]
    with pytest.raises(AttributeError, match="number"):
        changed(one, number=4)


def test_a_quick_record_fills_in_its_defaults_each_time_anew():
    drafts = [Draft(GenerationRequest("wan")) for _ in "ab"]
    assert drafts[0] == drafts[1]
    assert drafts[0].echo is not drafts[1].echo
    task = a_task()
    assert {field.name for field in fields(task)} == set(type(task).__slots__)
    with pytest.raises(TypeError, match="missing"):
        Attempt("a1", 1)  # type: ignore[call-arg]
