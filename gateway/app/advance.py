"""One visit to one task: load, decide, act, fold in, save, re-arm."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import assert_never
from uuid import uuid4

import structlog

from gateway.app.ports import (
    Budgets,
    Clock,
    HealthBoard,
    Lease,
    LiveTasks,
    Settlement,
    TaskStore,
    UpstreamAdapter,
)
from gateway.app.results import ResultKeeper
from gateway.app.visit import Visit
from gateway.domain.errors import (
    Blame,
    Sent,
    StaleFence,
    StoreUnavailable,
    Unavailable,
    UpstreamError,
)
from gateway.domain.health import WHOLE_UPSTREAM, Plane, Signal, SignalKind
from gateway.domain.machine import apply, decide, poll_delay_ms
from gateway.domain.model import Catalog
from gateway.domain.request import GenerationRequest
from gateway.domain.routing import job_for, rank
from gateway.domain.steps import (
    AttemptAccepted,
    AttemptDelivered,
    AttemptFailed,
    AttemptProgressed,
    AttemptStarted,
    CancelConfirmed,
    CancelRefused,
    CancelRequested,
    CancelUpstream,
    Done,
    Event,
    PlanRoute,
    Poll,
    PollMissed,
    Record,
    RoutePlanned,
    Settle,
    Sleep,
    Submit,
)
from gateway.domain.task import Attempt, Candidate, Task, charge
from gateway.domain.upstream import Accepted, Cancelled, Delivered, Running

log = structlog.get_logger(__name__)

# How long a task rather waits for the cheapest upstream's rate than pays the next one.
PATIENCE_MS = 1_000
STORE_RETRY_MS = 1_000
TRIAL_RETRY_MS = 5_000
STEPS_MAX = 32
CANCEL_TRIES = 3


@dataclass(frozen=True, slots=True)
class Advance:
    """The visitor. One instance serves all tasks of a process."""

    catalog: Callable[[], Catalog]
    adapters: Callable[[], Mapping[str, UpstreamAdapter]]
    tasks: TaskStore
    live: LiveTasks
    health: HealthBoard
    budgets: Budgets
    results: ResultKeeper
    clock: Clock
    on_settled: Callable[[Task], None]

    async def visit(self, lease: Lease, *, cancel: bool = False) -> Task:
        """Visit a task under a lease and give the lease back; gives the task's new state.

        With ``cancel`` the team's wish to cancel is folded in first. Store failures are
        waited out: the task becomes due again a second later.
        """
        visit = Visit(lease, lease.task)
        if cancel:
            visit.task = apply(visit.task, CancelRequested(self.clock.now_ms()))
        try:
            await self._run(visit)
        except StaleFence:
            await self._resync(visit)
        except StoreUnavailable as error:
            log.warning("visit_postponed", task_id=visit.task.id, reason=str(error))
            visit.due_ms = self.clock.now_ms() + STORE_RETRY_MS
        await self._save_live(visit)
        return visit.task

    async def _run(self, visit: Visit) -> None:
        for _ in range(STEPS_MAX):
            now_ms = self.clock.now_ms()
            step = decide(visit.task, visit.facts(now_ms))
            match step:
                case PlanRoute():
                    await self._plan(visit)
                case Submit():
                    await self._submit(visit, step)
                case Poll():
                    await self._poll(visit, step.attempt)
                case CancelUpstream():
                    await self._cancel(visit, step.attempt)
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
        visit.due_ms = self.clock.now_ms() + STORE_RETRY_MS

    async def _resync(self, visit: Visit) -> None:
        """Somebody else moved the task on: take the stored truth instead of ours."""
        stored = await self.tasks.get(visit.task.id)
        if stored is None:
            return
        visit.task = stored
        visit.due_ms = None if stored.status.is_terminal else self.clock.now_ms()

    async def _save_live(self, visit: Visit) -> None:
        due_ms = None if visit.task.status.is_terminal else visit.due_ms
        if due_ms is None and not visit.task.status.is_terminal:
            due_ms = self.clock.now_ms() + STORE_RETRY_MS
        try:
            await self.live.save(visit.lease, visit.task, due_ms)
        except Unavailable:
            # The sweeper re-indexes it from Postgres once Valkey is back.
            log.warning("live_save_failed", task_id=visit.task.id)

    # --- steps ---------------------------------------------------------------------------

    async def _plan(self, visit: Visit) -> None:
        if visit.request is None:
            visit.request = await self.tasks.request_of(visit.task.id)
        circuits = await self.health.circuits()
        in_flight = await self.budgets.in_flight()
        route = rank(visit.request, self.catalog(), circuits, in_flight, self.clock.now_ms())
        if not visit.request.rules.allow_fallbacks and visit.task.attempts:
            first = visit.task.attempts[0].upstream
            kept = tuple(c for c in route.candidates if c.upstream == first)
            route = replace(route, candidates=kept)
        visit.route = route
        visit.busy = {}
        visit.task = apply(visit.task, RoutePlanned(route.words()))

    async def _submit(self, visit: Visit, step: Submit) -> None:
        candidate = step.candidate
        attempt = step.again or self._new_attempt(visit.task, candidate)
        if step.again is not None:
            wait_ms = await self.budgets.take_submit(candidate.upstream, attempt.id)
            if wait_ms:
                visit.due_ms = self.clock.now_ms() + wait_ms
                return
        elif not await self._admitted(visit, candidate, attempt):
            return
        if visit.request is None:
            visit.request = await self.tasks.request_of(visit.task.id)
        try:
            visit.task = await self.tasks.save(apply(visit.task, AttemptStarted(attempt)), attempt)
        except (StaleFence, StoreUnavailable):
            await self.budgets.finish(candidate.upstream, attempt.id)
            raise
        event = await self._send(visit, visit.request, attempt)
        await self._fold(visit, event)
        if isinstance(event, AttemptFailed):
            visit.route = None

    async def _admitted(self, visit: Visit, candidate: Candidate, attempt: Attempt) -> bool:
        """Take the right to submit here now; if there is none, note when there may be.

        A half-open circuit admits one task at a time, unless there is nowhere else to go.
        """
        wait_ms = await self.budgets.take_submit(candidate.upstream, attempt.id)
        if wait_ms:
            self._postpone(visit, candidate, wait_ms)
            return False
        now_ms = self.clock.now_ms()
        elsewhere = len(visit.facts(now_ms).candidates or ()) > 1
        # Claimed last: a trial that is claimed and not sent would keep everybody waiting.
        trial = await self.health.claim_trial(candidate.upstream, visit.task.model, now_ms)
        if not trial and elsewhere:
            await self.budgets.finish(candidate.upstream, attempt.id)
            self._postpone(visit, candidate, TRIAL_RETRY_MS)
            return False
        return True

    def _postpone(self, visit: Visit, candidate: Candidate, wait_ms: int) -> None:
        until_ms = self.clock.now_ms() + wait_ms
        if wait_ms <= PATIENCE_MS:
            visit.due_ms = until_ms
        else:
            visit.busy = {**(visit.busy or {}), candidate.upstream: until_ms}

    def _new_attempt(self, task: Task, candidate: Candidate) -> Attempt:
        return Attempt(
            id=str(uuid4()),
            no=len(task.attempts) + 1,
            upstream=candidate.upstream,
            adapter=candidate.adapter,
            upstream_model=candidate.upstream_model,
            started_ms=self.clock.now_ms(),
            planned_cost=candidate.planned_cost,
            idempotent=candidate.idempotent,
            on_ambiguous=candidate.on_ambiguous,
        )

    async def _send(self, visit: Visit, request: GenerationRequest, attempt: Attempt) -> Event:
        """Submit once and say what happened. Never raises UpstreamError."""
        adapter = self.adapters().get(attempt.upstream)
        job = job_for(request, self.catalog(), attempt.upstream, attempt.id)
        try:
            if adapter is None or job is None:
                message = f"Upstream {attempt.upstream!r} is not configured any more."
                raise UpstreamError(message, blame=Blame.PROVIDER, sent=Sent.NO, code="not_sent")
            answer = await adapter.submit(job)
            if isinstance(answer, Delivered):
                event = await self._delivered(visit.task, attempt, answer)
            else:
                event = self._accepted(visit, answer)
        except UpstreamError as error:
            return await self._failure(visit.task, attempt, error)
        await self._observe(visit.task, attempt, Signal(SignalKind.GOOD))
        return event

    def _accepted(self, visit: Visit, answer: Accepted) -> AttemptAccepted:
        now_ms = self.clock.now_ms()
        first = visit.task.attempts[-1]
        visit.due_ms = now_ms + poll_delay_ms(first, answer.poll_after_ms)
        return AttemptAccepted(answer.upstream_task_id, now_ms)

    async def _fold(self, visit: Visit, event: Event) -> None:
        """Fold an event in and write it durably.

        Deliveries and endings are written by the settlement that follows. When Postgres is
        away the live state still carries the event to the next visit.
        """
        visit.task = apply(visit.task, event)
        if visit.task.ending is None:
            visit.task = await self.tasks.save(visit.task, visit.task.last)

    async def _poll(self, visit: Visit, attempt: Attempt) -> None:
        wait_ms = await self.budgets.take_query(attempt.upstream)
        now_ms = self.clock.now_ms()
        if wait_ms:
            visit.due_ms = now_ms + wait_ms
            return
        adapter = self.adapters().get(attempt.upstream)
        try:
            if adapter is None or attempt.upstream_task_id is None:
                message = f"Upstream {attempt.upstream!r} is not configured any more."
                raise UpstreamError(message, blame=Blame.PROVIDER, sent=Sent.NO)
            answer = await adapter.poll(attempt.upstream_task_id)
            match answer:
                case Running():
                    visit.task = apply(visit.task, AttemptProgressed(now_ms, answer.progress))
                    visit.due_ms = now_ms + poll_delay_ms(attempt, answer.poll_after_ms)
                    return
                case Cancelled():
                    event = await self._cancelled_upstream(visit.task, attempt)
                case Delivered():
                    event = await self._delivered(visit.task, attempt, answer)
                    finished = Signal(SignalKind.GOOD, plane=Plane.COMPLETION)
                    await self._observe(visit.task, attempt, finished)
                case _:
                    assert_never(answer)
        except UpstreamError as error:
            if error.sent is not Sent.REFUSED:
                missed = PollMissed(error.code == "task_unknown", now_ms)
                visit.task = apply(visit.task, missed)
                visit.due_ms = now_ms + poll_delay_ms(attempt)
                return
            event = await self._failure(visit.task, attempt, error)
        await self.budgets.finish(attempt.upstream, attempt.id)
        await self._fold(visit, event)
        visit.route = None

    async def _cancelled_upstream(self, task: Task, attempt: Attempt) -> Event:
        if task.cancel_requested:
            return CancelConfirmed(self.clock.now_ms())
        message = f"Upstream {attempt.upstream!r} cancelled the task by itself."
        error = UpstreamError(message, blame=Blame.PROVIDER, code="cancelled_upstream")
        return await self._failure(task, attempt, error)

    async def _cancel(self, visit: Visit, attempt: Attempt) -> None:
        adapter = self.adapters().get(attempt.upstream)
        confirmed = False
        may_ask = await self._may_ask(attempt.upstream)
        if may_ask and adapter is not None and attempt.upstream_task_id is not None:
            try:
                confirmed = await adapter.cancel(attempt.upstream_task_id)
            except UpstreamError as error:
                log.info("cancel_failed", task_id=visit.task.id, reason=error.message)
        now_ms = self.clock.now_ms()
        event = CancelConfirmed(now_ms) if confirmed else CancelRefused(now_ms)
        visit.task = apply(visit.task, event)
        if confirmed:
            await self.budgets.finish(attempt.upstream, attempt.id)

    async def _may_ask(self, upstream: str) -> bool:
        """Wait shortly for the right to send a query; a cancel counts as one."""
        for _ in range(CANCEL_TRIES):
            wait_ms = await self.budgets.take_query(upstream)
            if not wait_ms:
                return True
            await asyncio.sleep(min(wait_ms, 1_000) / 1_000)
        return False

    async def _settle(self, visit: Visit) -> None:
        task = visit.task
        if task.ending is None:
            raise ValueError("settle without an ending")
        charged = charge(task, task.ending)
        settlement = Settlement(task, task.ending, charged, self.clock.now_ms())
        visit.task = await self.tasks.settle(settlement)
        for attempt in task.attempts:
            await self.budgets.finish(attempt.upstream, attempt.id)
        self.on_settled(visit.task)

    # --- outcomes ------------------------------------------------------------------------

    async def _delivered(self, task: Task, attempt: Attempt, answer: Delivered) -> Event:
        """Give the delivery event; nothing delivered is the provider's fault."""
        if not answer.images:
            message = "The upstream finished without a picture."
            raise UpstreamError(message, blame=Blame.PROVIDER, code="no_images")
        images = await self.results.keep(task, attempt, answer.images)
        cost = attempt.planned_cost // task.n * len(images)
        return AttemptDelivered(images, cost, self.clock.now_ms())

    async def _failure(self, task: Task, attempt: Attempt, error: UpstreamError) -> Event:
        now_ms = self.clock.now_ms()
        retry_ms = int((error.retry_after_s or 0) * 1000)
        kind = _SIGNALS.get(error.blame)
        if kind is not None:
            whole = error.blame is Blame.ACCOUNT and error.scope == "upstream"
            plane = Plane.COMPLETION if attempt.is_live else Plane.SUBMIT
            signal = Signal(kind, retry_ms, error.message, plane)
            await self._observe(task, attempt, signal, whole_upstream=whole)
        if not attempt.is_live:
            await self.budgets.finish(attempt.upstream, attempt.id)
        log.info(
            "attempt_failed",
            task_id=task.id,
            upstream=attempt.upstream,
            blame=error.blame.value,
            sent=error.sent.value,
            code=error.code,
            reason=error.message,
        )
        return AttemptFailed(
            error.blame,
            error.sent,
            error.code,
            error.message,
            now_ms,
            retry_ms,
            repeatable=error.repeatable,
        )

    async def _observe(
        self, task: Task, attempt: Attempt, signal: Signal, *, whole_upstream: bool = False
    ) -> None:
        model = WHOLE_UPSTREAM if whole_upstream else task.model
        await self.health.observe(attempt.upstream, model, signal, self.clock.now_ms())


_SIGNALS = {
    Blame.ACCOUNT: SignalKind.ACCOUNT,
    Blame.RATE: SignalKind.RATE,
    Blame.PROVIDER: SignalKind.FAULT,
}
