"""The task state machine: what each state does next, and what each event leaves behind."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.domain.errors import Blame, Sent
from gateway.domain.machine import MISSES_MAX, apply, decide, poll_delay_ms
from gateway.domain.model import OnAmbiguous
from gateway.domain.steps import (
    AttemptAccepted,
    AttemptDelivered,
    AttemptFailed,
    AttemptLost,
    AttemptProgressed,
    AttemptStarted,
    CancelConfirmed,
    CancelRefused,
    CancelRequested,
    CancelUpstream,
    Done,
    Event,
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
    Attempt,
    Candidate,
    Ending,
    Image,
    Outcome,
    Task,
    TaskError,
    TaskStatus,
    charge,
)

NOW = 1_000_000
DEADLINE = NOW + 600_000


def a_task(*events: Event, **changes: object) -> Task:
    task = Task(
        id="t1",
        team_id="team",
        key_id="key",
        dialect="evolink",
        model="m",
        requested_model="m",
        n=2,
        tier="2K",
        unit_price=1_500_000,
        hold=3_000_000,
        created_ms=NOW,
        deadline_ms=DEADLINE,
    )
    task = replace(task, **changes)  # type: ignore[arg-type]
    for event in events:
        task = apply(task, event)
    return task


def candidate(name: str, on_ambiguous: OnAmbiguous = OnAmbiguous.FAILOVER) -> Candidate:
    return Candidate(
        upstream=name,
        adapter="evolink",
        upstream_model="m",
        planned_cost=44_000,
        idempotent=False,
        on_ambiguous=on_ambiguous,
    )


def started(name: str = "a", no: int = 1, **changes: object) -> AttemptStarted:
    attempt = Attempt(
        id=f"{name}{no}",
        no=no,
        upstream=name,
        adapter="evolink",
        upstream_model="m",
        started_ms=NOW,
        planned_cost=44_000,
    )
    return AttemptStarted(replace(attempt, **changes))  # type: ignore[arg-type]


def failed(blame: Blame, sent: Sent = Sent.REFUSED, retry_after_ms: int = 0) -> AttemptFailed:
    return AttemptFailed(blame, sent, f"{blame}_code", "it failed", NOW + 10, retry_after_ms)


ACCEPTED = AttemptAccepted("vendor-1", NOW + 5)
PICTURES = (Image("https://x/1.png"), Image("https://x/2.png"))
DELIVERED = AttemptDelivered(PICTURES, 44_000, NOW + 9_000)
BOTH = (candidate("a"), candidate("b"))


def facts(*candidates: Candidate, now_ms: int = NOW + 100, retry_at_ms: int | None = None) -> Facts:
    return Facts(now_ms, candidates, retry_at_ms)


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
        (17_000, 3_000),
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


def test_only_a_task_nobody_was_sent_can_certainly_be_cancelled() -> None:
    assert a_task().can_cancel
    assert not a_task(started()).can_cancel
    assert a_task().last is None
    assert a_task().images == ()
