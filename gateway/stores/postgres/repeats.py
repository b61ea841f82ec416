"""What earlier create calls are recognised by (port `Repeats`); accepting a task writes it."""

from __future__ import annotations

from gateway.app.ports import Clock
from gateway.domain.repeats import KEY_TTL_MS, RETRY_TTL_MS, EarlierCall
from gateway.stores.postgres.changes import REPEAT_MS
from gateway.stores.postgres.database import Database
from gateway.stores.postgres.vault import Vault

EARLIER = """
SELECT task_id, fingerprint, created_ms FROM idempotency_keys
WHERE team_id = $1 AND scope = $2 AND key = ANY($3::text[]) ORDER BY created_ms DESC LIMIT 1
"""

FORGET_ONE = """
DELETE FROM idempotency_keys
WHERE team_id = $1 AND scope = $2 AND key = ANY($3::text[]) AND created_ms <= $4
"""

# Two tries at once take two tasks; one that finds only locked rows makes a task of its own.
RETRIED = """
UPDATE sdk_calls SET retries = $3 WHERE task_id = (
    SELECT task_id FROM sdk_calls
    WHERE key_id = $1 AND fingerprint = $2 AND retries < $3 AND created_ms > $4
    ORDER BY created_ms DESC, task_id DESC LIMIT 1 FOR UPDATE SKIP LOCKED
) RETURNING task_id
"""

FORGET_CALLS = """
WITH old AS MATERIALIZED (
    SELECT task_id FROM sdk_calls WHERE created_ms <= $1
    ORDER BY created_ms LIMIT $2 FOR UPDATE SKIP LOCKED
)
DELETE FROM sdk_calls s USING old WHERE s.task_id = old.task_id RETURNING s.task_id
"""

FORGET = """
WITH old AS MATERIALIZED (
    SELECT team_id, scope, key FROM idempotency_keys WHERE created_ms <= $1
    ORDER BY created_ms LIMIT $2 FOR UPDATE SKIP LOCKED
)
DELETE FROM idempotency_keys k USING old
WHERE k.team_id = old.team_id AND k.scope = old.scope AND k.key = old.key RETURNING k.task_id
"""

FORGET_CHANGES = """
WITH old AS MATERIALIZED (
    SELECT actor_id, scope, key FROM admin_repeats WHERE created_ms <= $1
    ORDER BY created_ms LIMIT $2 FOR UPDATE SKIP LOCKED
)
DELETE FROM admin_repeats r USING old
WHERE r.actor_id = old.actor_id AND r.scope = old.scope AND r.key = old.key RETURNING r.created_ms
"""


class PostgresRepeats:
    """Marks of earlier calls in PostgreSQL."""

    def __init__(self, database: Database, clock: Clock, vault: Vault) -> None:
        """Take the pool, the clock that ends a key after its 24 hours, and what hashes keys."""
        self._db = database
        self._clock = clock
        self._vault = vault

    async def under_key(self, team_id: str, scope: str, key: str) -> EarlierCall | None:
        """Give the first call under an Idempotency-Key; None when there was none in 24 hours."""
        # Versions before stored keys as they were sent.
        stored = [self._vault.repeat_key(team_id, key), key]
        rows = await self._db.read(EARLIER, team_id, scope, stored)
        if not rows:
            return None
        old_ms = self._clock.now_ms() - KEY_TTL_MS
        if rows[0]["created_ms"] <= old_ms:
            await self._db.write(FORGET_ONE, team_id, scope, stored, old_ms)
            return None
        return EarlierCall(rows[0]["task_id"], rows[0]["fingerprint"])

    async def of_retry(self, key_id: str, fingerprint: bytes, retries: int) -> str | None:
        """Give the task that an earlier try of an SDK's call made, at most 11 minutes ago.

        The newest one that no try with this number was given yet: of two equal calls that were
        both cut off, each finds its own.
        """
        old_ms = self._clock.now_ms() - RETRY_TTL_MS
        rows = await self._db.write(RETRIED, key_id, fingerprint, retries, old_ms)
        return rows[0]["task_id"] if rows else None

    async def forget(self, limit: int) -> int:
        """Forget at most ``limit`` keys older than 24 hours, as many of operators' changes, and
        as many old calls of SDKs.

        Gives how many.
        """
        now_ms = self._clock.now_ms()
        keys = await self._db.write(FORGET, now_ms - KEY_TTL_MS, limit)
        calls = await self._db.write(FORGET_CALLS, now_ms - RETRY_TTL_MS, limit)
        changes = await self._db.write(FORGET_CHANGES, now_ms - REPEAT_MS, limit)
        return len(keys) + len(calls) + len(changes)
