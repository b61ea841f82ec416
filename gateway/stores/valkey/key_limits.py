"""Limits of API keys, shared by all processes: one round trip takes from all of them, or none."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from uuid import uuid4

from gateway.domain.errors import Unavailable
from gateway.domain.limits import (
    NOTHING_TAKEN,
    SLOT_MS,
    SLOTS,
    Limit,
    Taken,
    Verdict,
    judge_together,
    slot_of,
)
from gateway.stores.valkey import keys, scripts
from gateway.stores.valkey.connection import Valkey

LIMIT = scripts.load("limit")
GIVE_BACK = scripts.load("give_back")
OWN_KEYS_MAX = 10_000
# A process that took from no limit for so long does not share in them.
PEER_GONE_MS = 60_000


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class ValkeyKeyLimits:
    """KeyLimits in Valkey. No method raises IndexUnavailable.

    While Valkey is away each process allows its share of a limit, less what it allowed itself
    within the minute before.
    """

    def __init__(self, valkey: Valkey, now_ms: Callable[[], int] = _now_ms) -> None:
        """Take the connection, and the clock of the time without it."""
        self._valkey = valkey
        self._now_ms = now_ms
        self._process = uuid4().hex[:12]
        self._peers = 1
        self._own: dict[tuple[str, str], dict[int, int]] = {}

    async def take(self, key_id: str, limits: Sequence[Limit]) -> Taken:
        """Take what a call asks for from every limit, or nothing from any."""
        if not limits:
            return NOTHING_TAKEN
        names = [keys.LIMIT_PEERS, *(keys.limit(key_id, limit.name) for limit in limits)]
        amounts = [amount for limit in limits for amount in (limit.allowed, limit.amount)]
        own = self._own_counts(key_id, limits)
        try:
            slot, self._peers, *found = await self._valkey.run(
                LIMIT, names, SLOT_MS, SLOTS, self._process, PEER_GONE_MS, *amounts
            )
        except Unavailable:
            return self._take_share(limits, own)
        passed = not any(found[1::3])
        verdicts = tuple(
            _verdict(limit, *found[3 * no : 3 * no + 3], passed=passed)
            for no, limit in enumerate(limits)
        )
        if not passed:
            return Taken(verdicts)
        _count(limits, own, slot)
        return Taken(verdicts, tuple(limits), slot)

    async def give_back(self, key_id: str, taken: Taken) -> None:
        """Give back what a call took that was not accepted."""
        if not taken.limits:
            return
        for limit, own in zip(taken.limits, self._own_counts(key_id, taken.limits), strict=True):
            own[taken.slot] = max(own.get(taken.slot, 0) - limit.amount, 0)
        if taken.alone:
            return
        names = [keys.limit(key_id, limit.name) for limit in taken.limits]
        amounts = [limit.amount for limit in taken.limits]
        with suppress(Unavailable):
            # Without Valkey nobody knows of it any more.
            await self._valkey.run(GIVE_BACK, names, taken.slot, *amounts)

    def _own_counts(self, key_id: str, limits: Sequence[Limit]) -> list[dict[int, int]]:
        """Give what this process allowed of each limit, by slot."""
        if len(self._own) > OWN_KEYS_MAX:
            self._own.clear()
        first = slot_of(self._now_ms()) - SLOTS
        own = [self._own.setdefault((key_id, limit.name), {}) for limit in limits]
        for counts in own:
            for old in [slot for slot in counts if slot < first]:
                del counts[old]
        return own

    def _take_share(self, limits: Sequence[Limit], own: list[dict[int, int]]) -> Taken:
        """Take from this process's share; a share lets at least one call through."""
        now_ms = self._now_ms()
        shares = [
            replace(limit, allowed=max(limit.allowed // self._peers, limit.amount))
            for limit in limits
        ]
        judged = zip(judge_together(shares, own, now_ms), limits, strict=True)
        verdicts = tuple(replace(verdict, allowed=limit.allowed) for verdict, limit in judged)
        if any(verdict.retry_ms for verdict in verdicts):
            return Taken(verdicts)
        slot = slot_of(now_ms)
        _count(limits, own, slot)
        return Taken(verdicts, tuple(limits), slot, alone=True)


def _count(limits: Sequence[Limit], own: list[dict[int, int]], slot: int) -> None:
    for limit, counts in zip(limits, own, strict=True):
        counts[slot] = counts.get(slot, 0) + limit.amount


def _verdict(limit: Limit, used: int, wait_ms: int, reset_ms: int, *, passed: bool) -> Verdict:
    left = limit.allowed - used - (limit.amount if passed else 0)
    return Verdict(limit.name, limit.allowed, max(left, 0), wait_ms, reset_ms)
