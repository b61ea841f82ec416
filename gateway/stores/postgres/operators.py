"""Operators and their tokens (port `OperatorAdmin`)."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import asyncpg

from gateway.app.ports import Clock
from gateway.app.ports.admin import Page
from gateway.domain.administration import COMMAND_LINE, Actor, Ask, Operator, Role
from gateway.domain.errors import InvalidRequest, NameTaken, NotFound, Problem
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

_COLUMNS = "id, name, role, last4, created_ms, revoked_ms, version, team_id"

# Gives whom a token stands for.
ACTOR = "SELECT id, name, role, team_id FROM operators WHERE hash = $1 AND revoked_ms IS NULL"

# Adds an operator.
CREATE = f"""
INSERT INTO operators (id, name, role, hash, last4, team_id, created_ms)
VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING {_COLUMNS}
"""

# Gives one, and keeps it from changing until the commit.
ONE = f"SELECT {_COLUMNS} FROM operators WHERE id = $1"
LOCK = f"{ONE} FOR UPDATE"

# Changes one.
UPDATE = f"""
UPDATE operators SET role = $2, revoked_ms = $3, team_id = $4, version = version + 1
WHERE id = $1
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
        return actor_of(rows[0]) if rows else None

    async def create_operator(
        self, name: str, role: Role, ask: Ask = COMMAND_LINE, *, team_id: str | None = None
    ) -> tuple[Operator, str]:
        """Add an operator; gives it and its token, which is kept as a keyed hash alone.

        ``team_id`` is the team of a member. Raises NameTaken, NotFound for no such team,
        InvalidRequest for a bad name or a role without its team, RepeatedChange when the same
        call made it before.
        """
        check_team(role, team_id)
        operator_id, token = new_id("op"), new_key_text(OPERATOR_PREFIX)
        wanted = (checked_name(name), role.value, self._vault.hash(token), token[-4:], team_id)
        try:
            async with self._changes.begin(ask) as change, _team_must_exist(team_id):
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

    async def change_role(
        self, operator_id: str, role: Role, ask: Ask = COMMAND_LINE, *, team_id: str | None = None
    ) -> Operator:
        """Trust an operator with something else; ``team_id`` is the team of a member.

        Raises NotFound, VersionConflict, InvalidRequest for a role without its team.
        """
        check_team(role, team_id)
        async with self._changes.begin(ask) as change, _team_must_exist(team_id):
            before = await _locked(change, operator_id)
            after = replace(before, role=role, team_id=team_id)
            return await _put(change, "operator.update", before, after)

    async def revoke_operator(self, operator_id: str, ask: Ask = COMMAND_LINE) -> Operator:
        """End an operator's token now. Raises NotFound; twice is once."""
        async with self._changes.begin(ask) as change:
            before = await _locked(change, operator_id)
            if before.revoked_ms is not None:
                return before
            after = replace(before, revoked_ms=change.at_ms)
            return await _put(change, "operator.revoke", before, after)


def check_team(role: Role, team_id: str | None) -> None:
    """Raise InvalidRequest unless a member has a team, and nobody else."""
    if role is Role.MEMBER and not team_id:
        message = "A member needs the team that it may read."
        raise InvalidRequest(Problem("team_id", message, legal="the id of a team"))
    if role is not Role.MEMBER and team_id is not None:
        message = f"The role {role.value} has no team of its own."
        raise InvalidRequest(Problem("team_id", message, legal="only with the role member"))


def actor_of(row: Any) -> Actor:
    """Give the actor of a row with ``id``, ``name``, ``role`` and ``team_id``."""
    return Actor(row["id"], row["name"], Role(row["role"]), team_id=row["team_id"])


@asynccontextmanager
async def _team_must_exist(team_id: str | None) -> AsyncGenerator[None]:
    try:
        yield
    except asyncpg.ForeignKeyViolationError:
        raise NotFound(f"There is no team {(team_id or '')[:80]!r}.") from None


async def _locked(change: Change, operator_id: str) -> Operator:
    row = await change.connection.fetchrow(LOCK, plain(operator_id))
    if row is None:
        raise NotFound(f"There is no operator {operator_id[:80]!r}.")
    found = _operator(row)
    change.expect(found.version)
    return found


async def _put(change: Change, action: str, before: Operator, after: Operator) -> Operator:
    values = (after.role.value, after.revoked_ms, after.team_id)
    row = await change.connection.fetchrow(UPDATE, after.id, *values)
    await change.record(action, after.id, before=_facts(before), after=_facts(after))
    return _operator(row)


def _operator(row: Any) -> Operator:
    fields = dict(row)
    return Operator(**{**fields, "role": Role(fields["role"])})


def _facts(one: Operator) -> dict[str, Any]:
    facts = {"name": one.name, "role": one.role.value, "revoked_ms": one.revoked_ms}
    return facts if one.team_id is None else {**facts, "team_id": one.team_id}
