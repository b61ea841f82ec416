"""What each upstream's jobs cost, as it is booked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.domain.invoice import Booked
from gateway.domain.money import MicroUsd
from gateway.stores.postgres.codec import plain
from gateway.stores.postgres.database import Database

# Takes a day's start (UTC ms).
COSTS = """
SELECT upstream, sum(cost + exposure)::bigint AS cost
FROM usage_days WHERE day_ms >= $1 AND upstream <> '' GROUP BY upstream
"""


# What was booked for an upstream within a time, and whatever an invoice names. Whole attempts are
# read once a month; there is no index for it.
BOOKED = """
SELECT id AS attempt_id, task_id, upstream_task_id, cost, exposure FROM attempts
WHERE upstream = $1 AND (
    (started_ms >= $2 AND started_ms < $3 AND (cost > 0 OR exposure > 0))
    OR upstream_task_id = ANY($4::text[])
)
ORDER BY started_ms, id
"""

# Gives every upstream that ended tasks tried.
UPSTREAMS = """
SELECT DISTINCT upstream FROM usage_days WHERE upstream <> '' ORDER BY upstream
"""


class PostgresCosts:
    """Costs in PostgreSQL, from the rollup of days."""

    def __init__(self, database: Database) -> None:
        """Take the pool."""
        self._db = database

    async def since(self, day_ms: int) -> Mapping[str, MicroUsd]:
        """Give what the tasks that ended since a day's start cost, exposure included.

        Raises StoreUnavailable.
        """
        rows = await self._db.read(COSTS, day_ms)
        return {row["upstream"]: row["cost"] for row in rows}

    async def booked(
        self, upstream: str, from_ms: int, until_ms: int, upstream_task_ids: Sequence[str]
    ) -> Sequence[Booked]:
        """Give what was booked for an upstream's attempts of a time (UTC ms), and for those that
        are named, whenever they were. Raises StoreUnavailable.
        """
        names = [plain(name) for name in upstream_task_ids]
        rows = await self._db.read(BOOKED, plain(upstream), from_ms, until_ms, names)
        return [Booked(**dict(row)) for row in rows]

    async def upstreams(self) -> Sequence[str]:
        """Give the names of upstreams that ended tasks tried. Raises StoreUnavailable."""
        return [row["upstream"] for row in await self._db.read(UPSTREAMS)]
