"""An outbox and a sender in memory, with the ports' own behaviour, for tests of the loop."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from gateway.domain.callback import Callback, TryResult
from gateway.domain.errors import StoreUnavailable

START_MS = 1_800_000_000_000


@dataclass
class SetClock:
    ms: int = START_MS

    def now_ms(self) -> int:
        return self.ms


@dataclass
class MemoryOutbox:
    """The port's contract: due rows, leases, a log. `away` counts calls that still fail."""

    clock: SetClock
    due: dict[str, tuple[Callback, int]] = field(default_factory=dict)
    leases: dict[str, int] = field(default_factory=dict)
    log: list[tuple[str, TryResult, int | None]] = field(default_factory=list)
    claims: int = 0
    away: int = 0
    recorded: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, *callbacks: Callback) -> None:
        for callback in callbacks:
            self.due[callback.id] = (callback, self.clock.ms)

    async def claim(self, limit: int, lease_ms: int) -> Sequence[Callback]:
        self.claims += 1
        self._answer()
        now_ms = self.clock.now_ms()
        free = [
            callback
            for callback, at_ms in self.due.values()
            if at_ms <= now_ms and self.leases.get(callback.id, 0) <= now_ms
        ][:limit]
        self.leases |= {callback.id: now_ms + lease_ms for callback in free}
        return free

    async def record(self, callback: Callback, result: TryResult, next_at_ms: int | None) -> None:
        self._answer()
        self.log.append((callback.id, result, next_at_ms))
        self.leases.pop(callback.id)
        if next_at_ms is None:
            del self.due[callback.id]
        else:
            tried = replace(callback, tries=callback.tries + 1)
            self.due[callback.id] = (tried, next_at_ms)
        self.recorded.set()

    def _answer(self) -> None:
        if self.away:
            self.away -= 1
            raise StoreUnavailable

    async def until_recorded(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.log) < count:
                self.recorded.clear()
                await self.recorded.wait()


@dataclass
class MemorySender:
    """Answers with `status`, after `gate` is open; counts what runs at the same time."""

    clock: SetClock
    status: int | None = 200
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    sent: list[tuple[Callback, bytes]] = field(default_factory=list)
    running: Counter[str] = field(default_factory=Counter)
    most: Counter[str] = field(default_factory=Counter)
    most_at_all: int = 0
    started: asyncio.Event = field(default_factory=asyncio.Event)

    async def until_running(self, count: int, url: str | None = None) -> None:
        async with asyncio.timeout(5):
            while (self.running[url] if url else self.running.total()) < count:
                self.started.clear()
                await self.started.wait()

    async def send(self, callback: Callback, body: bytes) -> TryResult:
        self.running[callback.url] += 1
        self.most[callback.url] = max(self.most[callback.url], self.running[callback.url])
        self.most_at_all = max(self.most_at_all, self.running.total())
        self.started.set()
        try:
            await self.gate.wait()
        finally:
            self.running[callback.url] -= 1
        self.sent.append((callback, body))
        error = None if self.status == 200 else "no"
        return TryResult(self.status, error, self.clock.ms, 7)
