"""One round trip for many callers: concurrent calls become one batch, an idle one never waits."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from gateway.domain.errors import StoreUnavailable

T = TypeVar("T")
R = TypeVar("R")

SIZE_MAX = 64
WEIGHT_MAX = 4 * 1024 * 1024
IN_FLIGHT_MAX = 2
LINGER_S = 0.0025


@dataclass(slots=True)
class _Waiting(Generic[T, R]):
    """An item and the caller that waits for its result."""

    item: T
    answer: asyncio.Future[R]


def _weightless(_item: object) -> int:
    return 0


class Coalescer(Generic[T, R]):
    """Runs items in batches of at most ``SIZE_MAX`` items and ``WEIGHT_MAX`` bytes.

    An item goes out at once when no batch is running; while one is, items collect until the
    batch is full or the oldest has waited ``LINGER_S``, then a second batch runs beside it,
    never a third. Items of one ``key`` never share a batch. A caller that is cancelled before
    its batch started takes its item away; afterwards the batch goes on without it.
    """

    def __init__(
        self,
        run: Callable[[list[T]], Awaitable[Sequence[R | Exception]]],
        *,
        key: Callable[[T], Hashable],
        weigh: Callable[[T], int] = _weightless,
    ) -> None:
        """Take what runs a batch: it gives one result or exception per item, in order.

        An exception that it raises reaches every caller of the batch.
        """
        self._run = run
        self._key = key
        self._weigh = weigh
        self._queue: deque[_Waiting[T, R]] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._timer: asyncio.Handle | None = None
        self._due = 0.0
        self._closed = False

    async def submit(self, item: T) -> R:
        """Give the item's result once its batch has run. Raises what the batch raised for it."""
        if self._closed:
            raise StoreUnavailable("The gateway is shutting down.")
        answer: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(item, answer))
        self._schedule()
        return await answer

    async def close(self) -> None:
        """Take no more items, and return when everything taken so far has run."""
        self._closed = True
        while self._queue or self._running:
            self._flush()
            if self._running:
                await asyncio.wait(self._running)

    def _schedule(self) -> None:
        """Arrange the next flush: on the loop's next turn if nothing runs or a batch is full.

        Not in this turn: callers that are ready in it share the batch.
        """
        if self._queue and len(self._running) < IN_FLIGHT_MAX:
            idle_or_full = not self._running or len(self._queue) >= SIZE_MAX
            self._arm(0 if idle_or_full else LINGER_S)

    def _arm(self, delay_s: float) -> None:
        """Flush after ``delay_s``, or earlier if that is arranged already."""
        loop = asyncio.get_running_loop()
        due = loop.time() + delay_s
        if self._timer is not None:
            if self._due <= due:
                return
            self._timer.cancel()
        self._due = due
        flush = self._flush
        self._timer = loop.call_later(delay_s, flush) if delay_s else loop.call_soon(flush)

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if len(self._running) < IN_FLIGHT_MAX and (batch := self._take()):
            task = asyncio.create_task(self._run_batch(batch), name="coalesced batch")
            self._running.add(task)
            task.add_done_callback(self._ended)
        self._schedule()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if self._queue:
            self._arm(0)

    def _take(self) -> list[_Waiting[T, R]]:
        """Take the next batch off the queue; what does not fit keeps its place."""
        batch: list[_Waiting[T, R]] = []
        left: list[_Waiting[T, R]] = []
        keys: set[Hashable] = set()
        weight = 0
        while self._queue and len(batch) < SIZE_MAX:
            waiting = self._queue.popleft()
            if waiting.answer.done():
                continue
            key = self._key(waiting.item)
            if key in keys:
                left.append(waiting)
                continue
            weight += self._weigh(waiting.item)
            if batch and weight > WEIGHT_MAX:
                left.append(waiting)
                break
            keys.add(key)
            batch.append(waiting)
        self._queue.extendleft(reversed(left))
        return batch

    async def _run_batch(self, batch: list[_Waiting[T, R]]) -> None:
        try:
            results = await self._run([waiting.item for waiting in batch])
        except Exception as error:  # noqa: BLE001 - whatever it is, every caller gets it
            results = [error] * len(batch)
        for waiting, result in zip(batch, results, strict=True):
            if waiting.answer.done():
                continue
            if isinstance(result, Exception):
                waiting.answer.set_exception(result)
            else:
                waiting.answer.set_result(result)
