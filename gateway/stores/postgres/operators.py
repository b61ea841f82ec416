"""Operators and their tokens (port `OperatorAdmin`)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import asyncpg

from gateway.app.ports import Clock
from gateway.app.ports.admin import Page
from gateway.domain.administration import COMMAND_LINE, Actor, Ask, Operator, Role
from gateway.domain.errors import NameTaken, NotFound
from gateway.domain.money import MICRO_MAX
from gateway.stores.postgres.changes import Change, Changes
from gateway.stores.postgres.codec import plain
from gateway.stores.postgres.cursors import cursor_of, read_cursor
from gateway.stores.postgres.database import Database
from gateway.stores.postgres.names import (
    OPERATOR_PREFIX,
    checked_name,
    is_key_text,
    new_id,
    new_key_text,
)
from gateway.stores.postgres.vault import Vault

_COLUMNS = "id, name, role, last4, created_ms, revoked_ms, version"

# Gives whom a token stands for.
ACTOR = "SELECT id, name, role FROM operators WHERE hash = $1 AND revoked_ms IS NULL"

# Adds an operator.
CREATE = f"""
INSERT INTO operators (id, name, role, hash, last4, created_ms) VALUES ($1, $2, $3, $4, $5, $6)
RETURNING {_COLUMNS}
"""

# Gives one, and keeps it from changing until the commit.
ONE = f"SELECT {_COLUMNS} FROM operators WHERE id = $1"
LOCK = f"{ONE} FOR UPDATE"

# Changes one.
UPDATE = f"""
UPDATE operators SET role = $2, revoked_ms = $3, version = version + 1 WHERE id = $1
RETURNING {_COLUMNS}
"""

# Gives a page, newest first, after a (created_ms, id).
PAGE = f"""
SELECT {_COLUMNS} FROM operators WHERE (created_ms, id) < ($1, $2)
ORDER BY created_ms DESC, id DESC LIMIT $3
"""


class PostgresOperators:
    """Operators in PostgreSQL. Tokens are looked up each time: a revocation holds at once."""

    def __init__(self, database: Database, clock: Clock, vault: Vault) -> None:
        """Take the pool, the clock that dates changes, and what hashes tokens."""
        self._db = database
        self._vault = vault
        self._changes = Changes(database, clock, vault)

    async def actor(self, token: str) -> Actor | None:
        """Give whom a token stands for; None when mistyped, unknown or revoked.

        A mistyped one fails its checksum, without a look. Raises StoreUnavailable.
        """
        if not is_key_text(token, OPERATOR_PREFIX):
            return None
        rows = await self._db.read(ACTOR, self._vault.hash(token))
        return Actor(rows[0]["id"], rows[0]["name"], Role(rows[0]["role"])) if rows else None

    async def create_operator(
        self, name: str, role: Role, ask: Ask = COMMAND_LINE
    ) -> tuple[Operator, str]:
        """Add an operator; gives it and its token, which is kept as a keyed hash alone.

        Raises NameTaken, InvalidRequest for a bad name, RepeatedChange when the same call made
        it before.
        """
        operator_id, token = new_id("op"), new_key_text(OPERATOR_PREFIX)
        wanted = (checked_name(name), role.value, self._vault.hash(token), token[-4:])
        try:
            async with self._changes.begin(ask) as change:
                row = await change.connection.fetchrow(CREATE, operator_id, *wanted, change.at_ms)
                made = _operator(row)
                await change.record("operator.create", made.id, after=_facts(made))
                await change.made(made.id, token)
        except asyncpg.UniqueViolationError:
            raise NameTaken(f"There is an operator named {name!r} already.") from None
        return made, token

    async def operator(self, operator_id: str) -> Operator:
        """Give one without its token. Raises NotFound."""
        rows = await self._db.read(ONE, plain(operator_id))
        if not rows:
            raise NotFound(f"There is no operator {operator_id[:80]!r}.")
        return _operator(rows[0])

    async def operator_page(self, limit: int, cursor: str | None) -> Page[Operator]:
        """Give a page, newest first, revoked ones included. Raises InvalidRequest."""
        after = read_cursor(cursor) if cursor else (MICRO_MAX, "")
        rows = await self._db.read(PAGE, *after, limit + 1)
        found = tuple(_operator(row) for row in rows[:limit])
        return Page(found, cursor_of(found[-1]) if len(rows) > limit else None)

    async def change_role(self, operator_id: str, role: Role, ask: Ask = COMMAND_LINE) -> Operator:
        """Trust an operator with something else. Raises NotFound, VersionConflict."""
        async with self._changes.begin(ask) as change:
            before = await _locked(change, operator_id)
            return await _put(change, "operator.update", before, replace(before, role=role))

    async def revoke_operator(self, operator_id: str, ask: Ask = COMMAND_LINE) -> Operator:
        """End an operator's token now. Raises NotFound; twice is once."""
        async with self._changes.begin(ask) as change:
            before = await _locked(change, operator_id)
            if before.revoked_ms is not None:
                return before
            after = replace(before, revoked_ms=change.at_ms)
            return await _put(change, "operator.revoke", before, after)


async def _locked(change: Change, operator_id: str) -> Operator:
    row = await change.connection.fetchrow(LOCK, plain(operator_id))
    if row is None:
        raise NotFound(f"There is no operator {operator_id[:80]!r}.")
    found = _operator(row)
    change.expect(found.version)
    return found


async def _put(change: Change, action: str, before: Operator, after: Operator) -> Operator:
    values = (after.role.value, after.revoked_ms)
    row = await change.connection.fetchrow(UPDATE, after.id, *values)
    await change.record(action, after.id, before=_facts(before), after=_facts(after))
    return _operator(row)


def _operator(row: Any) -> Operator:
    fields = dict(row)
    return Operator(**{**fields, "role": Role(fields["role"])})


def _facts(one: Operator) -> dict[str, Any]:
    return {"name": one.name, "role": one.role.value, "revoked_ms": one.revoked_ms}
