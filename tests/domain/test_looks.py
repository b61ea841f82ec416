"""A lost submit is looked for in the vendor's list before anything is bought elsewhere."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.domain.errors import Blame, Sent
from gateway.domain.machine import LOOK_PAUSE_MS, LOOKS_MS, apply, decide
from gateway.domain.model import OnAmbiguous
from gateway.domain.steps import (
    AttemptAccepted,
    CancelConfirmed,
    CancelRequested,
    GaveUp,
    Look,
    Poll,
    PollMissed,
    Record,
    Sleep,
    Submit,
)
from gateway.domain.task import Outcome, TaskStatus
from tests.domain.tasks import (
    BOTH,
    DEADLINE,
    DELIVERED,
    NOW,
    a_task,
    facts,
    failed,
    started,
)

LOST = failed(Blame.PROVIDER, Sent.UNKNOWN)
LOST_MS = NOW + 10
IN_VAIN = PollMissed(unknown_task=False, at_ms=NOW + 20)
FOUND = AttemptAccepted("vendor-7", NOW + 3_000)


def after(ms: int):
    return replace(facts(*BOTH, now_ms=LOST_MS + ms), can_look=True)


def test_the_list_is_looked_at_twice_and_then_another_upstream_is_paid():
    task = a_task(started("a"), LOST)
    for due_ms in LOOKS_MS:
        assert decide(task, after(due_ms - 1)) == Sleep(LOST_MS + due_ms)
        assert decide(task, after(due_ms)) == Look(task.attempts[0])
        task = apply(task, IN_VAIN)
    assert decide(task, after(LOOKS_MS[-1])) == Submit(BOTH[1])
    assert task.exposure == 44_000


def test_without_a_list_nothing_is_waited_for():
    assert decide(a_task(started("a"), LOST), facts(*BOTH)) == Submit(BOTH[1])


def test_a_job_that_was_found_is_polled_and_delivers():
    task = a_task(started("a"), LOST, FOUND)
    (attempt,) = task.attempts
    assert (attempt.outcome, attempt.upstream_task_id) == (Outcome.ACCEPTED, "vendor-7")
    assert (attempt.exposure, attempt.finished_ms, attempt.code, attempt.blame) == (
        0,
        None,
        None,
        None,
    )
    assert decide(task, after(3_000)) == Poll(attempt)
    done = apply(task, DELIVERED)
    assert done.ending is not None
    assert done.ending.status is TaskStatus.COMPLETED
    assert (done.cost, done.exposure) == (44_000, 0)


def test_a_vendor_that_knows_keys_is_asked_again_before_its_list_is_looked_at():
    task = a_task(started("a", idempotent=True), LOST)
    step = decide(task, after(1_000))
    assert isinstance(step, Submit)
    assert step.again is not None
    task = apply(apply(task, started("a", idempotent=True, misses=1)), LOST)
    assert decide(task, after(LOOKS_MS[0])) == Look(task.attempts[0])


def test_a_task_that_fails_on_ambiguity_is_looked_for_first():
    task = a_task(started("a", on_ambiguous=OnAmbiguous.FAIL), LOST)
    assert decide(task, after(LOOKS_MS[0])) == Look(task.attempts[0])
    step = decide(apply(apply(task, IN_VAIN), IN_VAIN), after(LOOKS_MS[-1]))
    assert isinstance(step, Record)
    assert isinstance(step.event, GaveUp)


def test_a_task_that_waits_looks_again_and_again_until_its_deadline():
    task = a_task(started("a", on_ambiguous=OnAmbiguous.WAIT), LOST, IN_VAIN, IN_VAIN)
    for number in (1, 2, 3):
        due_ms = LOOKS_MS[-1] + number * LOOK_PAUSE_MS
        assert decide(task, after(due_ms - 1)) == Sleep(LOST_MS + due_ms)
        assert decide(task, after(due_ms)) == Look(task.attempts[0])
        task = apply(task, IN_VAIN)
    late = a_task(
        started("a", on_ambiguous=OnAmbiguous.WAIT), LOST, *([IN_VAIN] * 30), deadline_ms=DEADLINE
    )
    assert decide(late, after(0)) == Sleep(DEADLINE)


def test_a_second_lost_submit_is_not_waited_for_beyond_its_looks():
    waits = OnAmbiguous.WAIT
    task = a_task(started("a", on_ambiguous=OnAmbiguous.FAILOVER), LOST)
    task = apply(apply(task, started("b", 2, on_ambiguous=waits)), LOST)
    assert decide(task, after(LOOKS_MS[0])) == Look(task.attempts[1])
    step = decide(apply(apply(task, IN_VAIN), IN_VAIN), after(LOOKS_MS[-1]))
    assert isinstance(step, Record)


@pytest.mark.parametrize("looks", [0, 1])
def test_a_cancelled_task_is_not_looked_for(looks):
    task = a_task(started("a"), LOST, *([IN_VAIN] * looks), CancelRequested(NOW + 30))
    step = decide(task, after(LOOKS_MS[-1]))
    assert step == Record(CancelConfirmed(LOST_MS + LOOKS_MS[-1]))
