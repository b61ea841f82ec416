"""What each upstream's jobs of a UTC day cost, counted against its daily cap (port `Spending`).

A job counts with what full delivery would cost from its submit on, and with what it cost once
that is known. A count that a flush took away begins anew from what Postgres has booked.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping

from gateway.app.ports import Clock
from gateway.domain.errors import Unavailable
from gateway.domain.money import MicroUsd
from gateway.stores.valkey import keys, scripts
from gateway.stores.valkey.connection import Valkey

SPEND = scripts.load("spend")
DAY_MS = 86_400_000
KEPT_MS = 3 * DAY_MS
FRESH_S = 0.5

Caps = Callable[[], Mapping[str, MicroUsd]]
Booked = Callable[[int], Awaitable[Mapping[str, MicroUsd]]]


class ValkeySpending:
    """Spending in Valkey. No method raises: without Valkey a process goes by what it knew last."""

    def __init__(self, valkey: Valkey, caps: Caps, booked: Booked, clock: Clock) -> None:
        """Take the connection, what gives the caps in force (0: none), and what gives the costs
        that are booked since a time (UTC ms) per upstream.
        """
        self._valkey = valkey
        self._caps = caps
        self._booked = booked
        self._clock = clock
        self._known: dict[str, MicroUsd] = {}
        self._day = -1
        self._fresh_until_s = 0.0

    async def spent(self) -> Mapping[str, MicroUsd]:
        """Give what today's jobs cost at every upstream that has a cap."""
        capped = [name for name, cap in self._caps().items() if cap]
        if not capped:
            return {}
        day = self._clock.now_ms() // DAY_MS
        if day != self._day:
            self._day, self._known, self._fresh_until_s = day, {}, 0.0
        if time.monotonic() >= self._fresh_until_s:
            self._fresh_until_s = time.monotonic() + FRESH_S
            await self._read(capped, day)
        return {name: self._known.get(name, 0) for name in capped}

    async def reserve(self, upstream: str, cost: MicroUsd) -> bool:
        """Count a job that is about to be sent; False, counting nothing, past the cap."""
        cap = self._caps().get(upstream, 0)
        if not cap:
            return True
        await self.spent()
        key = keys.spent(self._day)
        try:
            total = int(await self._valkey.run(SPEND, [key], upstream, cost, cap, KEPT_MS))
        except Unavailable:
            total = self._known.get(upstream, 0) + cost
            if total > cap:
                return False
        if total < 0:
            self._known[upstream] = -total - 1
            return False
        self._known[upstream] = total
        return True

    async def correct(self, upstream: str, planned: MicroUsd, cost: MicroUsd, at_ms: int) -> None:
        """Count what a job that was sent at a time cost instead of what was planned."""
        if not self._caps().get(upstream) or planned == cost:
            return
        day = at_ms // DAY_MS
        if day == self._day:
            self._known[upstream] = max(0, self._known.get(upstream, 0) + cost - planned)
        key, cap = keys.spent(day), 2**62
        try:
            await self._valkey.run(SPEND, [key], upstream, cost - planned, cap, KEPT_MS)
        except Unavailable:
            # Counted too high for the day: never more is spent than the operator allows.
            return

    async def _read(self, capped: list[str], day: int) -> None:
        key = keys.spent(day)
        try:
            found = await self._valkey.execute("HMGET", key, *capped)
            missing = [name for name, raw in zip(capped, found, strict=True) if raw is None]
            if missing:
                booked = await self._booked(day * DAY_MS)
                for name in missing:
                    await self._valkey.execute("HSETNX", key, name, booked.get(name, 0))
                await self._valkey.execute("PEXPIRE", key, KEPT_MS)
                found = await self._valkey.execute("HMGET", key, *capped)
        except Unavailable:
            return
        self._known |= {name: int(raw or 0) for name, raw in zip(capped, found, strict=True)}
