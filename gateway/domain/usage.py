"""Usage: what ended tasks came to, in sums by whatever one wants to know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

from gateway.domain.money import MicroCredits, MicroUsd

GROUPS = ("day", "hour", "team", "key", "model", "upstream", "status")
STATUSES = ("completed", "failed", "cancelled")
DAY_MS = 86_400_000
HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """What to sum: tasks that ended within ``[since_ms, until_ms)``, by groups, filtered.

    ``team`` and ``key`` are ids or names; None does not filter. ``whole_days`` says that the range
    begins and ends with a UTC day, as far as there is anything to count.
    """

    by: tuple[str, ...]
    since_ms: int
    until_ms: int
    whole_days: bool
    team: str | None = None
    key: str | None = None
    model: str | None = None
    upstream: str | None = None
    status: str | None = None


@dataclass(frozen=True, slots=True)
class UsageSum:
    """Sums of one group. ``charged`` is micro-credits; cost, exposure, waste are micro-USD.

    ``group`` names it (a team and a key by name and id). By upstream, tasks, pictures and credits
    go to the upstream that delivered (``""``: none did), costs to each upstream that was tried.
    ``waste`` is the cost of attempts that delivered nothing. Latencies are those of completed
    tasks, from accept to end, within 10 %; None without any.
    """

    group: Mapping[str, str]
    tasks: int = 0
    completed: int = 0
    images: int = 0
    charged: MicroCredits = 0
    cost: MicroUsd = 0
    exposure: MicroUsd = 0
    waste: MicroUsd = 0
    p50_ms: int | None = None
    p95_ms: int | None = None

    def margin(self, credits_per_usd: Decimal) -> MicroUsd:
        """Give what was charged, in micro-USD at this rate, less the cost."""
        revenue = Decimal(self.charged) / credits_per_usd
        return int(revenue.to_integral_value(rounding=ROUND_HALF_EVEN)) - self.cost
