"""Waiting for tasks on behalf of callers: until they end, the time is up, or we shut down."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from gateway.app.query import Query
from gateway.domain.task import Task

TICK_S = 0.02
"""How much later than its time a wait may end when others end at about the same."""


class Waits:
    """The waits of a process. ``draining``, set when it begins to shut down, ends them all.

    A wait runs in its caller's own task: a second one for each costs more than all else of it.
    They share one timer, of which thousands would take 0.7 KiB each.
    """

    def __init__(self, draining: asyncio.Event) -> None:
        """Take what ends waits."""
        self.draining = draining
        self._due_s: dict[asyncio.Timeout, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._watching: asyncio.Task[None] | None = None

    async def until_ended(self, query: Query, task: Task, timeout_s: float) -> Task:
        """Wait until a task is terminal, at most ``timeout_s``; gives it as it then stands."""
        if task.status.is_terminal or self.draining.is_set():
            return task
        if self._watching is None:
            self._watching = asyncio.create_task(self._end_all(), name="end of waits")
        limit = asyncio.timeout(None)
        self._due_s[limit] = due_s = asyncio.get_running_loop().time() + timeout_s
        if self._timer is None or due_s < self._timer.when():
            self._set_timer(due_s)
        try:
            ended = await query.live.wait(task.id, limit)
        finally:
            del self._due_s[limit]
        return ended or await query.find(task.id) or task

    async def _end_all(self) -> None:
        await self.draining.wait()
        self._end_until(float("inf"))

    def _set_timer(self, due_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(due_s, self._on_time)

    def _on_time(self) -> None:
        """End what is due, and be back for the next. Most have ended before, and left no timer."""
        self._timer = None
        now_s = asyncio.get_running_loop().time()
        self._end_until(now_s)
        next_s = min((due_s for due_s in self._due_s.values() if due_s > now_s), default=None)
        if next_s is not None:
            self._set_timer(max(next_s, now_s + TICK_S))

    def _end_until(self, last_s: float) -> None:
        now_s = asyncio.get_running_loop().time()
        for limit, due_s in self._due_s.items():
            if due_s <= last_s:
                # One that is over already, and looks at its task a last time, stays as it is.
                with suppress(RuntimeError):
                    limit.reschedule(now_s)
