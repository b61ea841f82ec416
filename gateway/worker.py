"""The worker: claims due tasks, visits them, keeps its leases, sweeps, and drains on stop."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import structlog

from gateway.app.advance import Advance
from gateway.app.batch_feeding import Feeder
from gateway.app.ports import Lease, LiveTasks
from gateway.app.sweep import Sweep
from gateway.crashpoints import CrashPoint, reached
from gateway.domain.errors import GatewayError, Unavailable

log = structlog.get_logger(__name__)

LEASE_MS = 10_000
RENEW_EVERY_S = 3.0
CLAIM_MAX = 200
IDLE_S = 0.25
AWAY_S = 0.5
EPOCH_CHECK_S = 0.5
SWEEP_EVERY_ROUNDS = 20
CHORES_EVERY_S = 60.0
# Together at most ten seconds: the last claim and the last lines of batches, the visits under way,
# the callbacks under way.
CLAIM_END_S = 1.0
DRAIN_S = 7.0
CALLBACKS_END_S = 2.0

Dispatch = Callable[[], Awaitable[None]]


@dataclass(slots=True)
class Worker:
    """Runs visits, at most ``visits_max`` at once. ``dispatch`` is the callback dispatcher;
    ``chores`` are done once a minute.
    """

    live: LiveTasks
    advance: Advance
    sweep: Sweep
    dispatch: Dispatch
    stop_dispatch: Callable[[float], Awaitable[None]]
    feeder: Feeder
    chores: Sequence[Callable[[], Awaitable[object]]] = ()
    visits_max: int = 4096
    _visits: dict[asyncio.Task[None], Lease] = field(default_factory=dict)
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Work until `stop`; then finish what is under way, within ten seconds."""
        loops = [
            asyncio.create_task(self._guarded("claim", self._claim_loop)),
            asyncio.create_task(self._guarded("renew", self._renew_loop)),
            asyncio.create_task(self._guarded("sweep", self._sweep_loop)),
            asyncio.create_task(self._guarded("callbacks", self.dispatch)),
            asyncio.create_task(self._guarded("batches", self.feeder.run)),
            *(
                asyncio.create_task(self._guarded("chores", partial(self._chore_loop, chore)))
                for chore in self.chores
            ),
        ]
        await self._stopping.wait()
        await asyncio.gather(
            asyncio.wait(loops[:1], timeout=CLAIM_END_S), self.feeder.stop(CLAIM_END_S)
        )
        await self._drain()
        for task in loops:
            task.cancel()
        await asyncio.gather(*loops, return_exceptions=True)

    def stop(self) -> None:
        """Begin the drain. Safe to call from a signal handler."""
        self._stopping.set()

    async def _guarded(self, name: str, loop: Callable[[], Awaitable[None]]) -> None:
        """Restart a loop that broke; a worker that stopped one of them would look alive."""
        while not self._stopping.is_set():
            try:
                await loop()
            except Unavailable as error:
                log.warning("worker_waits", loop=name, reason=str(error))
            except Exception:
                log.exception("worker_loop_failed", loop=name)
            if self._stopping.is_set():
                return
            await asyncio.sleep(AWAY_S)

    async def _claim_loop(self) -> None:
        while not self._stopping.is_set():
            free = self.visits_max - len(self._visits)
            leases = await self.live.claim(min(free, CLAIM_MAX), LEASE_MS) if free else ()
            if self._stopping.is_set():
                # Nobody visited these: the next worker may have them now, not when they expire.
                await self.live.release(leases)
                return
            for lease in leases:
                visit = asyncio.create_task(self._visit(lease))
                self._visits[visit] = lease
                visit.add_done_callback(self._visits.pop)
            if len(leases) < CLAIM_MAX:
                await self.live.wait_due(IDLE_S)

    async def _visit(self, lease: Lease) -> None:
        reached(CrashPoint.VISIT_CLAIMED)
        try:
            await self.advance.visit(lease)
        except GatewayError as error:
            # The lease runs out and somebody visits again.
            log.warning("visit_failed", task_id=lease.task.id, reason=error.message)
        except Exception:
            log.exception("visit_crashed", task_id=lease.task.id)

    async def _renew_loop(self) -> None:
        while True:
            await asyncio.sleep(RENEW_EVERY_S)
            if leases := list(self._visits.values()):
                await self.live.renew(leases, LEASE_MS)
                reached(CrashPoint.LEASES_RENEWED)

    async def _sweep_loop(self) -> None:
        """Rebuild at once when the index was lost; otherwise look for orphans now and then."""
        rounds = 0
        while True:
            lost = await self.live.epoch_lost()
            if lost or rounds % SWEEP_EVERY_ROUNDS == 0:
                await self.sweep.run()
            if rounds % SWEEP_EVERY_ROUNDS == 0:
                await self.sweep.expire()
            rounds += 1
            await asyncio.sleep(EPOCH_CHECK_S * (1 + random.random() / 5))  # noqa: S311 - jitter

    async def _chore_loop(self, chore: Callable[[], Awaitable[object]]) -> None:
        while True:
            await chore()
            await asyncio.sleep(CHORES_EVERY_S)

    async def _drain(self) -> None:
        log.info("worker_draining", visits=len(self._visits))
        reached(CrashPoint.WORKER_DRAINING)
        if self._visits:
            await asyncio.wait(list(self._visits), timeout=DRAIN_S)
        await self.stop_dispatch(CALLBACKS_END_S)
        if self._visits:
            log.warning("worker_left_visits", count=len(self._visits))
