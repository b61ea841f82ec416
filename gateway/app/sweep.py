"""The sweeper: what Postgres knows to be unfinished becomes due again; what is too old goes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import structlog

from gateway.app.ports import AssetStore, Clock, LiveTasks, Repeats, TaskStore
from gateway.app.ports.batches import BatchStore
from gateway.crashpoints import CrashPoint, reached
from gateway.domain.task import Outcome, Task

log = structlog.get_logger(__name__)

PAGE = 1_000
# A task whose submit may be under way right now: its worker re-asserts its lease first.
INTENT_GRACE_MS = 10_000
EXPIRE_MAX = 200
KEYS_MAX = 5_000
FORGET_MAX = 500
BATCHES_MAX = 5


@dataclass(frozen=True, slots=True)
class Retention:
    """How long ended tasks, and the requests they were made of, are kept; None: for ever."""

    tasks_ms: int | None = None
    payloads_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Sweep:
    """Rebuilds the index; harmless to run anywhere, any number of times.

    ``alone`` gives a lock over all processes: one sweep at a time is enough.
    """

    tasks: TaskStore
    live: LiveTasks
    assets: AssetStore
    repeats: Repeats
    batches: BatchStore
    clock: Clock
    alone: Callable[[], AbstractAsyncContextManager[bool]]
    retention: Retention = Retention()

    async def run(self) -> int:
        """Index every unfinished task that is missing; gives how many were added."""
        async with self.alone() as mine:
            return await self._run() if mine else 0

    async def _run(self) -> int:
        added, after_id = 0, ""
        while page := await self.tasks.unfinished(after_id, PAGE):
            reached(CrashPoint.SWEEP_READ)
            if missing := await self.live.missing(page):
                added += await self._index(await self.tasks.several(missing))
            after_id = page[-1]
        reached(CrashPoint.SWEEP_INDEXED)
        await self.live.mark_epoch()
        if added:
            log.info("sweep_indexed", count=added)
        return added

    async def expire(self) -> int:
        """Delete expired pictures of our own, old Idempotency-Keys, and what the retention says.

        Of each one batch at a time; gives how many.
        """
        async with self.alone() as mine:
            if not mine:
                return 0
            keys = await self.repeats.forget(KEYS_MAX)
            return keys + await self.assets.expire(EXPIRE_MAX) + await self._forget()

    async def _forget(self) -> int:
        """Forget ended tasks, and strip others of their requests; the ledger keeps everything."""
        now_ms, gone = self.clock.now_ms(), 0
        if (tasks_ms := self.retention.tasks_ms) is not None:
            gone += await self.tasks.forget(now_ms - tasks_ms, FORGET_MAX)
            gone += await self.batches.forget(now_ms - tasks_ms, BATCHES_MAX)
        if (payloads_ms := self.retention.payloads_ms) is not None:
            gone += await self.tasks.strip(now_ms - payloads_ms, FORGET_MAX)
        return gone

    async def _index(self, tasks: Sequence[Task]) -> int:
        now_ms = self.clock.now_ms()
        unfinished = [task for task in tasks if not task.status.is_terminal]
        submitting = [task for task in unfinished if _is_submitting(task)]
        others = [task for task in unfinished if not _is_submitting(task)]
        added = await self.live.add_missing(others, now_ms) if others else 0
        if submitting:
            added += await self.live.add_missing(submitting, now_ms + INTENT_GRACE_MS)
        return added


def _is_submitting(task: Task) -> bool:
    return task.last is not None and task.last.outcome is Outcome.INTENT
