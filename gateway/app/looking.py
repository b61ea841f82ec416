"""The step of a visit that looks for a lost submit in its vendor's task list."""

from __future__ import annotations

import structlog

from gateway.app.outcomes import fold
from gateway.app.visit import Tools, Visit
from gateway.domain.machine import apply
from gateway.domain.steps import AttemptAccepted, PollMissed
from gateway.domain.task import Attempt

log = structlog.get_logger(__name__)


async def look(tools: Tools, visit: Visit, attempt: Attempt) -> None:
    """Take a job that can only be this attempt's as its own: it is polled like any other.

    Raises StaleFence, StoreUnavailable.
    """
    found = await tools.lists.job_of(attempt)
    now_ms = tools.clock.now_ms()
    log.warning(
        "lost_submit_looked_for",
        task_id=visit.task.id,
        upstream=attempt.upstream,
        upstream_task_id=found,
    )
    if found is None:
        visit.task = apply(visit.task, PollMissed(unknown_task=False, at_ms=now_ms))
    else:
        await fold(tools, visit, AttemptAccepted(found, now_ms))
