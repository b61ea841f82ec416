"""Making accepted tasks due behind the answers to their callers, who need nothing of the index."""

from __future__ import annotations

import asyncio
from contextvars import Context

import structlog

from gateway.app.ports import LiveTasks
from gateway.crashpoints import CrashPoint, reached
from gateway.domain.errors import Unavailable
from gateway.domain.task import Task

log = structlog.get_logger(__name__)


class Indexing:
    """Indexes durable tasks; those accepted in one turn of the loop go together.

    Until then readers find a task in Postgres, as they do while Valkey is away. What is lost on
    the way, with this process or with Valkey, the sweeper indexes.
    """

    def __init__(self, live: LiveTasks) -> None:
        """Take the index."""
        self._live = live
        self._next: list[Task] = []
        self._running: set[asyncio.Task[None]] = set()

    def soon(self, task: Task) -> None:
        """Index a task and make it due at once. Nobody waits for it."""
        if not self._next:
            asyncio.get_running_loop().call_soon(self._start)
        self._next.append(task)

    async def aclose(self) -> None:
        """Return when everything that came so far has been tried."""
        while self._next or self._running:
            # A batch of this turn starts on the next.
            await asyncio.sleep(0)
            if self._running:
                await asyncio.wait(self._running)

    def _start(self) -> None:
        batch, self._next = self._next, []
        # A context of its own: it belongs to none of the calls.
        run = asyncio.get_running_loop().create_task(self._index(batch), context=Context())
        self._running.add(run)
        run.add_done_callback(self._running.discard)

    async def _index(self, batch: list[Task]) -> None:
        try:
            await self._live.add_missing(batch, min(task.created_ms for task in batch))
        except Unavailable:
            log.warning("enqueue_failed", task_ids=[task.id for task in batch])
        reached(CrashPoint.ACCEPT_ENQUEUED)
