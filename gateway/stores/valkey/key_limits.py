"""Limits of API keys, shared by all processes: one round trip takes from all of them, or none."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from gateway.domain.errors import Unavailable
from gateway.domain.limits import SLOT_MS, SLOTS, Limit, Taken, Verdict, judge_together, slot_of
from gateway.stores.valkey import keys, scripts
from gateway.stores.valkey.connection import Valkey

LIMIT = scripts.load("limit")
GIVE_BACK = scripts.load("give_back")
OWN_KEYS_MAX = 10_000


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class ValkeyKeyLimits:
    """KeyLimits in Valkey. No method raises IndexUnavailable.

    While Valkey is away each process counts for itself.
    """

    def __init__(self, valkey: Valkey, now_ms: Callable[[], int] = _now_ms) -> None:
        """Take the connection, and the clock of the time without it."""
        self._valkey = valkey
        self._now_ms = now_ms
        self._own: dict[tuple[str, str], dict[int, int]] = {}

    async def take(self, key_id: str, limits: Sequence[Limit]) -> Taken:
        """Take what a call asks for from every limit, or nothing from any."""
        if not limits:
            return Taken(())
        names = [keys.limit(key_id, limit.name) for limit in limits]
        amounts = [amount for limit in limits for amount in (limit.allowed, limit.amount)]
        try:
            found = await self._valkey.run(LIMIT, names, SLOT_MS, SLOTS, *amounts)
        except Unavailable:
            return self._take_own(key_id, limits)
        answers = zip(found[1::3], found[2::3], found[3::3], strict=True)
        waits = [answer[1] for answer in answers]
        passed = not any(waits)
        verdicts = tuple(
            _verdict(limit, *found[1 + 3 * no : 4 + 3 * no], passed=passed)
            for no, limit in enumerate(limits)
        )
        return Taken(verdicts, tuple(limits) if passed else (), found[0])

    async def give_back(self, key_id: str, taken: Taken) -> None:
        """Give back what a call took that was not accepted."""
        if not taken.limits:
            return
        if taken.alone:
            for limit in taken.limits:
                own = self._own.get((key_id, limit.name), {})
                own[taken.slot] = max(own.get(taken.slot, 0) - limit.amount, 0)
            return
        names = [keys.limit(key_id, limit.name) for limit in taken.limits]
        amounts = [limit.amount for limit in taken.limits]
        with suppress(Unavailable):
            # Without Valkey nobody knows of it any more.
            await self._valkey.run(GIVE_BACK, names, taken.slot, *amounts)

    def _take_own(self, key_id: str, limits: Sequence[Limit]) -> Taken:
        now_ms = self._now_ms()
        if len(self._own) > OWN_KEYS_MAX:
            self._own.clear()
        slot = slot_of(now_ms)
        for limit in limits:
            counts = self._own.setdefault((key_id, limit.name), {})
            for old in [one for one in counts if one < slot - SLOTS]:
                del counts[old]
        counted = [self._own[key_id, limit.name] for limit in limits]
        verdicts = judge_together(limits, counted, now_ms)
        if any(verdict.retry_ms for verdict in verdicts):
            return Taken(verdicts)
        for limit, counts in zip(limits, counted, strict=True):
            counts[slot] = counts.get(slot, 0) + limit.amount
        return Taken(verdicts, tuple(limits), slot, alone=True)


def _verdict(limit: Limit, used: int, wait_ms: int, reset_ms: int, *, passed: bool) -> Verdict:
    left = limit.allowed - used - (limit.amount if passed else 0)
    return Verdict(limit.name, limit.allowed, max(left, 0), wait_ms, reset_ms)
