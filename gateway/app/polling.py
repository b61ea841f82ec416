"""The steps of a visit that ask an upstream about a running attempt: poll and cancel."""

from __future__ import annotations

from typing import assert_never

import structlog

from gateway.app.outcomes import delivered, failure, fold, observe
from gateway.app.queries import may_ask
from gateway.app.visit import Tools, Visit
from gateway.crashpoints import CrashPoint, reached
from gateway.domain.errors import (
    Blame,
    Sent,
    UpstreamError,
)
from gateway.domain.health import Plane, Signal, SignalKind
from gateway.domain.machine import apply, poll_delay_ms
from gateway.domain.steps import (
    AttemptProgressed,
    CancelConfirmed,
    CancelRefused,
    Event,
    PollMissed,
)
from gateway.domain.task import Attempt, Task
from gateway.domain.upstream import Cancelled, Delivered, PollAnswer, Running

log = structlog.get_logger(__name__)


async def poll(tools: Tools, visit: Visit, attempt: Attempt) -> None:
    """Ask the upstream how the attempt stands, if its query budget allows it now."""
    expected_ms = await _expected_ms(tools, visit.task, attempt)
    now_ms = tools.clock.now_ms()
    likely_ms = max(now_ms, attempt.started_ms + (expected_ms or 0))
    try:
        answer = await _answer(tools, visit.task, attempt, likely_ms)
        reached(CrashPoint.POLL_ANSWERED)
        match answer:
            case int():
                visit.due_ms = min(now_ms + answer, max(visit.task.deadline_ms, now_ms + 1))
                return
            case Running():
                visit.task = apply(visit.task, AttemptProgressed(now_ms, answer.progress))
                visit.due_ms = now_ms + poll_delay_ms(
                    attempt, now_ms, asked_ms=answer.poll_after_ms, expected_ms=expected_ms
                )
                return
            case Cancelled():
                event = await _cancelled_upstream(tools, visit.task, attempt)
            case Delivered():
                event = await delivered(tools, visit.task, attempt, answer)
                finished = Signal(SignalKind.GOOD, plane=Plane.COMPLETION)
                await observe(tools, visit.task, attempt, finished)
            case _:
                assert_never(answer)
    except UpstreamError as error:
        if error.sent is not Sent.REFUSED:
            missed = PollMissed(error.code == "task_unknown", now_ms)
            visit.task = apply(visit.task, missed)
            visit.due_ms = now_ms + poll_delay_ms(attempt, now_ms)
            return
        event = await failure(tools, visit.task, attempt, error)
    await tools.budgets.finish(attempt.upstream, attempt.id)
    await fold(tools, visit, event)
    visit.route = None


async def _answer(tools: Tools, task: Task, attempt: Attempt, likely_ms: int) -> PollAnswer | int:
    """Give how the job stands, or the milliseconds until its turn. Raises UpstreamError."""
    adapter = tools.adapters().get(attempt.upstream)
    if adapter is None or attempt.upstream_task_id is None:
        message = f"Upstream {attempt.upstream!r} is not configured any more."
        raise UpstreamError(message, blame=Blame.PROVIDER, sent=Sent.NO)
    if adapter.polls_max > 1:
        return await tools.batches.poll(
            attempt.upstream, adapter, attempt.upstream_task_id, likely_ms
        )
    wait_ms = await tools.budgets.take_poll(attempt.upstream, task.id, likely_ms)
    return wait_ms or await adapter.poll(attempt.upstream_task_id)


async def _expected_ms(tools: Tools, task: Task, attempt: Attempt) -> int | None:
    """Give how long such a job takes, as was learnt; None where nothing was yet."""
    track = (await tools.tracks.tracks()).get((attempt.upstream, task.model))
    if track is None or not track.latency_at_ms:
        return None
    return track.expected_ms(task.typical_ms, tools.clock.now_ms())


async def _cancelled_upstream(tools: Tools, task: Task, attempt: Attempt) -> Event:
    if task.cancel_requested or task.cancel_asked:
        return CancelConfirmed(tools.clock.now_ms())
    message = f"Upstream {attempt.upstream!r} cancelled the task by itself."
    error = UpstreamError(message, blame=Blame.PROVIDER, code="cancelled_upstream")
    return await failure(tools, task, attempt, error)


async def cancel(tools: Tools, visit: Visit, attempt: Attempt) -> None:
    """Ask the upstream to cancel the attempt; anything but a yes counts as refused.

    The wish is durable before the vendor hears it, and so is a refusal: whoever takes the task
    over knows why the vendor stopped. Raises StaleFence, StoreUnavailable.
    """
    visit.task = await tools.tasks.save(visit.task, None)
    reached(CrashPoint.CANCEL_INTENDED)
    adapter = tools.adapters().get(attempt.upstream)
    confirmed = False
    allowed = await may_ask(tools.budgets, attempt.upstream)
    if allowed and adapter is not None and attempt.upstream_task_id is not None:
        try:
            confirmed = await adapter.cancel(attempt.upstream_task_id)
        except UpstreamError as error:
            log.info("cancel_failed", task_id=visit.task.id, reason=error.message)
    reached(CrashPoint.CANCEL_ASKED)
    now_ms = tools.clock.now_ms()
    await fold(tools, visit, CancelConfirmed(now_ms) if confirmed else CancelRefused(now_ms))
    if confirmed:
        await tools.budgets.finish(attempt.upstream, attempt.id)
