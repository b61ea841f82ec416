"""Batches: counts, who may send how much, and what follows from a refused line."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.access import KeyRules, Principal
from gateway.domain.batch import (
    Batch,
    BatchStatus,
    Course,
    is_of_batch,
    judge,
    share,
    task_id_of,
    unfit,
)
from gateway.domain.budgets import BudgetReached
from gateway.domain.caps import CapReached
from gateway.domain.errors import (
    GatewayError,
    InsufficientCredits,
    InvalidRequest,
    ModelNotFound,
    NoHealthyUpstream,
    NotAllowed,
    Problem,
    RateLimited,
    StoreUnavailable,
)


def batch(name: str = "batch-1", **facts) -> Batch:
    first = Batch(
        id=name,
        team_id="team_1",
        key_id="key_1",
        status=BatchStatus.RUNNING,
        concurrency=10,
        total=100,
        created_ms=1,
    )
    return replace(first, **facts)


def test_lines_are_waiting_until_they_run_or_have_ended():
    one = batch(running=3, completed=5, failed=2, cancelled=1)
    assert (one.ended, one.waiting, one.is_over) == (8, 89, False)
    assert batch(completed=98, failed=2).is_over


@pytest.mark.parametrize(
    ("status", "ending"),
    [
        (BatchStatus.RUNNING, BatchStatus.COMPLETED),
        (BatchStatus.PAUSED, BatchStatus.COMPLETED),
        (BatchStatus.CANCELLING, BatchStatus.CANCELLED),
    ],
)
def test_what_a_batch_becomes_when_its_lines_have_ended(status, ending):
    assert batch(status=status).ending is ending
    assert (status.is_terminal, ending.is_terminal) == (False, True)


def test_a_line_has_one_task_id_and_shows_it():
    assert task_id_of("batch-9f", 17) == "task-batch-9f-17"
    assert is_of_batch("task-batch-9f-17")
    assert not is_of_batch("task-unified-1795170001-q7m2kd0a")


# --- shares ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("batches", "most", "given"),
    [
        ([batch("a")], 100, {"a": 10}),
        ([batch("a", running=4)], 100, {"a": 6}),
        ([batch("a", running=4, completed=95)], 100, {"a": 1}),
        ([batch("a"), batch("b")], 15, {"a": 8, "b": 7}),
        ([batch("a", concurrency=2), batch("b")], 9, {"a": 2, "b": 7}),
        ([batch("a", running=9), batch("b", running=9)], 18, {}),
        ([batch("a", running=9, status=BatchStatus.PAUSED), batch("b")], 12, {"b": 3}),
        ([batch("a", status=BatchStatus.CANCELLING)], 12, {}),
        ([], 12, {}),
    ],
)
def test_free_places_go_round(batches, most, given):
    assert share(batches, most) == given


sizes = st.integers(0, 30)


@given(
    st.lists(st.tuples(st.sampled_from(BatchStatus), sizes, st.integers(1, 30), sizes), max_size=6),
    st.integers(0, 60),
)
def test_no_share_is_beyond_any_bound_and_none_is_left_unused(facts, most):
    batches = [
        batch(f"b{no}", status=status, running=running, concurrency=wide, total=running + left)
        for no, (status, running, wide, left) in enumerate(facts)
    ]
    given_out = share(batches, most)
    open_ones = {
        one.id: max(0, min(one.concurrency - one.running, one.waiting))
        for one in batches
        if one.status is BatchStatus.RUNNING
    }
    free = max(0, most - sum(one.running for one in batches))
    assert all(0 < count <= open_ones[name] for name, count in given_out.items())
    assert sum(given_out.values()) == min(free, sum(open_ones.values()))
    # Nobody gets two more than somebody who wants more too.
    unfed = [
        given_out.get(name, 0)
        for name, most_ in open_ones.items()
        if given_out.get(name, 0) < most_
    ]
    assert max(given_out.values(), default=0) <= min(unfed, default=30) + 1


# --- refusals --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        InsufficientCredits("no credits"),
        CapReached("no cap"),
        BudgetReached("no budget"),
        NotAllowed("not this model"),
    ],
)
def test_what_the_team_can_change_pauses(error):
    verdict = judge(error)
    assert (verdict.course, verdict.code) == (Course.PAUSE, error.code)
    assert verdict.message == error.message


@pytest.mark.parametrize(
    ("error", "wait_s"),
    [
        (RateLimited("slowly", 12.5), 12.5),
        (RateLimited("at once", 0.0), 0.5),
        (RateLimited("next month", 9_999.0), 60.0),
        (StoreUnavailable(), 1.0),
    ],
)
def test_what_passes_by_itself_is_waited_for(error, wait_s):
    verdict = judge(error)
    assert (verdict.course, verdict.wait_s) == (Course.WAIT, wait_s)


def test_the_lack_of_an_upstream_is_waited_for_by_lines_of_the_model_alone():
    verdict = judge(NoHealthyUpstream())
    assert (verdict.course, verdict.wait_s) == (Course.ASIDE, 1.0)


@pytest.mark.parametrize(
    "error",
    [InvalidRequest(Problem("n", "n is 9")), ModelNotFound("gone"), GatewayError("a fault")],
)
def test_anything_else_is_the_lines_own(error):
    assert judge(error).course is Course.FAIL


WHO = Principal(team_id="team_1", team_name="studio", key_id="key_1")


@pytest.mark.parametrize(
    ("principal", "code"),
    [
        (None, "invalid_api_key"),
        (replace(WHO, suspended=True), "not_allowed"),
        (replace(WHO, rules=KeyRules(scopes=("read",))), "not_allowed"),
    ],
)
def test_a_key_that_may_not_generate_any_more_pauses(principal, code):
    verdict = unfit(principal)
    assert (verdict.course, verdict.code) == (Course.PAUSE, code)


def test_a_key_that_may_generate_is_fit():
    assert unfit(WHO) is None
