"""The submit step of a visit: take the right to submit, write the intent, send once."""

from __future__ import annotations

from uuid import uuid4

from gateway.app.outcomes import delivered, failure, fold, observe, spent
from gateway.app.visit import Tools, Visit
from gateway.crashpoints import CrashPoint, reached
from gateway.domain.errors import (
    Blame,
    Sent,
    StaleFence,
    StoreUnavailable,
    UpstreamError,
)
from gateway.domain.health import Signal, SignalKind
from gateway.domain.machine import apply, poll_delay_ms
from gateway.domain.request import GenerationRequest
from gateway.domain.routing import job_for
from gateway.domain.steps import (
    AttemptAccepted,
    AttemptFailed,
    AttemptStarted,
    Event,
    RoutePlanned,
    Submit,
)
from gateway.domain.task import Attempt, Candidate, Task
from gateway.domain.upstream import Accepted, Delivered

# How long a task rather waits for the cheapest upstream's rate than pays the next one.
PATIENCE_MS = 1_000
TRIAL_RETRY_MS = 5_000
# Nothing more is sent there today; what is asked again after that is whether it still is today.
CAPPED_RETRY_MS = 60_000


async def submit(tools: Tools, visit: Visit, step: Submit) -> None:
    """Submit to the step's candidate if its budgets allow it now, and fold in what happened.

    The intent is durable before anything is sent. Raises StaleFence, StoreUnavailable.
    """
    candidate = step.candidate
    attempt = step.again or _new_attempt(tools, visit.task, candidate)
    if step.again is not None:
        wait_ms = await tools.budgets.take_submit(candidate.upstream, attempt.id)
        if wait_ms:
            visit.due_ms = tools.clock.now_ms() + wait_ms
            return
    elif not await _admitted(tools, visit, candidate, attempt):
        return
    if visit.request is None:
        visit.request = await tools.tasks.request_of(visit.task.id)
    reached(CrashPoint.SUBMIT_ADMITTED)
    try:
        visit.task = await tools.tasks.save(apply(visit.task, AttemptStarted(attempt)), attempt)
    except (StaleFence, StoreUnavailable):
        await tools.budgets.finish(candidate.upstream, attempt.id)
        if step.again is None:
            await spent(tools, attempt, 0)
        raise
    reached(CrashPoint.SUBMIT_INTENDED)
    event = await _send(tools, visit, visit.request, attempt)
    reached(CrashPoint.SUBMIT_ANSWERED)
    await fold(tools, visit, event)
    reached(CrashPoint.SUBMIT_SAVED)
    if isinstance(event, AttemptFailed):
        visit.route = None


async def _admitted(tools: Tools, visit: Visit, candidate: Candidate, attempt: Attempt) -> bool:
    """Take the right to submit here now; if there is none, note when there may be.

    A half-open circuit admits one task at a time, unless there is nowhere else to go.
    """
    upstream, is_further = candidate.upstream, attempt.no > 1
    wait_ms = tools.retries.wait_ms(upstream, tools.clock.now_ms()) if is_further else 0
    wait_ms = wait_ms or await tools.budgets.take_submit(upstream, attempt.id)
    if wait_ms:
        _postpone(tools, visit, upstream, wait_ms, f"no submit is free for {wait_ms / 1000:.1f} s")
        return False
    if not await tools.spending.reserve(upstream, attempt.planned_cost):
        await tools.budgets.finish(upstream, attempt.id)
        _postpone(tools, visit, upstream, CAPPED_RETRY_MS, "its daily cost cap is reached")
        return False
    now_ms = tools.clock.now_ms()
    elsewhere = len(visit.facts(now_ms).candidates or ()) > 1
    # Claimed last: a trial that is claimed and not sent would keep everybody waiting.
    trial = await tools.health.claim_trial(upstream, visit.task.model, now_ms)
    if not trial and elsewhere:
        await tools.budgets.finish(upstream, attempt.id)
        await spent(tools, attempt, 0)
        _postpone(tools, visit, upstream, TRIAL_RETRY_MS, "recovering, another task is trying it")
        return False
    tools.retries.count(upstream, now_ms, is_further=is_further)
    return True


def _postpone(tools: Tools, visit: Visit, upstream: str, wait_ms: int, why: str) -> None:
    """Wait a little for an upstream, or pass it over and tell in the task's route why."""
    until_ms = tools.clock.now_ms() + wait_ms
    if wait_ms <= PATIENCE_MS:
        visit.due_ms = until_ms
        return
    visit.busy = {**(visit.busy or {}), upstream: until_ms}
    visit.task = apply(visit.task, RoutePlanned((*visit.task.route, f"not {upstream}: {why}")))


def _new_attempt(tools: Tools, task: Task, candidate: Candidate) -> Attempt:
    return Attempt(
        id=str(uuid4()),
        no=len(task.attempts) + 1,
        upstream=candidate.upstream,
        adapter=candidate.adapter,
        upstream_model=candidate.upstream_model,
        started_ms=tools.clock.now_ms(),
        planned_cost=candidate.planned_cost,
        idempotent=candidate.idempotent,
        on_ambiguous=candidate.on_ambiguous,
    )


async def _send(tools: Tools, visit: Visit, request: GenerationRequest, attempt: Attempt) -> Event:
    """Submit once and say what happened. Never raises UpstreamError."""
    adapter = tools.adapters().get(attempt.upstream)
    job = job_for(visit.wanted(request), tools.catalog(), attempt.upstream, attempt.id)
    try:
        if adapter is None or job is None:
            message = f"Upstream {attempt.upstream!r} is not configured any more."
            raise UpstreamError(message, blame=Blame.PROVIDER, sent=Sent.NO, code="not_sent")
        answer = await adapter.submit(job)
        if isinstance(answer, Delivered):
            event = await delivered(tools, visit.task, attempt, answer)
        else:
            event = _accepted(tools, visit, answer)
    except UpstreamError as error:
        return await failure(tools, visit.task, attempt, error)
    await observe(tools, visit.task, attempt, Signal(SignalKind.GOOD))
    return event


def _accepted(tools: Tools, visit: Visit, answer: Accepted) -> AttemptAccepted:
    now_ms = tools.clock.now_ms()
    first = visit.task.attempts[-1]
    visit.due_ms = now_ms + poll_delay_ms(first, now_ms, asked_ms=answer.poll_after_ms)
    return AttemptAccepted(answer.upstream_task_id, now_ms)
