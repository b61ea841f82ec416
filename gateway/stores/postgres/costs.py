"""What each upstream's jobs cost, as it is booked."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.domain.money import MicroUsd
from gateway.stores.postgres.database import Database

# Takes a day's start (UTC ms).
COSTS = """
SELECT upstream, sum(cost + exposure)::bigint AS cost
FROM usage_days WHERE day_ms >= $1 AND upstream <> '' GROUP BY upstream
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
