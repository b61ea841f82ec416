"""What one process allows itself while Valkey, which keeps the shared budgets, is away."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

# The vendor counts arrivals, we count departures: calls may bunch up by this much on the way.
SLACK_US = 50_000


@dataclass(frozen=True, slots=True)
class Rate:
    """At most ``allowed`` grants in any ``window_us``; none allowed: no limit at all."""

    allowed: int
    window_us: int


def rate_of(per_second: Decimal, share: int = 1) -> Rate:
    """Give the window for a rate, or for one ``share``-th of it: 20 a second is 20 in 1.05 s."""
    if per_second <= 0:
        return Rate(0, 0)
    own = per_second / share
    allowed = max(1, math.floor(own))
    return Rate(allowed, math.ceil(allowed / own * 1_000_000) + SLACK_US)


class OwnShare:
    """Grants and attempts of this process. Times are monotonic microseconds."""

    def __init__(self, slot_us: int) -> None:
        """Take how long an attempt counts as running when nobody says that it ended."""
        self._slot_us = slot_us
        self._grants: defaultdict[tuple[str, str], deque[int]] = defaultdict(deque)
        self._running: defaultdict[str, dict[str, int]] = defaultdict(dict)

    def take(self, upstream: str, plane: str, count: int, rate: Rate, now_us: int) -> int:
        """Take grants of our share: 0, or the milliseconds until they are free."""
        if not rate.allowed:
            return 0
        count = min(count, rate.allowed)
        grants = self._grants[upstream, plane]
        while len(grants) > rate.allowed:
            grants.popleft()
        first = len(grants) + count - rate.allowed - 1
        if first >= 0 and now_us - grants[first] < rate.window_us:
            return math.ceil((grants[first] + rate.window_us - now_us) / 1000)
        grants.extend([now_us] * count)
        return 0

    def is_full(self, upstream: str, attempt_id: str, cap: int, now_us: int) -> bool:
        """Whether ``cap`` other attempts of this process run at the upstream."""
        running = self._unexpired(upstream, now_us)
        return bool(cap) and attempt_id not in running and len(running) >= cap

    def began(self, upstream: str, attempt_id: str, now_us: int) -> None:
        """Count an attempt. What another process finished is forgotten when it expires."""
        running = self._unexpired(upstream, now_us)
        running.pop(attempt_id, None)
        running[attempt_id] = now_us + self._slot_us

    def ended(self, upstream: str, attempt_id: str) -> None:
        """Count an attempt no longer."""
        self._running[upstream].pop(attempt_id, None)

    def is_running(self, upstream: str, attempt_id: str) -> bool:
        """Whether an attempt counts."""
        return attempt_id in self._running[upstream]

    def in_flight(self, now_us: int) -> Mapping[str, int]:
        """Give how many attempts of this process run at each upstream."""
        counts = {name: len(self._unexpired(name, now_us)) for name in self._running}
        return {name: count for name, count in counts.items() if count}

    def _unexpired(self, upstream: str, now_us: int) -> dict[str, int]:
        """Give the attempts that count, in the order in which they expire."""
        running = self._running[upstream]
        while running and running[first := next(iter(running))] <= now_us:
            del running[first]
        return running
