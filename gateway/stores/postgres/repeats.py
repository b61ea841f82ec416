"""What earlier create calls are recognised by (port `Repeats`); accepting a task writes it."""

from __future__ import annotations

from gateway.app.ports import Clock
from gateway.domain.repeats import KEY_TTL_MS, EarlierCall
from gateway.stores.postgres.database import Database

EARLIER = """
SELECT task_id, fingerprint, created_ms FROM idempotency_keys
WHERE team_id = $1 AND scope = $2 AND key = $3
"""

FORGET_ONE = """
DELETE FROM idempotency_keys
WHERE team_id = $1 AND scope = $2 AND key = $3 AND created_ms <= $4
"""

FORGET = """
DELETE FROM idempotency_keys WHERE (team_id, scope, key) IN (
    SELECT team_id, scope, key FROM idempotency_keys WHERE created_ms <= $1
    ORDER BY created_ms LIMIT $2 FOR UPDATE SKIP LOCKED
) RETURNING task_id
"""


class PostgresRepeats:
    """Marks of earlier calls in PostgreSQL."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Take the pool, and the clock that ends a key after its 24 hours."""
        self._db = database
        self._clock = clock

    async def under_key(self, team_id: str, scope: str, key: str) -> EarlierCall | None:
        """Give the first call under an Idempotency-Key; None when there was none in 24 hours."""
        rows = await self._db.read(EARLIER, team_id, scope, key)
        if not rows:
            return None
        old_ms = self._clock.now_ms() - KEY_TTL_MS
        if rows[0]["created_ms"] <= old_ms:
            await self._db.write(FORGET_ONE, team_id, scope, key, old_ms)
            return None
        return EarlierCall(rows[0]["task_id"], rows[0]["fingerprint"])

    async def forget(self, limit: int) -> int:
        """Forget at most ``limit`` Idempotency-Keys older than 24 hours; gives how many."""
        old_ms = self._clock.now_ms() - KEY_TTL_MS
        return len(await self._db.write(FORGET, old_ms, limit))
