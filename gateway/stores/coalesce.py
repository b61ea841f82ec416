"""One round trip for many callers: concurrent calls become one batch, an idle one never waits."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextvars import Context
from dataclasses import dataclass
from typing import Generic, TypeVar

from gateway.domain.errors import Unavailable

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
    """Runs items in batches of at most ``size_max`` items and ``weight_max`` bytes.

    An item goes out at once when no batch is running; while one is, items collect until the
    batch is full or the oldest has waited ``linger_s``, then a further batch runs beside it, at
    most ``in_flight_max``. With ``key``, items that it gives the same for never share a batch. A
    caller that is cancelled before its batch started takes its item away; afterwards the batch
    goes on without it.
    """

    def __init__(
        self,
        run: Callable[[list[T]], Awaitable[Sequence[R | Exception]]],
        *,
        closed: type[Unavailable],
        key: Callable[[T], Hashable] | None = None,
        weigh: Callable[[T], int] = _weightless,
        size_max: int = SIZE_MAX,
        weight_max: int = WEIGHT_MAX,
        in_flight_max: int = IN_FLIGHT_MAX,
        linger_s: float = LINGER_S,
    ) -> None:
        """Take what runs a batch: it gives one result or exception per item, in order.

        An exception that it raises reaches every caller of the batch. ``closed`` is what `submit`
        raises after `close`.
        """
        self._run = run
        self._refusal = closed
        self._key = key
        self._weigh = weigh
        self._size_max = size_max
        self._weight_max = weight_max
        self._in_flight_max = in_flight_max
        self._linger_s = linger_s
        self._queue: deque[_Waiting[T, R]] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._timer: asyncio.Handle | None = None
        self._due = 0.0
        self._closed = False

    async def submit(self, item: T) -> R:
        """Give the item's result once its batch has run. Raises what the batch raised for it.

        Raises what ``closed`` says after `close`.
        """
        if self._closed:
            raise self._refusal("The gateway is shutting down.")
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
        if self._queue and len(self._running) < self._in_flight_max:
            idle_or_full = not self._running or len(self._queue) >= self._size_max
            self._arm(0 if idle_or_full else self._linger_s)

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
        if len(self._running) < self._in_flight_max and (batch := self._take()):
            # A context of its own: what a batch logs must not name one of its callers.
            run = asyncio.get_running_loop().create_task(
                self._run_batch(batch), name="coalesced batch", context=Context()
            )
            self._running.add(run)
            run.add_done_callback(self._ended)
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
        while self._queue and len(batch) < self._size_max:
            waiting = self._queue.popleft()
            if waiting.answer.done():
                continue
            if self._key is not None:
                key = self._key(waiting.item)
                if key in keys:
                    left.append(waiting)
                    continue
                keys.add(key)
            weight += self._weigh(waiting.item)
            if batch and weight > self._weight_max:
                left.append(waiting)
                break
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
