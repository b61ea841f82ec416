"""A lost submit is sent again under the same id, once, where the vendor knows it by that id."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.domain.errors import Blame, Sent
from gateway.domain.machine import apply, decide
from gateway.domain.steps import (
    AttemptFailed,
    AttemptStarted,
    Event,
    Facts,
    Record,
    Sleep,
    Submit,
)
from gateway.domain.task import (
    Outcome,
    Task,
)
from tests.domain.tasks import (
    ACCEPTED,
    BOTH,
    DELIVERED,
    NOW,
    a_task,
    facts,
    failed,
    started,
)


def test_a_crash_between_intent_and_answer_becomes_unknown() -> None:
    step = decide(a_task(started("a")), Facts(NOW))

    assert isinstance(step, Record)
    assert isinstance(step.event, AttemptFailed)
    assert step.event.sent is Sent.UNKNOWN


def test_an_idempotent_upstream_is_sent_the_same_attempt_again_once() -> None:
    task = a_task(started("a", idempotent=True))

    step = decide(task, Facts(NOW))

    assert isinstance(step, Submit)
    assert step.again is not None
    assert step.again.id == "a1"
    resent = apply(task, AttemptStarted(step.again))
    assert len(resent.attempts) == 1
    assert isinstance(decide(resent, Facts(NOW)), Record)


UNKNOWN = failed(Blame.PROVIDER, Sent.UNKNOWN)
LATER = NOW + 10 + 1_000


def resent(*more: Event) -> Task:
    """Give a task whose idempotent submit got lost and went out again."""
    task = a_task(started("a", idempotent=True), UNKNOWN)
    step = decide(task, facts(*BOTH, now_ms=LATER))
    assert isinstance(step, Submit)
    assert step.again is not None
    for event in (AttemptStarted(step.again), *more):
        task = apply(task, event)
    return task


def test_a_lost_submit_is_sent_again_under_the_same_id_instead_of_failing_over() -> None:
    lost = a_task(started("a", idempotent=True), UNKNOWN)

    assert decide(lost, facts(*BOTH)) == Sleep(LATER)
    task = resent()
    assert [(a.id, a.outcome) for a in task.attempts] == [("a1", Outcome.INTENT)]
    assert (task.attempts[0].code, task.attempts[0].finished_ms) == (None, None)
    assert task.exposure == 44_000


@pytest.mark.parametrize("answer", [ACCEPTED, DELIVERED])
def test_an_answer_to_the_second_submit_clears_the_exposure(answer: Event) -> None:
    task = resent(answer)

    assert task.exposure == 0
    assert len(task.attempts) == 1
    assert not isinstance(decide(task, facts(*BOTH)), Submit)


@pytest.mark.parametrize("blame", [Blame.PROVIDER, Blame.RATE, Blame.ACCOUNT])
@pytest.mark.parametrize("sent", list(Sent))
def test_a_second_submit_that_was_not_taken_leaves_the_first_unknown(
    blame: Blame, sent: Sent
) -> None:
    task = resent(failed(blame, sent))

    assert task.attempts[0].outcome is Outcome.UNKNOWN
    assert task.exposure == 44_000
    assert decide(task, facts(*BOTH)) == Submit(BOTH[1])


def test_a_request_found_at_fault_the_second_time_was_not_taken_the_first_time() -> None:
    task = resent(failed(Blame.CALLER))

    assert task.attempts[0].outcome is Outcome.REFUSED
    assert task.exposure == 0


def test_a_crash_in_the_second_submit_leaves_it_unknown() -> None:
    task = resent()

    step = decide(task, facts(*BOTH))

    assert isinstance(step, Record)
    task = apply(task, step.event)
    assert task.exposure == 44_000
    assert decide(task, facts(*BOTH)) == Submit(BOTH[1])


def test_a_vendor_that_forbids_the_second_submit_is_not_asked_again() -> None:
    forbidden = replace(UNKNOWN, repeatable=False)
    task = a_task(started("a", idempotent=True), forbidden)

    assert decide(task, facts(*BOTH, now_ms=LATER)) == Submit(BOTH[1])
    assert task.exposure == 44_000


def test_the_second_submit_waits_as_long_as_the_vendor_asked() -> None:
    task = a_task(started("a", idempotent=True), replace(UNKNOWN, retry_after_ms=5_000))

    assert decide(task, facts(*BOTH)) == Sleep(NOW + 10 + 5_000)
