"""Picture bytes in PostgreSQL, for gateways without an object store (port `AssetStore`)."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.app.ports import Clock
from gateway.stores.postgres.codec import plain
from gateway.stores.postgres.database import Database

# Keeps a picture; a repeated put (its answer was lost) changes nothing but the expiry.
PUT = """
INSERT INTO assets (id, media_type, content, created_ms, expires_ms) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (id) DO UPDATE SET expires_ms = excluded.expires_ms
"""

# Gives a picture that is not expired.
GET = "SELECT content, media_type FROM assets WHERE id = $1 AND expires_ms > $2"

# Deletes expired pictures, a few at a time.
EXPIRE = """
WITH expired AS MATERIALIZED (
    SELECT id FROM assets WHERE expires_ms <= $1 ORDER BY expires_ms LIMIT $2
    FOR UPDATE SKIP LOCKED
)
DELETE FROM assets a USING expired WHERE a.id = expired.id RETURNING a.id
"""

# Deletes pictures by their ids.
DELETE = "DELETE FROM assets WHERE id = ANY($1::text[]) RETURNING id"


class PostgresAssets:
    """Pictures as rows."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Take the pool and the clock that says what is expired."""
        self._db = database
        self._clock = clock

    async def put(self, asset_id: str, content: bytes, media_type: str, expires_ms: int) -> None:
        """Keep a picture until ``expires_ms``."""
        now_ms = self._clock.now_ms()
        await self._db.write(PUT, asset_id, media_type, content, now_ms, expires_ms)

    async def get(self, asset_id: str) -> tuple[bytes, str] | None:
        """Give bytes and media type; None when unknown or expired."""
        rows = await self._db.read(GET, plain(asset_id), self._clock.now_ms())
        return (rows[0]["content"], rows[0]["media_type"]) if rows else None

    async def delete(self, asset_ids: Sequence[str]) -> int:
        """Delete pictures; gives how many there were."""
        return len(await self._db.write(DELETE, list(asset_ids))) if asset_ids else 0

    async def expire(self, limit: int) -> int:
        """Delete at most ``limit`` expired pictures; gives how many."""
        return len(await self._db.write(EXPIRE, self._clock.now_ms(), limit))
