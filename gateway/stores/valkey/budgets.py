"""Budgets per upstream account, shared by all processes: submits and queries per second, in flight.

The rate is a sliding window over the latest grants, not a token bucket: a bucket of one second's
tokens lets twice the rate through in the second after a pause, and a vendor counts that as too
many (DashScope: 20 queries a second per account). At the same cost this allows the same burst and
never more than the rate in any window.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from uuid import uuid4

from gateway.app.ports import PollLine
from gateway.domain.errors import Unavailable
from gateway.stores.valkey import keys, scripts
from gateway.stores.valkey.connection import Valkey
from gateway.stores.valkey.own_share import OwnShare, Rate, rate_of

TAKE = scripts.load("take")
POLL = scripts.load("poll")
PEERS = scripts.load("peers")
SUBMIT, QUERY = "submit", "query"

# Longer than any model's deadline; a slot that nobody gave back is free again after it.
SLOT_MS = 1_800_000
# When every slot is taken nobody knows when one is free; long enough to look elsewhere first.
FULL_RETRY_MS = 1_500
IN_FLIGHT_FRESH_S = 0.2
PEER_EVERY_S = 5.0
PEER_GONE_MS = 20_000
# A task asks again after this long however long the line is: it may have become shorter.
POLL_WAIT_MS = 120_000
# One that did not ask again in time has ended some other way; longer than a lease.
POLL_GONE_MS = 15_000


@dataclass(frozen=True, slots=True)
class UpstreamLimits:
    """What one upstream account allows; 0 is unlimited."""

    max_in_flight: int = 0
    submit_per_second: Decimal = Decimal(0)
    query_per_second: Decimal = Decimal(0)


_UNLIMITED = UpstreamLimits()


@dataclass(frozen=True, slots=True)
class _Call:
    """What is asked of a budget; a query has no attempt and needs no slot (cap 0).

    A poll names its task, and when that may be done (UTC ms).
    """

    upstream: str
    plane: str
    count: int
    per_second: Decimal
    attempt_id: str = ""
    cap: int = 0
    task_id: str = ""
    likely_ms: int = 0


class ValkeyBudgets:
    """Budgets in Valkey. No method raises IndexUnavailable.

    While Valkey is away each process keeps to its share of the limits, and tells Valkey
    afterwards what began and ended. Whenever the count changes hands, one window passes without
    a grant, for what the other side granted last is not known.
    """

    def __init__(self, valkey: Valkey, limits: Callable[[], Mapping[str, UpstreamLimits]]) -> None:
        """Take the connection and what gives the limits now, so that a reload takes effect."""
        self._valkey = valkey
        self._limits = limits
        self._process = uuid4().hex[:12]
        self._peers = 1
        self._next_beat_s = 0.0
        self._own = OwnShare(SLOT_MS * 1000)
        self._is_away = False
        self._changed_hands_us = float("-inf")
        self._owed: dict[tuple[str, str], bool] = {}
        self._in_flight: Mapping[str, int] = {}
        self._counting = asyncio.Lock()
        self._counted_s = float("-inf")

    async def take_submit(self, upstream: str, attempt_id: str) -> int:
        """Take the right to submit now: 0, or the milliseconds until one may be free.

        Counts the attempt as in flight until `finish`; taking twice for one attempt counts once.
        """
        limits = self._limits().get(upstream, _UNLIMITED)
        if not limits.max_in_flight and not limits.submit_per_second:
            return 0
        rate, cap = limits.submit_per_second, limits.max_in_flight
        wait_ms = await self._take(_Call(upstream, SUBMIT, 1, rate, attempt_id, cap))
        if not wait_ms and cap:
            self._own.began(upstream, attempt_id, _now_us())
            self._counted_s = float("-inf")
        return wait_ms

    async def take_query(self, upstream: str, count: int = 1) -> int:
        """Take the right to ask ``count`` times now: 0, or the milliseconds until it is free.

        Raises ValueError when ``count`` could never be allowed at once.
        """
        limits = self._limits().get(upstream, _UNLIMITED)
        if not limits.query_per_second:
            return 0
        if count > rate_of(limits.query_per_second).allowed:
            raise ValueError(f"{upstream!r} never allows {count} queries at once")
        return await self._take(_Call(upstream, QUERY, count, limits.query_per_second))

    async def take_poll(self, upstream: str, task_id: str, likely_ms: int) -> int:
        """Take the right to poll a task that is probably done at a time (UTC ms).

        Gives 0, or the milliseconds after which to ask again. Where more tasks want a query
        than the rate allows, those likely done first are first.
        """
        rate = self._limits().get(upstream, _UNLIMITED).query_per_second
        if not rate:
            return 0
        call = _Call(upstream, QUERY, 1, rate, task_id=task_id, likely_ms=likely_ms)
        return await self._take(call)

    async def poll_lines(self) -> Mapping[str, PollLine]:
        """Give the line at each upstream that limits queries. Raises IndexUnavailable."""
        now_ms = self._valkey.now_ms()
        limited = [name for name, limits in self._limits().items() if limits.query_per_second]
        found = {}
        for name in limited:
            line = keys.polls(name)
            waiting = await self._valkey.execute("ZCARD", line)
            first = await self._valkey.execute("ZRANGE", line, 0, 0, "WITHSCORES")
            lag_ms = max(0, now_ms - int(float(first[1]))) if first else 0
            found[name] = PollLine(int(waiting), lag_ms)
        return found

    async def finish(self, upstream: str, attempt_id: str) -> None:
        """The attempt no longer runs at the vendor. Finishing again does no harm."""
        limits = self._limits().get(upstream)
        if limits is not None and not limits.max_in_flight:
            return
        self._own.ended(upstream, attempt_id)
        try:
            await self._valkey.execute("ZREM", keys.slots(upstream), attempt_id)
        except Unavailable:
            self._owed[upstream, attempt_id] = False
        self._counted_s = float("-inf")

    async def in_flight(self) -> Mapping[str, int]:
        """Give how many attempts run at each upstream that has a cap.

        What this process began or finished is in it; what others did may be 0.2 s old.
        """
        async with self._counting:
            if time.monotonic() >= self._counted_s + IN_FLIGHT_FRESH_S:
                self._counted_s = time.monotonic()
                self._in_flight = await self._count()
            return self._in_flight

    # --- taking --------------------------------------------------------------------------

    async def _take(self, call: _Call) -> int:
        await self._beat()
        if self._is_away:
            await self._look_again()
        rate = rate_of(call.per_second)
        if pause_ms := self._pause_ms(rate):
            return pause_ms
        if self._is_away:
            return self._take_own(call)
        try:
            wait_ms = await self._take_shared(call, rate)
        except Unavailable:
            self._change_hands(away=True)
            if call.cap:
                # It may have been executed although the answer was lost.
                self._owed[call.upstream, call.attempt_id] = False
            return self._pause_ms(rate) or self._take_own(call)
        return FULL_RETRY_MS if wait_ms < 0 else wait_ms

    async def _take_shared(self, call: _Call, rate: Rate) -> int:
        if call.task_id:
            return await self._take_poll_shared(call, rate)
        names = [keys.grants(call.upstream, call.plane), keys.slots(call.upstream)]
        amounts = (call.count, rate.allowed, rate.window_us)
        slot = (call.attempt_id, call.cap, SLOT_MS)
        return int(await self._valkey.run(TAKE, names, *amounts, *slot))

    async def _take_poll_shared(self, call: _Call, rate: Rate) -> int:
        upstream = call.upstream
        names = [keys.grants(upstream, QUERY), keys.polls(upstream), keys.poll_turns(upstream)]
        wish = (call.task_id, call.likely_ms)
        limits = (rate.allowed, rate.window_us)
        return int(await self._valkey.run(POLL, names, *limits, *wish, POLL_WAIT_MS, POLL_GONE_MS))

    def _take_own(self, call: _Call) -> int:
        now_us = _now_us()
        cap = max(1, call.cap // self._peers) if call.cap else 0
        if self._own.is_full(call.upstream, call.attempt_id, cap, now_us):
            return FULL_RETRY_MS
        rate = rate_of(call.per_second, self._peers)
        wait_ms = self._own.take(call.upstream, call.plane, call.count, rate, now_us)
        if not wait_ms and call.cap:
            self._owed[call.upstream, call.attempt_id] = True
        return wait_ms

    def _change_hands(self, *, away: bool) -> None:
        if away is not self._is_away:
            self._is_away = away
            self._changed_hands_us = _now_us()

    async def _look_again(self) -> None:
        try:
            await self._valkey.ping()
        except Unavailable:
            return
        self._change_hands(away=False)
        await self._tell()

    def _pause_ms(self, rate: Rate) -> int:
        """Give how long the pause since the count changed hands still lasts."""
        if not rate.allowed:
            return 0
        left_us = self._changed_hands_us + rate.window_us - _now_us()
        return max(0, int(left_us / 1000) + 1) if left_us > 0 else 0

    async def _beat(self) -> None:
        """Say that this process is alive, and learn how many share the limits."""
        if time.monotonic() < self._next_beat_s:
            return
        self._next_beat_s = time.monotonic() + PEER_EVERY_S
        try:
            self._peers = await self._valkey.run(PEERS, [keys.PEERS], self._process, PEER_GONE_MS)
        except Unavailable:
            return

    # --- attempts in flight --------------------------------------------------------------

    async def _tell(self) -> None:
        """Tell Valkey which attempts began and ended while it was away."""
        owed, self._owed = self._owed, {}
        await asyncio.gather(*(self._tell_one(*key, began=began) for key, began in owed.items()))

    async def _tell_one(self, upstream: str, attempt_id: str, *, began: bool) -> None:
        slots = keys.slots(upstream)
        try:
            if began:
                await self._valkey.execute(
                    "ZADD", slots, self._valkey.now_ms() + SLOT_MS, attempt_id
                )
            # Asked last, for it may have ended while we told that it began.
            if not self._own.is_running(upstream, attempt_id):
                await self._valkey.execute("ZREM", slots, attempt_id)
        except Unavailable:
            self._owed.setdefault((upstream, attempt_id), began)

    async def _count(self) -> Mapping[str, int]:
        capped = [name for name, limits in self._limits().items() if limits.max_in_flight]
        now_ms = self._valkey.now_ms()
        counts = [
            self._valkey.execute("ZCOUNT", keys.slots(name), f"({now_ms}", "+inf")
            for name in capped
        ]
        try:
            return dict(zip(capped, await asyncio.gather(*counts), strict=True))
        except Unavailable:
            return self._own.in_flight(_now_us())


def _now_us() -> int:
    return time.monotonic_ns() // 1000
