"""What an upstream's answer means for the task, its budgets and the health board."""

from __future__ import annotations

import structlog

from gateway.app.visit import Tools, Visit
from gateway.crashpoints import CrashPoint, reached
from gateway.domain.errors import (
    Blame,
    Sent,
    UpstreamError,
)
from gateway.domain.health import WHOLE_UPSTREAM, Plane, Signal, SignalKind
from gateway.domain.machine import apply
from gateway.domain.money import MicroUsd
from gateway.domain.performance import Outcome
from gateway.domain.steps import (
    AttemptDelivered,
    AttemptFailed,
    Event,
)
from gateway.domain.task import Attempt, Task
from gateway.domain.upstream import Delivered

log = structlog.get_logger(__name__)

_SIGNALS = {
    Blame.ACCOUNT: SignalKind.ACCOUNT,
    Blame.RATE: SignalKind.RATE,
    Blame.PROVIDER: SignalKind.FAULT,
}


async def fold(tools: Tools, visit: Visit, event: Event) -> None:
    """Fold an event in and write it durably.

    Deliveries and endings are written by the settlement that follows. When Postgres is
    away the live state still carries the event to the next visit.
    """
    visit.task = apply(visit.task, event)
    if visit.task.ending is None:
        visit.task = await tools.tasks.save(visit.task, visit.task.last)


async def delivered(tools: Tools, task: Task, attempt: Attempt, answer: Delivered) -> Event:
    """Give the delivery event. Raises UpstreamError when nothing was delivered."""
    if not answer.images:
        message = "The upstream finished without a picture."
        raise UpstreamError(message, blame=Blame.PROVIDER, code="no_images")
    images = await tools.results.keep(task, attempt, answer.images)
    reached(CrashPoint.RESULT_KEPT)
    cost = attempt.planned_cost // task.missing * len(images)
    now_ms = tools.clock.now_ms()
    took = Outcome(now_ms, max(1, now_ms - attempt.started_ms))
    tools.tracks.note(attempt.upstream, task.model, took)
    await spent(tools, attempt, cost)
    return AttemptDelivered(images, cost, now_ms)


async def failure(tools: Tools, task: Task, attempt: Attempt, error: UpstreamError) -> Event:
    """Give the failure event, after telling the health board and the budgets."""
    now_ms = tools.clock.now_ms()
    retry_ms = int((error.retry_after_s or 0) * 1000)
    kind = _SIGNALS.get(error.blame)
    if kind is not None:
        whole = error.blame is Blame.ACCOUNT and error.scope == "upstream"
        plane = Plane.COMPLETION if attempt.is_live else Plane.SUBMIT
        signal = Signal(kind, retry_ms, error.message, plane)
        await observe(tools, task, attempt, signal, whole_upstream=whole)
    if kind is SignalKind.FAULT:
        tools.tracks.note(attempt.upstream, task.model, Outcome(now_ms))
    if error.sent is not Sent.UNKNOWN and not attempt.was_resent:
        await spent(tools, attempt, 0)
    if not attempt.is_live:
        await tools.budgets.finish(attempt.upstream, attempt.id)
    log.info(
        "attempt_failed",
        task_id=task.id,
        upstream=attempt.upstream,
        blame=error.blame.value,
        sent=error.sent.value,
        code=error.code,
        reason=error.message,
    )
    reached(CrashPoint.ATTEMPT_FAILED)
    return AttemptFailed(
        error.blame,
        error.sent,
        error.code,
        error.message,
        now_ms,
        retry_ms,
        repeatable=error.repeatable,
    )


async def spent(tools: Tools, attempt: Attempt, cost: MicroUsd) -> None:
    """Count against the upstream's daily cap what an attempt cost, instead of what was planned."""
    await tools.spending.correct(attempt.upstream, attempt.planned_cost, cost, attempt.started_ms)


async def observe(
    tools: Tools, task: Task, attempt: Attempt, signal: Signal, *, whole_upstream: bool = False
) -> None:
    """Tell the health board a signal of this attempt's upstream and the task's model."""
    model = WHOLE_UPSTREAM if whole_upstream else task.model
    await tools.health.observe(attempt.upstream, model, signal, tools.clock.now_ms())
