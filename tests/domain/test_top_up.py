"""A partial delivery that others complete, and that no failure of theirs takes away."""

from __future__ import annotations

import pytest

from gateway.domain.errors import Blame, Sent
from gateway.domain.machine import apply, decide
from gateway.domain.steps import (
    AttemptDelivered,
    AttemptLost,
    CancelConfirmed,
    CancelRequested,
    Facts,
    GaveUp,
    PlanRoute,
    Record,
    Settle,
    Settled,
    Submit,
)
from gateway.domain.strategy import RoutingPolicy
from gateway.domain.task import Ending, Image, TaskError, TaskStatus, charge
from tests.domain.tasks import (
    ACCEPTED,
    BOTH,
    DEADLINE,
    NOW,
    a_task,
    candidate,
    facts,
    failed,
    started,
)

ONE, TWO = Image("https://x/1.png"), Image("https://x/2.png")
FIRST, SECOND = (
    AttemptDelivered((ONE,), 22_000, NOW + 9),
    AttemptDelivered((TWO,), 30_000, NOW + 99),
)


def partly(*events, **changes):
    """Give a task for two pictures of which the first upstream made one."""
    return a_task(started("a"), ACCEPTED, FIRST, *events, top_up=True, **changes)


def test_what_is_missing_is_made_elsewhere_and_both_are_paid_for():
    task = partly()
    assert (task.ending, task.kept, task.missing) == (None, (ONE,), 1)
    assert decide(task, Facts(NOW + 100)) == PlanRoute()
    assert decide(task, facts(*BOTH)) == Submit(BOTH[1])
    whole = partly(started("b", 2), ACCEPTED, SECOND)
    assert whole.ending == Ending(TaskStatus.COMPLETED, images=(ONE, TWO))
    # Nothing of the pictures stays elsewhere in the task, where an erasure would not look.
    assert whole.kept == ()
    assert decide(whole, facts()) == Settle(whole.ending)
    settled = apply(whole, Settled(charge(whole, whole.ending), NOW + 200))
    assert (settled.charged, settled.cost) == (settled.hold, 52_000)


def test_a_delivery_that_is_whole_or_not_to_be_completed_ends_the_task():
    assert a_task(started("a"), ACCEPTED, FIRST).ending == Ending(TaskStatus.COMPLETED, (ONE,))
    assert partly(n=1).ending == Ending(TaskStatus.COMPLETED, (ONE,))


def test_three_upstreams_may_each_make_a_part():
    task = partly(started("b", 2), ACCEPTED, SECOND, n=4)
    assert (task.kept, task.missing) == ((ONE, TWO), 2)
    assert decide(task, facts(*BOTH, candidate("c"))) == Submit(candidate("c"))


@pytest.mark.parametrize(
    "events",
    [
        [failed(Blame.CALLER)],
        [ACCEPTED, AttemptLost("deadline_exceeded", "Too late.", DEADLINE)],
        [ACCEPTED, CancelRequested(NOW), CancelConfirmed(NOW + 1)],
        [GaveUp(TaskError("x", "y", Blame.PROVIDER), NOW)],
    ],
)
def test_no_failure_of_the_rest_takes_what_was_delivered(events):
    task = partly(started("b", 2), *events)
    assert (task.ending, task.kept) == (Ending(TaskStatus.COMPLETED, images=(ONE,)), ())
    assert charge(task, task.ending) == task.unit_price


@pytest.mark.parametrize(
    ("task", "known"),
    [
        (partly(), facts(BOTH[0])),
        (partly(), facts(retry_at_ms=NOW + 500)),
        (partly(started("b", 2), failed(Blame.RATE, Sent.REFUSED, 60_000)), facts(*BOTH)),
        (partly(), facts(*BOTH, now_ms=DEADLINE)),
        (partly(CancelRequested(NOW + 50)), facts(*BOTH)),
    ],
)
def test_what_was_delivered_is_not_kept_waiting_for_an_upstream(task, known):
    step = decide(task, known)
    assert isinstance(step, Record)
    assert apply(task, step.event).ending == Ending(TaskStatus.COMPLETED, images=(ONE,))


def test_a_model_may_differ_from_the_rest():
    policy = RoutingPolicy(top_up=True, top_ups={"wan": False})
    assert (policy.tops_up("wan"), policy.tops_up("flux")) == (False, True)
