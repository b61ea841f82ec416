"""Whom an issuer's subjects are here (port `Subjects`)."""

from __future__ import annotations

import base64
import binascii
from dataclasses import replace
from typing import Any

from gateway.app.ports import Clock
from gateway.domain.administration import NOBODY, Actor, Ask
from gateway.domain.login import LoginRefused
from gateway.domain.oidc import BEGUN_MS, Granted, NoRole
from gateway.stores.postgres.changes import Change, Changes
from gateway.stores.postgres.codec import plain
from gateway.stores.postgres.database import Database
from gateway.stores.postgres.logins import END_OF
from gateway.stores.postgres.names import new_id
from gateway.stores.postgres.operators import actor_of
from gateway.stores.postgres.vault import Vault, WrongSecretKey

OWNER = "oidc-login"

# Uses a state; gives nothing when it was used before.
USE = """
INSERT INTO oidc_states (hash, at_ms) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING at_ms
"""

# Forgets states that nobody can come back with any more.
FORGET = "DELETE FROM oidc_states WHERE at_ms < $1"

# Lets one login of a subject at a time go on.
ALONE = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))"

# Gives the operator of a subject, and keeps it from changing until the commit.
OF_SUBJECT = """
SELECT o.id, o.name, o.role, o.team_id, o.revoked_ms FROM operator_subjects s
JOIN operators o ON o.id = s.operator_id WHERE s.issuer = $1 AND s.subject = $2 FOR UPDATE OF o
"""

# Gives the team of an id or a name.
TEAM = "SELECT id FROM teams WHERE id = $1 OR name = $1 ORDER BY (id = $1) DESC LIMIT 1"

# Gives a row where a name is taken.
TAKEN = "SELECT FROM operators WHERE name = $1"

# Makes the operator of a subject, without a token.
MAKE = """
INSERT INTO operators (id, name, role, team_id, last4, created_ms) VALUES ($1, $2, $3, $4, '', $5)
RETURNING id, name, role, team_id
"""
BIND = "INSERT INTO operator_subjects (issuer, subject, operator_id) VALUES ($1, $2, $3)"

# Gives an operator the role that the issuer says it has.
TRUST = """
UPDATE operators SET role = $2, team_id = $3, version = version + 1 WHERE id = $1
RETURNING id, name, role, team_id
"""


class PostgresSubjects:
    """Subjects in PostgreSQL: each is one operator, made when it first logs in."""

    def __init__(self, database: Database, clock: Clock, vault: Vault) -> None:
        """Take the pool, the clock that dates changes, and what seals."""
        self._db = database
        self._clock = clock
        self._vault = vault
        self._changes = Changes(database, clock, vault)

    def seal(self, text: str) -> str:
        """Encrypt what a browser keeps while somebody logs in."""
        return base64.urlsafe_b64encode(self._vault.seal(text, OWNER)).decode().rstrip("=")

    def open(self, sealed: str) -> str | None:
        """Decrypt it; None when we did not seal it."""
        try:
            padded = sealed + "=" * (-len(sealed) % 4)
            return self._vault.open(base64.urlsafe_b64decode(padded), OWNER)
        except (WrongSecretKey, binascii.Error, ValueError):
            return None

    async def use_once(self, state: str) -> bool:
        """Whether a state is used for the first time, by whatever process."""
        now_ms = self._clock.now_ms()
        await self._db.write(FORGET, now_ms - 2 * BEGUN_MS)
        return bool(await self._db.write(USE, self._vault.hash(f"state {state}"), now_ms))

    async def admit(
        self, issuer: str, subject: str, name: str, granted: Granted, request_id: str = ""
    ) -> Actor:
        """Give the operator of a subject, made if there is none, with the role granted now.

        Raises NoRole for a team that is not there, LoginRefused when the operator was revoked.
        """
        async with self._changes.begin(Ask(NOBODY, request_id)) as change:
            connection = change.connection
            await connection.execute(ALONE, f"{issuer} {subject}")
            team_id = await _team_id(connection, granted)
            found = await connection.fetchrow(OF_SUBJECT, issuer, subject)
            if found is None:
                made = await self._make(change, name, granted, team_id)
                await connection.execute(BIND, issuer, subject, made.id)
                return made
            if found["revoked_ms"] is not None:
                raise LoginRefused("This operator was revoked.")
            before = actor_of(found)
            if (before.role, before.team_id) == (granted.role, team_id):
                return before
            row = await connection.fetchrow(TRUST, before.id, granted.role.value, team_id)
            return await _recorded(change, "operator.update", actor_of(row), before)

    async def dismiss(self, issuer: str, subject: str, request_id: str = "") -> str | None:
        """End all logins of a subject that has no role any more; gives its operator's id."""
        async with self._changes.begin(Ask(NOBODY, request_id)) as change:
            found = await change.connection.fetchrow(OF_SUBJECT, issuer, subject)
            if found is None:
                return None
            ended = await change.connection.fetch(END_OF, found["id"], change.at_ms)
            if ended:
                after = {"ended": len(ended)}
                await change.record("operator.end_sessions", found["id"], after=after)
            return str(found["id"])

    async def _make(
        self, change: Change, name: str, granted: Granted, team_id: str | None
    ) -> Actor:
        operator_id, name = new_id("op"), plain(name)
        if await change.connection.fetch(TAKEN, name):
            # Whoever has the name already is somebody else, as far as anybody knows.
            name = f"{name} ({operator_id[-6:]})"
        values = (operator_id, name, granted.role.value, team_id, change.at_ms)
        row = await change.connection.fetchrow(MAKE, *values)
        return await _recorded(change, "operator.create", actor_of(row))


async def _team_id(connection: Any, granted: Granted) -> str | None:
    if granted.team is None:
        return None
    found = await connection.fetchrow(TEAM, granted.team)
    if found is None:
        raise NoRole(f"Your group gives you the team {granted.team!r}, and there is none.")
    return str(found["id"])


async def _recorded(
    change: Change, action: str, actor: Actor, before: Actor | None = None
) -> Actor:
    """Write the audit row of an operator whom the issuer made or changed, as its own doing."""
    told = replace(change, ask=Ask(actor, change.ask.request_id))
    earlier = None if before is None else _facts(before)
    await told.record(action, actor.id, before=earlier, after={**_facts(actor), "by": "oidc"})
    return actor


def _facts(actor: Actor) -> dict[str, Any]:
    facts = {"name": actor.name, "role": actor.role.value}
    return facts if actor.team_id is None else {**facts, "team_id": actor.team_id}
