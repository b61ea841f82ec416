"""The callback loop: claims due callbacks, sends them, records each try and its successor."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

import structlog

from gateway.app.ports import CallbackSender, Clock, Outbox
from gateway.crashpoints import CrashPoint, reached
from gateway.domain.callback import TIMEOUT_S, Callback, TryResult, next_try_ms
from gateway.domain.errors import Unavailable

log = structlog.get_logger(__name__)

SENDS_MAX = 64
SENDS_PER_HOST_MAX = 10
HELD_MAX = 512
IDLE_S = 1.0
# Tasks end in batches: their callbacks are claimed together.
GATHER_S = 0.02
SLOT_WAIT_S = 10.0
NOTIFY_MAX_S = 10.0
LEASE_MS = 30_000
"""Longer than the wait for a slot plus one try (10 s each): nobody else sends it meanwhile."""

Render = Callable[[str], Awaitable[bytes | None]]


class Dispatcher:
    """Sends what the outbox holds, at most SENDS_MAX at once and SENDS_PER_HOST_MAX to one host.

    ``render`` gives a task's callback body as it stands now, None when the task is gone. While
    Postgres is away the loop waits. A callback that is claimed but not recorded, for whatever
    reason, is due again when its lease ends: delivery is at least once.
    """

    def __init__(
        self, outbox: Outbox, sender: CallbackSender, render: Render, clock: Clock
    ) -> None:
        self._outbox = outbox
        self._sender = sender
        self._render = render
        self._clock = clock
        self._deliveries: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(SENDS_MAX)
        self._host_slots: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._wake = asyncio.Event()
        self._stopping = False

    async def run(self) -> None:
        """Dispatch until `stop`."""
        while not self._stopping:
            self._wake.clear()
            if not await self._claim():
                await self._idle()

    def notify(self) -> None:
        """Look for due callbacks now instead of within a second."""
        self._wake.set()

    async def stop(self, seconds: float) -> None:
        """Claim no more; let what is under way finish for ``seconds``, then leave it be."""
        self._stopping = True
        self.notify()
        if self._deliveries:
            _, late = await asyncio.wait(self._deliveries, timeout=seconds)
            for delivery in late:
                delivery.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _claim(self) -> bool:
        """Start what is due; gives whether there may be more."""
        free = HELD_MAX - len(self._deliveries)
        if not free:
            return False
        try:
            claimed = await self._outbox.claim(free, LEASE_MS)
        except Unavailable as error:
            log.warning("callbacks_wait", reason=str(error))
            return False
        for callback in claimed:
            delivery = asyncio.create_task(self._deliver(callback))
            self._deliveries.add(delivery)
            delivery.add_done_callback(self._ended)
        return len(claimed) == free

    def _ended(self, delivery: asyncio.Task[None]) -> None:
        if len(self._deliveries) == HELD_MAX:
            self.notify()
        self._deliveries.discard(delivery)
        if not delivery.cancelled() and (error := delivery.exception()):
            log.error("callback_crashed", exc_info=error)

    async def _idle(self) -> None:
        try:
            async with asyncio.timeout(IDLE_S):
                await self._wake.wait()
                await asyncio.sleep(GATHER_S)
        except TimeoutError:
            pass

    async def _deliver(self, callback: Callback) -> None:
        lease_ends_ms = self._clock.now_ms() + LEASE_MS
        reached(CrashPoint.CALLBACK_CLAIMED)
        host = urlsplit(callback.url).netloc.lower()
        host_slots = self._host_slots.setdefault(host, asyncio.Semaphore(SENDS_PER_HOST_MAX))
        try:
            async with asyncio.timeout(SLOT_WAIT_S):
                await host_slots.acquire()
        except TimeoutError:
            return
        try:
            async with self._slots:
                if self._clock.now_ms() + TIMEOUT_S * 1000 > lease_ends_ms:
                    return
                body = await self._body(callback)
                result = await self._try(callback, body)
        except Unavailable as error:
            log.warning("callback_waits", callback_id=callback.id, reason=str(error))
            return
        finally:
            host_slots.release()
        reached(CrashPoint.CALLBACK_SENT)
        now_ms = self._clock.now_ms()
        final = result.delivered or result.gone or callback.gone or body is None
        tries = callback.tries + 1
        next_at_ms = None if final else next_try_ms(tries, now_ms, patient=callback.patient)
        await self._record(callback, result, next_at_ms, lease_ends_ms)
        reached(CrashPoint.CALLBACK_RECORDED)
        if next_at_ms is not None and (delay_s := (next_at_ms - now_ms) / 1000) <= NOTIFY_MAX_S:
            asyncio.get_running_loop().call_later(delay_s, self.notify)

    async def _body(self, callback: Callback) -> bytes | None:
        if callback.body is not None:
            return callback.body.encode()
        return None if callback.task_id is None else await self._render(callback.task_id)

    async def _try(self, callback: Callback, body: bytes | None) -> TryResult:
        if body is None:
            return TryResult(None, "the task is gone", self._clock.now_ms(), 0)
        if callback.gone:
            reason = "not sent: the receiver answered 410 before; a replay asks it again"
            return TryResult(None, reason, self._clock.now_ms(), 0)
        if not callback.url:
            reason = "not sent: its address cannot be opened with this secret key"
            return TryResult(None, reason, self._clock.now_ms(), 0)
        if not callback.secrets:
            reason = "not sent: none of the team's signing secrets can be opened"
            return TryResult(None, reason, self._clock.now_ms(), 0)
        return await self._sender.send(callback, body)

    async def _record(
        self, callback: Callback, result: TryResult, next_at_ms: int | None, lease_ends_ms: int
    ) -> None:
        """Write the try down, waiting for Postgres as long as the lease lasts."""
        while True:
            try:
                await self._outbox.record(callback, result, next_at_ms)
                return
            except Unavailable as error:
                if self._clock.now_ms() + IDLE_S * 1000 > lease_ends_ms:
                    log.warning("callback_unrecorded", callback_id=callback.id, reason=str(error))
                    return
            await asyncio.sleep(IDLE_S)
