"""Upstreams that an operator took out of service (ports `Drains`, `DrainAdmin`)."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.app.ports import Clock
from gateway.domain.administration import COMMAND_LINE, Ask
from gateway.domain.errors import StoreUnavailable
from gateway.stores.postgres.changes import Changes
from gateway.stores.postgres.codec import plain
from gateway.stores.postgres.database import Database
from gateway.stores.postgres.vault import Vault

FRESH_MS = 1_000

# Gives what is drained, and since when.
DRAINED = "SELECT name, at_ms FROM drained_upstreams ORDER BY name"

# Drains and resumes; twice is once.
DRAIN = """
INSERT INTO drained_upstreams (name, at_ms) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING name
"""
RESUME = "DELETE FROM drained_upstreams WHERE name = $1 RETURNING name"


class PostgresDrains:
    """Drained upstreams in PostgreSQL; each process looks once a second at most."""

    def __init__(self, database: Database, clock: Clock, vault: Vault) -> None:
        """Take the pool, the clock that dates changes, and what seals kept secrets."""
        self._db = database
        self._clock = clock
        self._changes = Changes(database, clock, vault)
        self._known: Mapping[str, int] = {}
        self._read_ms = -FRESH_MS

    async def drained(self) -> Mapping[str, int]:
        """Give drained upstreams and since when (UTC ms), at most a second old.

        While Postgres is away it is what was known last.
        """
        now_ms = self._clock.now_ms()
        if not 0 <= now_ms - self._read_ms < FRESH_MS:
            self._read_ms = now_ms
            try:
                rows = await self._db.read(DRAINED)
            except StoreUnavailable:
                return self._known
            self._known = {row["name"]: row["at_ms"] for row in rows}
        return self._known

    async def drain(self, name: str, ask: Ask = COMMAND_LINE) -> None:
        """Send nothing new to an upstream; what runs there is polled to its end."""
        await self._change(DRAIN, "upstream.drain", name, ask, with_time=True)

    async def resume(self, name: str, ask: Ask = COMMAND_LINE) -> None:
        """Let an upstream be chosen again."""
        await self._change(RESUME, "upstream.resume", name, ask, with_time=False)

    async def _change(
        self, statement: str, action: str, name: str, ask: Ask, *, with_time: bool
    ) -> None:
        async with self._changes.begin(ask) as change:
            more = (change.at_ms,) if with_time else ()
            if await change.connection.fetch(statement, plain(name), *more):
                await change.record(action, name)
        self._read_ms = -FRESH_MS
