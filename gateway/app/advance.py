"""One visit to one task: load, decide, act, fold in, save, re-arm."""

from __future__ import annotations

from dataclasses import dataclass, replace

import structlog

from gateway.app.looking import look
from gateway.app.polling import cancel as cancel_upstream
from gateway.app.polling import poll
from gateway.app.ports import (
    Lease,
    Settlement,
)
from gateway.app.submitting import submit
from gateway.app.visit import Tools, Visit
from gateway.crashpoints import CrashPoint, reached
from gateway.domain.errors import (
    StaleFence,
    StoreUnavailable,
    Unavailable,
)
from gateway.domain.machine import apply, decide
from gateway.domain.routing import rank
from gateway.domain.steps import (
    CancelRequested,
    CancelUpstream,
    Done,
    Look,
    PlanRoute,
    Poll,
    Record,
    RoutePlanned,
    Settle,
    Sleep,
    Submit,
)
from gateway.domain.task import Task, charge

log = structlog.get_logger(__name__)

STORE_RETRY_MS = 1_000
STEPS_MAX = 32


@dataclass(frozen=True, slots=True)
class Advance:
    """The visitor. One instance serves all tasks of a process."""

    tools: Tools

    async def visit(self, lease: Lease, *, cancel: bool = False) -> Task:
        """Visit a task under a lease and give the lease back; gives the task's new state.

        With ``cancel`` the team's wish to cancel is folded in first. Store failures are
        waited out: the task becomes due again a second later.
        """
        visit = Visit(lease, lease.task, lease.request)
        if cancel:
            visit.task = apply(visit.task, CancelRequested(self.tools.clock.now_ms()))
        try:
            await self._run(visit)
        except StaleFence:
            await self._resync(visit)
        except StoreUnavailable as error:
            log.warning("visit_postponed", task_id=visit.task.id, reason=str(error))
            visit.due_ms = self.tools.clock.now_ms() + STORE_RETRY_MS
        reached(CrashPoint.VISIT_ENDED)
        await self._save_live(visit)
        reached(CrashPoint.VISIT_SAVED)
        return visit.task

    async def _run(self, visit: Visit) -> None:
        for _ in range(STEPS_MAX):
            now_ms = self.tools.clock.now_ms()
            can_look = self.tools.lists.may_adopt(visit.task.last)
            step = decide(visit.task, visit.facts(now_ms, can_look=can_look))
            match step:
                case PlanRoute():
                    await self._plan(visit)
                case Submit():
                    await submit(self.tools, visit, step)
                case Poll():
                    await poll(self.tools, visit, step.attempt)
                case Look():
                    await look(self.tools, visit, step.attempt)
                case CancelUpstream():
                    await cancel_upstream(self.tools, visit, step.attempt)
                case Record():
                    visit.task = apply(visit.task, step.event)
                case Settle():
                    await self._settle(visit)
                case Sleep():
                    visit.due_ms = step.until_ms
                case Done():
                    return
            if visit.due_ms is not None:
                return
        log.error("visit_without_end", task_id=visit.task.id)
        visit.due_ms = self.tools.clock.now_ms() + STORE_RETRY_MS

    async def _resync(self, visit: Visit) -> None:
        """Somebody else moved the task on: take the stored truth instead of ours."""
        stored = await self.tools.tasks.get(visit.task.id)
        if stored is None:
            return
        visit.task = stored
        visit.due_ms = None if stored.status.is_terminal else self.tools.clock.now_ms()

    async def _save_live(self, visit: Visit) -> None:
        due_ms = None if visit.task.status.is_terminal else visit.due_ms
        if due_ms is None and not visit.task.status.is_terminal:
            due_ms = self.tools.clock.now_ms() + STORE_RETRY_MS
        try:
            await self.tools.live.save(visit.lease, visit.task, due_ms)
        except Unavailable:
            # The sweeper re-indexes it from Postgres once Valkey is back.
            log.warning("live_save_failed", task_id=visit.task.id)

    async def _plan(self, visit: Visit) -> None:
        if visit.request is None:
            visit.request = await self.tools.tasks.request_of(visit.task.id)
        route = rank(
            visit.wanted(visit.request),
            self.tools.catalog(),
            await self.tools.outlook.look(),
            self.tools.clock.now_ms(),
            seed=visit.task.id,
        )
        if not visit.request.rules.allow_fallbacks and visit.task.attempts:
            first = visit.task.attempts[0].upstream
            kept = tuple(c for c in route.candidates if c.upstream == first)
            route = replace(route, candidates=kept)
        visit.route = route
        visit.busy = {}
        visit.task = apply(visit.task, RoutePlanned(route.words()))

    async def _settle(self, visit: Visit) -> None:
        task = visit.task
        if task.ending is None:
            raise ValueError("settle without an ending")
        charged = charge(task, task.ending)
        settlement = Settlement(task, task.ending, charged, self.tools.clock.now_ms())
        reached(CrashPoint.SETTLE_DECIDED)
        visit.task = await self.tools.tasks.settle(settlement)
        reached(CrashPoint.SETTLE_COMMITTED)
        for attempt in task.attempts:
            await self.tools.budgets.finish(attempt.upstream, attempt.id)
        self.tools.on_settled(visit.task)
