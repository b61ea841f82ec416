"""Prices agreed with teams and keys (ports `Prices`, `PriceAdmin`)."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from gateway.app.ports import Clock
from gateway.app.ports.admin import Page
from gateway.domain.administration import COMMAND_LINE, Ask
from gateway.domain.errors import NotFound, StoreUnavailable
from gateway.domain.money import MICRO_MAX
from gateway.domain.price_overrides import PriceOverride, PriceOverrides, written
from gateway.domain.price_table import PriceTable
from gateway.stores.postgres.changes import Changes
from gateway.stores.postgres.codec import plain
from gateway.stores.postgres.database import Database
from gateway.stores.postgres.vault import Vault

FRESH_MS = 1_000

_COLUMNS = "id, team_id, key_id, owner, model, prices::text, from_ms, until_ms, created_ms"

# Gives all that can still be in force.
IN_USE = f"""
SELECT {_COLUMNS} FROM price_overrides WHERE until_ms IS NULL OR until_ms > $1 ORDER BY id
"""

# Gives a page, newest first.
PAGE = f"""
SELECT {_COLUMNS} FROM price_overrides
WHERE id < $1 AND ($2::text IS NULL OR team_id = $2) ORDER BY id DESC LIMIT $3
"""

# Gives what a team's or a key's prices are looked up by.
OWNER_TEAM = "SELECT id FROM teams WHERE id = $1"
OWNER_KEY = "SELECT limits_id AS id FROM api_keys WHERE team_id = $1 AND id = $2"

# Gives one and keeps it from changing until the commit.
LOCK = f"SELECT {_COLUMNS} FROM price_overrides WHERE owner = $1 AND model = $2 FOR UPDATE"

# Adds one, or puts other prices in its place.
SET = f"""
INSERT INTO price_overrides
    (team_id, key_id, owner, model, prices, from_ms, until_ms, created_ms)
VALUES ($1, $2, $3, $4, $5::jsonb, $6, $7, $8)
ON CONFLICT (owner, model) DO UPDATE SET key_id = excluded.key_id, prices = excluded.prices,
    from_ms = excluded.from_ms, until_ms = excluded.until_ms
RETURNING {_COLUMNS}
"""

REMOVE = f"DELETE FROM price_overrides WHERE id = $1 RETURNING {_COLUMNS}"


class PostgresPrices:
    """Price overrides in PostgreSQL; each process looks once a second at most."""

    def __init__(self, database: Database, clock: Clock, vault: Vault) -> None:
        """Take the pool, the clock that dates changes, and what seals kept secrets."""
        self._db = database
        self._clock = clock
        self._changes = Changes(database, clock, vault)
        self._known: PriceOverrides | None = None
        self._read_ms = -FRESH_MS
        self._reading = asyncio.Lock()

    async def overrides(self) -> PriceOverrides:
        """Give all of them, at most a second old.

        While Postgres is away it is what was known last. Raises StoreUnavailable when nothing
        was ever known: nobody is charged a price that was not agreed.
        """
        now_ms = self._clock.now_ms()
        if self._known is not None:
            fresh = 0 <= now_ms - self._read_ms < FRESH_MS
            if fresh or self._reading.locked():
                # While one looks, nobody else waits for a database that may be slow.
                return self._known
        async with self._reading:
            if self._known is None or not 0 <= now_ms - self._read_ms < FRESH_MS:
                try:
                    rows = await self._db.read(IN_USE, now_ms)
                except StoreUnavailable:
                    if self._known is None:
                        raise
                else:
                    self._known = PriceOverrides.of(_override(row) for row in rows)
                self._read_ms = now_ms
        return self._known

    async def set_price(
        self,
        team_id: str,
        key_id: str | None,
        model: str,
        table: PriceTable,
        *,
        from_ms: int | None = None,
        until_ms: int | None = None,
        ask: Ask = COMMAND_LINE,
    ) -> PriceOverride:
        """Agree on a price, instead of an earlier one for the same model.

        Raises NotFound when there is no such team, or the key is none of its.
        """
        async with self._changes.begin(ask) as change:
            owner = await _owner(change.connection, plain(team_id), key_id and plain(key_id))
            before = await change.connection.fetchrow(LOCK, owner, model)
            prices = json.dumps({"flat": table.flat, "tiers": table.tiers, "edit": table.edit})
            times = (from_ms, until_ms, change.at_ms)
            row = await change.connection.fetchrow(
                SET, team_id, key_id, owner, model, prices, *times
            )
            made = _override(row)
            was = None if before is None else _facts(_override(before))
            await change.record("price.set", str(made.id), before=was, after=_facts(made))
        self._read_ms = -FRESH_MS
        return made

    async def remove_price(self, override_id: int, ask: Ask = COMMAND_LINE) -> PriceOverride:
        """Let the catalogue's price, or the team's, hold again. Raises NotFound."""
        async with self._changes.begin(ask) as change:
            row = await change.connection.fetchrow(REMOVE, override_id)
            if row is None:
                raise NotFound(f"There is no price override {override_id}.")
            removed = _override(row)
            await change.record("price.remove", str(removed.id), before=_facts(removed))
        self._read_ms = -FRESH_MS
        return removed

    async def price_page(
        self, limit: int, before_id: int | None = None, team_id: str | None = None
    ) -> Page[PriceOverride]:
        """Give a page, newest first; ``cursor`` is the last one's id."""
        first = MICRO_MAX if before_id is None else before_id
        rows = await self._db.read(PAGE, first, team_id and plain(team_id), limit + 1)
        found = tuple(_override(row) for row in rows[:limit])
        return Page(found, str(found[-1].id) if len(rows) > limit else None)


async def _owner(connection: Any, team_id: str, key_id: str | None) -> str:
    if key_id is None:
        row = await connection.fetchrow(OWNER_TEAM, team_id)
        missing = f"There is no team {team_id!r}."
    else:
        row = await connection.fetchrow(OWNER_KEY, team_id, key_id)
        missing = f"Team {team_id!r} has no key {key_id!r}."
    if row is None:
        raise NotFound(missing)
    return str(row["id"])


def _override(row: Any) -> PriceOverride:
    fields = dict(row)
    table = PriceTable(**json.loads(fields.pop("prices")))
    return PriceOverride(**fields, table=table)


def _facts(one: PriceOverride) -> dict[str, Any]:
    return {
        "team_id": one.team_id,
        "key_id": one.key_id,
        "model": one.model,
        "credits": written(one.table),
        "edit": one.table.edit,
        "from_ms": one.from_ms,
        "until_ms": one.until_ms,
    }
