"""The task state machine: ``decide(task, facts) -> Step`` and ``apply(task, event) -> Task``.

Pure: no I/O, no clock. A worker *visits* a task: it decides, acts, applies the event, saves.
"""

from __future__ import annotations

from typing import assert_never

from gateway.domain.errors import Blame, Sent
from gateway.domain.model import OnAmbiguous
from gateway.domain.records import changed
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
    Look,
    PlanRoute,
    Poll,
    PollMissed,
    Postponed,
    Record,
    RoutePlanned,
    Settle,
    Settled,
    Sleep,
    Step,
    Submit,
)
from gateway.domain.task import (
    ATTEMPTS_MAX,
    BACKOFF_MS,
    UPSTREAMS_MAX,
    Attempt,
    Candidate,
    Ending,
    Outcome,
    Task,
    TaskError,
    TaskStatus,
    replace_last,
)

# A vendor may not know an id it just gave out; after this many denials it is final.
MISSES_MAX = 8
POLL_DELAYS_MS = (1_000, 1_000, 2_000, 2_000, 3_000, 5_000)
NO_CANDIDATE_RETRY_MS = 1_000
# When to look for a lost submit in the vendor's list, counted from the loss; then, while the task
# waits for it, again and again.
LOOKS_MS = (2_000, 7_000)
LOOK_PAUSE_MS = 30_000


def decide(task: Task, facts: Facts) -> Step:
    """Give what the next visit action is."""
    if task.status.is_terminal:
        return Done()
    if task.ending is not None:
        return Settle(task.ending)
    last = task.last
    if last is not None and last.outcome is Outcome.INTENT:
        return _resume_intent(last, facts.now_ms)
    if last is not None and last.is_live:
        return _watch(task, last, facts.now_ms)
    if task.cancel_requested:
        return Record(CancelConfirmed(facts.now_ms))
    if facts.now_ms >= task.deadline_ms:
        return Record(GaveUp(_deadline_error(task), facts.now_ms))
    if last is not None and last.outcome is Outcome.UNKNOWN:
        held = _after_unknown(task, last, facts)
        if held is not None:
            return held
    if task.not_before_ms > facts.now_ms:
        return Sleep(task.not_before_ms)
    return PlanRoute() if facts.candidates is None else _choose(task, facts, facts.candidates)


def _resume_intent(last: Attempt, now_ms: int) -> Step:
    """A crash between intent and answer: resend where that is safe, else it is unknown."""
    if last.may_be_resent:
        return _resend(last)
    message = "The gateway was interrupted while submitting; the outcome is unknown."
    return Record(
        AttemptFailed(Blame.PROVIDER, Sent.UNKNOWN, "submit_interrupted", message, now_ms)
    )


def _resend(last: Attempt) -> Submit:
    """Submit the same attempt once more; its exposure stays until the answer settles it."""
    candidate = Candidate(
        upstream=last.upstream,
        adapter=last.adapter,
        upstream_model=last.upstream_model,
        planned_cost=last.planned_cost,
        idempotent=True,
        on_ambiguous=last.on_ambiguous,
    )
    open_again = changed(
        last, outcome=Outcome.INTENT, misses=1, finished_ms=None, code=None, reason=None, blame=None
    )
    return Submit(candidate, again=open_again)


def _watch(task: Task, last: Attempt, now_ms: int) -> Step:
    if task.cancel_requested:
        return CancelUpstream(last)
    if now_ms >= task.deadline_ms:
        message = "The upstream did not finish before the task's deadline."
        return Record(AttemptLost("deadline_exceeded", message, now_ms))
    if last.misses >= MISSES_MAX:
        message = "The upstream does not know the task it accepted."
        return Record(AttemptLost("task_unknown", message, now_ms))
    return Poll(last)


def _after_unknown(task: Task, last: Attempt, facts: Facts) -> Step | None:
    """After an unknown submit: ask the same vendor again where that is safe, else look for the
    job in its list where that can tell, else as configured.
    """
    lost_ms = last.finished_ms or last.started_ms
    if last.may_be_resent:
        due_ms = lost_ms + max(BACKOFF_MS[0], last.retry_after_ms)
        return _resend(last) if facts.now_ms >= due_ms else Sleep(due_ms)
    look_ms = _look_after_ms(task, last) if facts.can_look else None
    if look_ms is None:
        return _ambiguous(task, last, facts.now_ms)
    due_ms = min(lost_ms + look_ms, task.deadline_ms)
    return Look(last) if facts.now_ms >= due_ms else Sleep(due_ms)


def _look_after_ms(task: Task, last: Attempt) -> int | None:
    """Give how long after the loss the next look is due; None when there was the last one."""
    if last.polls < len(LOOKS_MS):
        return LOOKS_MS[last.polls]
    if last.on_ambiguous is OnAmbiguous.WAIT and _unknown(task) <= 1:
        return LOOKS_MS[-1] + LOOK_PAUSE_MS * (last.polls - len(LOOKS_MS) + 1)
    return None


def _unknown(task: Task) -> int:
    return sum(1 for attempt in task.attempts if attempt.outcome is Outcome.UNKNOWN)


def _ambiguous(task: Task, last: Attempt, now_ms: int) -> Step | None:
    """After an unknown submit: None when failing over is allowed (once per task)."""
    unknown = _unknown(task)
    if last.on_ambiguous is OnAmbiguous.FAILOVER and unknown <= 1:
        return None
    if last.on_ambiguous is OnAmbiguous.WAIT and unknown <= 1:
        return Sleep(task.deadline_ms)
    message = "The upstream may or may not have accepted the request; it was not sent again."
    return Record(
        GaveUp(TaskError("outcome_unknown", last.reason or message, Blame.PROVIDER), now_ms)
    )


def _choose(task: Task, facts: Facts, candidates: tuple[Candidate, ...]) -> Step:
    tried = {attempt.upstream for attempt in task.attempts}
    if len(tried) < UPSTREAMS_MAX and len(task.attempts) < ATTEMPTS_MAX:
        fresh = next((c for c in candidates if c.upstream not in tried), None)
        if fresh is not None:
            return Submit(fresh)
    if task.kept:
        # What was delivered is not kept waiting for the rest.
        return Record(GaveUp(_last_error(task), facts.now_ms))
    if facts.retry_at_ms is not None and len(task.attempts) < ATTEMPTS_MAX:
        return Sleep(facts.retry_at_ms)
    again = _second_round(task, candidates)
    if again is not None:
        candidate, due_ms = again
        return Submit(candidate) if facts.now_ms >= due_ms else Sleep(due_ms)
    if not task.attempts:
        return Sleep(facts.now_ms + NO_CANDIDATE_RETRY_MS)
    return Record(GaveUp(_last_error(task), facts.now_ms))


def _second_round(task: Task, candidates: tuple[Candidate, ...]) -> tuple[Candidate, int] | None:
    """Give the upstream to try once more and when; only where the vendor took nothing."""
    if len(task.attempts) >= ATTEMPTS_MAX:
        return None
    latest = {attempt.upstream: attempt for attempt in task.attempts}
    for candidate in candidates:
        attempt = latest.get(candidate.upstream)
        if attempt and attempt.was_free and attempt.blame in (Blame.RATE, Blame.PROVIDER):
            tries = sum(1 for a in task.attempts if a.upstream == attempt.upstream)
            backoff = BACKOFF_MS[min(tries, len(BACKOFF_MS)) - 1]
            ended = attempt.finished_ms or attempt.started_ms
            return candidate, ended + max(backoff, attempt.retry_after_ms)
    return None


def _last_error(task: Task) -> TaskError:
    last = task.attempts[-1]
    return TaskError(
        last.code or "upstream_error",
        last.reason or "No upstream could serve the request.",
        last.blame or Blame.PROVIDER,
    )


def _deadline_error(task: Task) -> TaskError:
    last = task.last
    detail = f" Last upstream answer: {last.reason}" if last and last.reason else ""
    message = f"The task was not finished before its deadline.{detail}"
    return TaskError("deadline_exceeded", message, Blame.PROVIDER)


def apply(task: Task, event: Event) -> Task:  # noqa: C901, PLR0912 - one branch per kind of event
    """Fold one event into the task."""
    match event:
        case RoutePlanned():
            return changed(task, route=event.route)
        case AttemptStarted():
            return _started(task, event.attempt)
        case AttemptAccepted():
            return _accepted(task, event)
        case AttemptProgressed():
            return _progressed(task, event)
        case PollMissed():
            last = task.attempts[-1]
            misses = last.misses + 1 if event.unknown_task else last.misses
            return replace_last(task, changed(last, polls=last.polls + 1, misses=misses))
        case AttemptDelivered():
            return _delivered(task, event)
        case AttemptFailed():
            return _failed(task, event)
        case AttemptLost():
            return _lost(task, event)
        case CancelRequested():
            return changed(task, cancel_requested=True)
        case CancelRefused():
            return changed(task, cancel_requested=False, cancel_asked=True)
        case CancelConfirmed():
            return _cancelled(task, event.at_ms)
        case GaveUp():
            return _ended(task, Ending(TaskStatus.FAILED, error=event.error))
        case Postponed():
            return changed(task, not_before_ms=event.until_ms)
        case Settled():
            return _settled(task, event)
        case _:
            assert_never(event)


def _started(task: Task, attempt: Attempt) -> Task:
    last = task.last
    if last is not None and last.id == attempt.id:
        return replace_last(task, attempt)
    return changed(task, attempts=(*task.attempts, attempt))


def _accepted(task: Task, event: AttemptAccepted) -> Task:
    last = changed(
        task.attempts[-1],
        outcome=Outcome.ACCEPTED,
        upstream_task_id=event.upstream_task_id,
        misses=0,
        exposure=0,
        finished_ms=None,
        code=None,
        reason=None,
        blame=None,
    )
    return changed(replace_last(task, last), status=TaskStatus.PROCESSING)


def _progressed(task: Task, event: AttemptProgressed) -> Task:
    last = task.attempts[-1]
    last = changed(last, polls=last.polls + 1, misses=0)
    progress = max(task.progress, min(event.progress or 0, 99))
    return changed(task, attempts=(*task.attempts[:-1], last), progress=progress)


def _delivered(task: Task, event: AttemptDelivered) -> Task:
    last = changed(
        task.attempts[-1],
        outcome=Outcome.DELIVERED,
        finished_ms=event.at_ms,
        cost=event.cost,
        exposure=0,
        delivered=len(event.images),
    )
    images = (*task.kept, *event.images)
    moved = changed(replace_last(task, last), status=TaskStatus.PROCESSING)
    if task.top_up and len(images) < task.n:
        return changed(moved, kept=images)
    return changed(moved, kept=(), ending=Ending(TaskStatus.COMPLETED, images=images))


def _ended(task: Task, ending: Ending) -> Task:
    """End a task; pictures that were delivered before are paid for, and no failure takes them."""
    if task.kept:
        ending = Ending(TaskStatus.COMPLETED, images=task.kept)
    return changed(task, kept=(), ending=ending)


def _failed(task: Task, event: AttemptFailed) -> Task:
    last = task.attempts[-1]
    outcome = _outcome_of(last, event)
    closed = changed(
        last,
        outcome=outcome,
        finished_ms=event.at_ms,
        code=event.code,
        reason=event.message,
        blame=event.blame,
        exposure=last.planned_cost if outcome is Outcome.UNKNOWN else 0,
        retry_after_ms=event.retry_after_ms,
        misses=last.misses if event.repeatable else 1,
    )
    moved = replace_last(task, closed)
    if event.blame.fails_over:
        return moved
    error = TaskError(event.code, event.message, event.blame)
    return _ended(moved, Ending(TaskStatus.FAILED, error=error))


def _outcome_of(last: Attempt, event: AttemptFailed) -> Outcome:
    """Give what a failure makes of an attempt.

    That the vendor did not take a submit a second time does not say that it had not the first
    time, unless it found the request itself at fault.
    """
    if last.was_resent and event.blame.fails_over:
        return Outcome.UNKNOWN
    if event.sent is Sent.REFUSED:
        return Outcome.FAILED if last.is_live else Outcome.REFUSED
    return Outcome.NOT_SENT if event.sent is Sent.NO else Outcome.UNKNOWN


def _lost(task: Task, event: AttemptLost) -> Task:
    """A lost attempt was accepted, so it may be billed: no other upstream is paid for it."""
    last = task.attempts[-1]
    closed = changed(
        last,
        outcome=Outcome.ABANDONED,
        finished_ms=event.at_ms,
        code=event.code,
        reason=event.message,
        blame=Blame.PROVIDER,
        exposure=last.planned_cost,
    )
    error = TaskError(event.code, event.message, Blame.PROVIDER)
    return _ended(replace_last(task, closed), Ending(TaskStatus.FAILED, error=error))


def _cancelled(task: Task, at_ms: int) -> Task:
    last = task.last
    if last is not None and last.is_live:
        task = replace_last(task, changed(last, outcome=Outcome.CANCELLED, finished_ms=at_ms))
    error = TaskError("request_cancelled", "The task was cancelled.", Blame.CALLER)
    return _ended(task, Ending(TaskStatus.CANCELLED, error=error))


def _settled(task: Task, event: Settled) -> Task:
    if task.ending is None:
        raise ValueError("a task without an ending cannot be settled")
    completed = task.ending.status is TaskStatus.COMPLETED
    return changed(
        task,
        status=task.ending.status,
        charged=event.charged,
        finished_ms=event.at_ms,
        progress=100 if completed else 0,
    )


def poll_delay_ms(
    attempt: Attempt, now_ms: int, *, asked_ms: int | None = None, expected_ms: int | None = None
) -> int:
    """Give how long to wait before the next poll, at most 5 s; a vendor's own wish counts.

    Once it is known how long such a job takes (``expected_ms``), there are few polls before that
    time and close ones around it; the longer a job is overdue, the fewer again. They aim a little
    before it: what is learnt is when a poll found the pictures, so one that came exactly then would
    learn its own lateness, job after job, and never that the job was ready earlier.
    """
    longest = POLL_DELAYS_MS[-1]
    if asked_ms is not None:
        return min(max(asked_ms, 200), longest)
    if expected_ms is None or not attempt.polls:
        return POLL_DELAYS_MS[min(attempt.polls, len(POLL_DELAYS_MS) - 1)]
    left_ms = attempt.started_ms + expected_ms - now_ms
    wait_ms = left_ms * 9 // 10 if left_ms > 0 else -left_ms // 2
    return min(max(wait_ms, POLL_DELAYS_MS[0]), longest)
