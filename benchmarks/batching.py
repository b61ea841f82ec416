"""What the floors share a round trip with: whatever is asked while a batch runs is the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Batches(Generic[T]):
    """Collects what is asked while a batch runs, and runs it as the next one."""

    def __init__(self, run: Callable[[list[T]], Awaitable[None]], size_max: int) -> None:
        """Take what runs a batch."""
        self._run = run
        self._size_max = size_max
        self._queue: list[tuple[T, asyncio.Future[None]]] = []
        self._running: asyncio.Task[None] | None = None

    async def submit(self, item: T) -> None:
        """Return when the item's batch has run."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((item, done))
        if self._running is None:
            self._running = asyncio.create_task(self._drain())
        await done

    async def _drain(self) -> None:
        while self._queue:
            batch, self._queue = self._queue[: self._size_max], self._queue[self._size_max :]
            await self._run([item for item, _ in batch])
            for _, done in batch:
                done.set_result(None)
        self._running = None
