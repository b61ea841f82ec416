"""The task state machine: what each state does next, and what each event leaves behind."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.domain import performance
from gateway.domain.errors import Blame, Sent
from gateway.domain.machine import MISSES_MAX, apply, decide, poll_delay_ms
from gateway.domain.model import OnAmbiguous
from gateway.domain.steps import (
    AttemptDelivered,
    AttemptLost,
    AttemptProgressed,
    CancelConfirmed,
    CancelRefused,
    CancelRequested,
    CancelUpstream,
    Done,
    Facts,
    GaveUp,
    PlanRoute,
    Poll,
    PollMissed,
    Postponed,
    Record,
    RoutePlanned,
    Settle,
    Settled,
    Sleep,
    Submit,
)
from gateway.domain.task import (
    Ending,
    Outcome,
    TaskError,
    TaskStatus,
    charge,
)
from tests.domain.tasks import (
    ACCEPTED,
    BOTH,
    DEADLINE,
    DELIVERED,
    NOW,
    PICTURES,
    a_task,
    candidate,
    facts,
    failed,
    started,
)


def test_a_new_task_asks_for_a_route_and_then_goes_to_the_first_candidate() -> None:
    assert decide(a_task(), Facts(NOW)) == PlanRoute()
    assert decide(a_task(), facts(*BOTH)) == Submit(BOTH[0])


def test_a_planned_route_is_kept_in_words() -> None:
    assert a_task(RoutePlanned(("a: cheapest",))).route == ("a: cheapest",)


def test_an_accepted_attempt_is_polled_and_never_resubmitted() -> None:
    task = a_task(started(), ACCEPTED)

    step = decide(task, facts(*BOTH))

    assert isinstance(step, Poll)
    assert step.attempt.upstream_task_id == "vendor-1"
    assert task.status is TaskStatus.PROCESSING


def test_a_delivery_settles_and_ends_the_task() -> None:
    task = a_task(started(), ACCEPTED, DELIVERED)

    step = decide(task, Facts(NOW))
    ended = apply(task, Settled(3_000_000, NOW + 9_001))

    assert step == Settle(Ending(TaskStatus.COMPLETED, PICTURES))
    assert (ended.status, ended.progress, ended.charged) == (TaskStatus.COMPLETED, 100, 3_000_000)
    assert ended.finished_ms == NOW + 9_001
    assert decide(ended, Facts(NOW)) == Done()


@pytest.mark.parametrize("blame", [Blame.PROVIDER, Blame.ACCOUNT, Blame.RATE])
@pytest.mark.parametrize("sent", [Sent.REFUSED, Sent.NO])
def test_faults_that_are_not_the_callers_fail_over(blame: Blame, sent: Sent) -> None:
    task = a_task(started("a"), failed(blame, sent))

    assert decide(task, facts(*BOTH)) == Submit(BOTH[1])
    assert task.exposure == 0


def test_a_callers_fault_ends_the_task_at_once() -> None:
    task = a_task(started("a"), failed(Blame.CALLER))

    error = TaskError("caller_code", "it failed", Blame.CALLER)
    assert decide(task, facts(*BOTH)) == Settle(Ending(TaskStatus.FAILED, error=error))


def test_a_failure_after_acceptance_fails_over_too() -> None:
    task = a_task(started("a"), ACCEPTED, failed(Blame.PROVIDER))

    assert task.attempts[0].outcome is Outcome.FAILED
    assert decide(task, facts(*BOTH)) == Submit(BOTH[1])


def test_an_unknown_submit_fails_over_once_and_its_possible_cost_is_kept() -> None:
    unknown = failed(Blame.PROVIDER, Sent.UNKNOWN)
    once = a_task(started("a"), unknown)
    twice = apply(apply(once, started("b", 2)), unknown)

    assert decide(once, facts(*BOTH)) == Submit(BOTH[1])
    assert once.exposure == 44_000
    third = decide(twice, facts(*BOTH, candidate("c")))
    assert isinstance(third, Record)
    assert isinstance(third.event, GaveUp)
    assert third.event.error.code == "outcome_unknown"
    assert twice.exposure == 88_000


def test_an_unknown_submit_waits_or_fails_when_configured_so() -> None:
    unknown = failed(Blame.PROVIDER, Sent.UNKNOWN)
    waiting = a_task(started("a", on_ambiguous=OnAmbiguous.WAIT), unknown)
    failing = a_task(started("a", on_ambiguous=OnAmbiguous.FAIL), unknown)

    assert decide(waiting, facts(*BOTH)) == Sleep(DEADLINE)
    assert isinstance(decide(failing, facts(*BOTH)), Record)


def test_at_most_three_upstreams_are_tried() -> None:
    four = tuple(candidate(name) for name in "abcd")
    task = a_task()
    for no, name in enumerate("abc", start=1):
        task = apply(apply(task, started(name, no)), failed(Blame.ACCOUNT))

    step = decide(task, facts(*four))

    assert isinstance(step, Record)
    assert isinstance(step.event, GaveUp)
    assert step.event.error.message == "it failed"


def test_the_only_upstream_is_tried_again_after_a_pause_when_it_took_nothing() -> None:
    task = a_task(started("a"), failed(Blame.RATE, retry_after_ms=7_000))

    early = decide(task, facts(candidate("a"), now_ms=NOW + 100))
    later = decide(task, facts(candidate("a"), now_ms=NOW + 7_010))

    assert early == Sleep(NOW + 10 + 7_000)
    assert later == Submit(candidate("a"))


def test_the_second_round_ends_after_eight_attempts() -> None:
    task = a_task()
    for no in range(1, 9):
        task = apply(apply(task, started("a", no)), failed(Blame.PROVIDER, Sent.NO))

    step = decide(task, facts(candidate("a"), now_ms=DEADLINE - 1))

    assert isinstance(step, Record)
    assert isinstance(step.event, GaveUp)


def test_busy_upstreams_are_waited_for() -> None:
    assert decide(a_task(), facts(retry_at_ms=NOW + 900)) == Sleep(NOW + 900)


def test_without_any_upstream_a_new_task_waits_for_one() -> None:
    assert decide(a_task(), facts(now_ms=NOW)) == Sleep(NOW + 1_000)


def test_a_postponed_task_sleeps() -> None:
    task = a_task(Postponed(NOW + 500))

    assert decide(task, facts(*BOTH, now_ms=NOW + 1)) == Sleep(NOW + 500)
    assert decide(task, facts(*BOTH, now_ms=NOW + 500)) == Submit(BOTH[0])


def test_the_deadline_ends_a_task_that_was_never_accepted() -> None:
    fresh = decide(a_task(), facts(*BOTH, now_ms=DEADLINE))
    tried = decide(a_task(started("a"), failed(Blame.RATE)), facts(*BOTH, now_ms=DEADLINE))

    assert isinstance(fresh, Record)
    assert isinstance(tried, Record)
    assert isinstance(tried.event, GaveUp)
    assert "it failed" in tried.event.error.message


def test_the_deadline_gives_up_a_running_attempt_with_its_exposure() -> None:
    task = a_task(started("a"), ACCEPTED)

    step = decide(task, Facts(DEADLINE))

    assert isinstance(step, Record)
    assert isinstance(step.event, AttemptLost)
    lost = apply(task, step.event)
    assert lost.exposure == 44_000
    assert lost.error is not None
    assert lost.error.code == "deadline_exceeded"
    assert isinstance(decide(lost, Facts(DEADLINE)), Settle)


def test_a_vendor_that_denies_its_own_task_is_believed_after_some_queries() -> None:
    task = a_task(started("a"), ACCEPTED)
    for _ in range(MISSES_MAX):
        assert isinstance(decide(task, Facts(NOW)), Poll)
        task = apply(task, PollMissed(unknown_task=True, at_ms=NOW))

    step = decide(task, Facts(NOW))

    assert isinstance(step, Record)
    assert isinstance(step.event, AttemptLost)
    assert step.event.code == "task_unknown"


def test_failed_queries_do_not_count_as_denials() -> None:
    task = a_task(started("a"), ACCEPTED)
    for _ in range(MISSES_MAX * 2):
        task = apply(task, PollMissed(unknown_task=False, at_ms=NOW))

    assert isinstance(decide(task, Facts(NOW)), Poll)


def test_progress_never_goes_back_and_reaches_100_only_at_the_end() -> None:
    task = a_task(started(), ACCEPTED, AttemptProgressed(NOW, 60), AttemptProgressed(NOW, 30))
    done = apply(task, AttemptProgressed(NOW, 100))

    assert task.progress == 60
    assert done.progress == 99
    assert done.attempts[0].polls == 3


def test_a_queued_task_is_cancelled_without_asking_anybody() -> None:
    task = a_task(CancelRequested(NOW))

    step = decide(task, facts(*BOTH))

    assert step == Record(CancelConfirmed(NOW + 100))
    cancelled = apply(task, CancelConfirmed(NOW))
    assert cancelled.ending is not None
    assert cancelled.ending.status is TaskStatus.CANCELLED
    assert charge(cancelled, cancelled.ending) == 0
    assert apply(cancelled, Settled(0, NOW)).progress == 0


def test_a_running_task_is_cancelled_only_if_the_vendor_confirms() -> None:
    task = a_task(started(), ACCEPTED, CancelRequested(NOW))

    assert isinstance(decide(task, Facts(NOW)), CancelUpstream)
    assert isinstance(decide(apply(task, CancelRefused(NOW)), Facts(NOW)), Poll)
    confirmed = apply(task, CancelConfirmed(NOW))
    assert confirmed.attempts[0].outcome is Outcome.CANCELLED
    assert isinstance(decide(confirmed, Facts(NOW)), Settle)


def test_only_delivered_pictures_are_charged() -> None:
    one_of_two = AttemptDelivered(PICTURES[:1], 22_000, NOW)
    task = a_task(started(), ACCEPTED, one_of_two)
    assert task.ending is not None

    assert charge(task, task.ending) == 1_500_000
    assert task.cost == 22_000


def test_more_pictures_than_ordered_never_cost_more_than_the_hold() -> None:
    task = a_task(started(), AttemptDelivered(PICTURES * 2, 88_000, NOW))
    assert task.ending is not None

    assert charge(task, task.ending) == task.hold


def test_a_task_without_an_ending_cannot_be_settled() -> None:
    with pytest.raises(ValueError, match="without an ending"):
        apply(a_task(), Settled(0, NOW))


def test_polls_start_at_a_second_and_stay_within_five() -> None:
    attempt = started().attempt

    delays = [poll_delay_ms(replace(attempt, polls=polls), NOW) for polls in range(10)]

    assert delays[0] == 1_000
    assert delays == sorted(delays)
    assert max(delays) == 5_000
    assert poll_delay_ms(attempt, NOW, asked_ms=60_000) == 5_000
    assert poll_delay_ms(attempt, NOW, asked_ms=0) == 200


@pytest.mark.parametrize(
    ("ran_ms", "delay_ms"),
    [
        (1_000, 5_000),
        (17_000, 2_700),
        (19_900, 1_000),
        (20_500, 1_000),
        (26_000, 3_000),
        (99_000, 5_000),
    ],
)
def test_polls_are_close_around_the_time_a_job_is_expected_to_take(ran_ms, delay_ms) -> None:
    attempt = replace(started().attempt, polls=3, started_ms=NOW - ran_ms)

    assert poll_delay_ms(attempt, NOW, expected_ms=20_000) == delay_ms
    first = replace(attempt, polls=0)
    assert poll_delay_ms(first, NOW, expected_ms=20_000) == 1_000, "some are refused at once"
    assert poll_delay_ms(attempt, NOW, asked_ms=700, expected_ms=20_000) == 700


def test_jobs_that_all_take_the_same_time_are_found_ready_soon_after_it_however_many_there_were():
    job_ms, late_ms = 4_000, 25
    track, found_ms = performance.Track(), []
    for no in range(500):
        started_ms = now_ms = NOW + no * 200
        attempt = replace(started().attempt, started_ms=started_ms)
        while now_ms - started_ms < job_ms:
            expected_ms = track.expected_ms(15_000, now_ms) if track.latency_at_ms else None
            now_ms += late_ms + poll_delay_ms(attempt, now_ms, expected_ms=expected_ms)
            attempt = replace(attempt, polls=attempt.polls + 1)
        found_ms.append(now_ms - started_ms)
        track = performance.observe(track, performance.Outcome(now_ms, found_ms[-1]))
    assert max(found_ms[-100:]) <= job_ms + 1_100


def test_only_a_task_nobody_was_sent_can_certainly_be_cancelled() -> None:
    assert a_task().can_cancel
    assert not a_task(started()).can_cancel
    assert a_task().last is None
    assert a_task().images == ()
