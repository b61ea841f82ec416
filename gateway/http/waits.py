"""Waiting for tasks on behalf of callers: until they end, the time is up, or we shut down."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from gateway.app.query import Query
from gateway.domain.task import Task


class Waits:
    """The waits of a process. ``draining``, set when it begins to shut down, ends them all.

    A wait runs in its caller's own task: a second one for each costs more than all else of it.
    """

    def __init__(self, draining: asyncio.Event) -> None:
        """Take what ends waits."""
        self.draining = draining
        self._limits: set[asyncio.Timeout] = set()
        self._watching: asyncio.Task[None] | None = None

    async def until_ended(self, query: Query, task: Task, timeout_s: float) -> Task:
        """Wait until a task is terminal, at most ``timeout_s``; gives it as it then stands."""
        if task.status.is_terminal or self.draining.is_set():
            return task
        if self._watching is None:
            self._watching = asyncio.create_task(self._end_all(), name="end of waits")
        limit = asyncio.timeout(timeout_s)
        self._limits.add(limit)
        try:
            return await query.wait(task, limit)
        finally:
            self._limits.discard(limit)

    async def _end_all(self) -> None:
        await self.draining.wait()
        now = asyncio.get_running_loop().time()
        for limit in self._limits:
            # One that is over already, and is looking at its task a last time, stays as it is.
            with suppress(RuntimeError):
                limit.reschedule(now)
