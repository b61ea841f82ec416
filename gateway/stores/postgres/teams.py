"""Teams: who pays, who may no longer, and what signs their callbacks (port `TeamAdmin`)."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import structlog

from gateway.app.ports import Clock
from gateway.app.ports.admin import Page
from gateway.domain.access import Team
from gateway.domain.administration import COMMAND_LINE, Ask
from gateway.domain.budgets import FIELDS as BUDGET
from gateway.domain.budgets import Budget
from gateway.domain.caps import month_number
from gateway.domain.errors import InUse, InvalidRequest, NameTaken, NotFound
from gateway.domain.money import MICRO_MAX, format_micro
from gateway.stores.postgres.changes import Change, Changes
from gateway.stores.postgres.codec import plain
from gateway.stores.postgres.cursors import cursor_of, read_cursor
from gateway.stores.postgres.database import Database
from gateway.stores.postgres.names import checked_name, erased_name, new_id
from gateway.stores.postgres.urls import readable_url, seal_url
from gateway.stores.postgres.vault import Vault, WrongSecretKey

log = structlog.get_logger(__name__)

# Adds a team with an empty account and its first signing secret.
CREATE_TEAM = """
WITH team AS (
    INSERT INTO teams (id, name, user_group, created_ms) VALUES ($1, $2, $3, $4) RETURNING id
), account AS (
    INSERT INTO accounts (team_id) SELECT id FROM team
)
INSERT INTO webhook_secrets (id, team_id, sealed, created_ms) SELECT $5, id, $6, $4 FROM team
"""

_BUDGET = ", ".join(f"t.{name}" for name in BUDGET)

_TEAM = f"""
SELECT t.id, t.name, t.user_group, t.created_ms, t.version, t.suspended_ms, t.callback_retries,
    {_BUDGET}, a.balance, a.held, c.month, c.month_spent, (
    SELECT s.sealed FROM webhook_secrets s WHERE s.team_id = t.id AND s.valid_until_ms IS NULL
    ORDER BY s.created_ms DESC, s.id DESC LIMIT 1
) AS sealed
FROM teams t JOIN accounts a ON a.team_id = t.id JOIN team_counts c ON c.team_id = t.id
"""

# Gives a team by its id.
TEAM = f"{_TEAM} WHERE t.id = $1"

# Gives a team by its name.
TEAM_NAMED = f"{_TEAM} WHERE t.name = $1"

# Gives all teams by name.
TEAMS = f"{_TEAM} ORDER BY t.name"

# Gives a page of teams, newest first, after a (created_ms, id).
PAGE = f"""
{_TEAM} WHERE (t.created_ms, t.id) < ($1, $2) ORDER BY t.created_ms DESC, t.id DESC LIMIT $3
"""

CHANGEABLE = ("name", "user_group", "suspended_ms", "callback_retries", *BUDGET)

# Gives a team's row and keeps it from changing until the commit.
LOCK = f"SELECT id, version, {', '.join(CHANGEABLE)} FROM teams WHERE id = $1 FOR UPDATE"

# Changes a team.
UPDATE = f"""
UPDATE teams SET version = version + 1,
    {", ".join(f"{name} = ${no}" for no, name in enumerate(CHANGEABLE, 2))}
WHERE id = $1
"""

# Whether money ever moved for a team.
USED = "SELECT 1 FROM transfers WHERE team_id = $1 LIMIT 1"

# Deletes a team that never was used, in this order.
DELETE = (
    "DELETE FROM api_keys WHERE team_id = $1",
    "DELETE FROM webhook_secrets WHERE team_id = $1",
    "DELETE FROM accounts WHERE team_id = $1",
    "DELETE FROM teams WHERE id = $1",
)

# Lets a team's signing secrets run out at a time and adds a new one.
ADD_SIGNER = """
WITH old AS (
    UPDATE webhook_secrets SET valid_until_ms = least(coalesce(valid_until_ms, $5), $5)
    WHERE team_id = $2
)
INSERT INTO webhook_secrets (id, team_id, sealed, created_ms) SELECT $1, id, $3, $4
FROM teams WHERE id = $2 RETURNING id
"""


class TeamStore:
    """Teams in PostgreSQL; every change leaves its row in the audit log."""

    def __init__(self, database: Database, clock: Clock, vault: Vault) -> None:
        """Take the pool, the clock that dates changes, and what seals signing secrets."""
        self._db = database
        self._clock = clock
        self._vault = vault
        self._changes = Changes(database, clock, vault)

    # --- teams -----------------------------------------------------------------------------

    async def create_team(
        self, name: str, user_group: str = "default", *, ask: Ask = COMMAND_LINE
    ) -> Team:
        """Add a team without credits.

        Raises NameTaken, InvalidRequest for a bad name, RepeatedChange when the same call made
        it before.
        """
        secret = _new_secret()
        team = Team(
            id=new_id("team"),
            name=checked_name(name),
            balance=0,
            held=0,
            webhook_secret=secret,
            created_ms=self._clock.now_ms(),
            user_group=user_group,
        )
        row = (team.id, team.name, user_group, team.created_ms)
        try:
            async with self._changes.begin(ask) as change:
                sealed = self._vault.seal(secret, team.id)
                await change.connection.execute(CREATE_TEAM, *row, new_id("whs"), sealed)
                await change.record("team.create", team.id, after=_facts(team))
                await change.made(team.id)
        except asyncpg.UniqueViolationError:
            raise NameTaken(f"There is a team named {name!r} already.") from None
        return team

    async def team(self, team_id: str) -> Team | None:
        """Give a team with its balance."""
        return self._one(await self._db.read(TEAM, plain(team_id)))

    async def team_named(self, name: str) -> Team | None:
        """Give a team by its name."""
        return self._one(await self._db.read(TEAM_NAMED, plain(name)))

    async def teams(self) -> Sequence[Team]:
        """Give all teams, by name."""
        return [self._team(row) for row in await self._db.read(TEAMS)]

    async def team_page(self, limit: int, cursor: str | None) -> Page[Team]:
        """Give a page of teams, newest first. Raises InvalidRequest for a cursor not of ours."""
        after = read_cursor(cursor) if cursor else (MICRO_MAX, "")
        rows = await self._db.read(PAGE, *after, limit + 1)
        teams = tuple(self._team(row) for row in rows[:limit])
        return Page(teams, cursor_of(teams[-1]) if len(rows) > limit else None)

    async def update_team(self, team_id: str, fields: Mapping[str, Any], ask: Ask) -> Team:
        """Change a team's name, group, ``callback_retries`` or budget; what is not given stays.

        Raises NotFound, NameTaken, VersionConflict, InUse for an erased team, and InvalidRequest
        for bad fields.
        """
        given = {**fields, "name": checked_name(fields["name"])} if "name" in fields else fields
        try:
            async with self._changes.begin(ask) as change:
                await _change(change, team_id, "team.update", given)
        except asyncpg.UniqueViolationError:
            raise NameTaken(f"There is a team named {fields['name']!r} already.") from None
        return await self._known(team_id)

    async def suspend_team(
        self, team_id: str, ask: Ask = COMMAND_LINE, *, suspended: bool = True
    ) -> Team:
        """Stop a team's keys from working within a second, or let them work again.

        Tasks that were accepted go on. Raises NotFound, VersionConflict, InUse for an erased team.
        """
        action = "team.suspend" if suspended else "team.resume"
        async with self._changes.begin(ask) as change:
            at_ms = change.at_ms if suspended else None
            await _change(change, team_id, action, {"suspended_ms": at_ms})
        return await self._known(team_id)

    async def delete_team(self, team_id: str, ask: Ask = COMMAND_LINE) -> None:
        """Delete a team for which no money ever moved, with its keys.

        Raises NotFound, VersionConflict, and InUse when there are transfers: the ledger is for
        ever, so such a team can only be suspended.
        """
        async with self._changes.begin(ask) as change:
            before = await _locked(change, team_id)
            if await change.connection.fetchrow(USED, team_id):
                raise InUse("Money has moved for this team; suspend it instead.")
            for statement in DELETE:
                await change.connection.execute(statement, team_id)
            await change.record("team.delete", team_id, before=_told(_opened(change, before)))

    async def rotate_webhook_secret(
        self, team_id: str, overlap_ms: int, ask: Ask = COMMAND_LINE
    ) -> str:
        """Give the team's new signing secret; the old ones go on signing for ``overlap_ms``.

        Raises NotFound, RepeatedChange when the same call made it before.
        """
        secret = _new_secret()
        sealed = self._vault.seal(secret, team_id)
        async with self._changes.begin(ask) as change:
            until_ms = change.at_ms + overlap_ms
            rows = await change.connection.fetch(
                ADD_SIGNER, new_id("whs"), plain(team_id), sealed, change.at_ms, until_ms
            )
            if not rows:
                raise NotFound(f"There is no team {team_id!r}.")
            await change.record("team.rotate_secret", team_id, after={"old_until_ms": until_ms})
            await change.made(team_id, secret)
        return secret

    async def _known(self, team_id: str) -> Team:
        found = await self.team(team_id)
        if found is None:
            raise NotFound(f"There is no team {team_id!r}.")
        return found

    def _one(self, rows: list[Any]) -> Team | None:
        return self._team(rows[0]) if rows else None

    def _team(self, row: Any) -> Team:
        fields = dict(row)
        sealed = fields.pop("sealed")
        facts = {name: fields.pop(name) for name in BUDGET}
        if facts["alert_url"] is not None:
            facts["alert_url"] = readable_url(self._vault, facts["alert_url"], row["id"])
        if fields.pop("month") < month_number(self._clock.now_ms()):
            fields["month_spent"] = 0
        secret = self._secret(sealed, row["id"])
        return Team(**fields, budget=_budget(facts), webhook_secret=secret)

    def _secret(self, sealed: bytes, team_id: str) -> str:
        """Give a signing secret; one that does not open must not keep its team from being seen."""
        try:
            return self._vault.open(sealed, team_id)
        except WrongSecretKey:
            log.exception("secret_unopenable", team_id=team_id)
            return ""


async def _locked(change: Change, team_id: str) -> dict[str, Any]:
    """Give a team's facts, locked. Raises NotFound, VersionConflict."""
    row = await change.connection.fetchrow(LOCK, plain(team_id))
    if row is None:
        raise NotFound(f"There is no team {team_id!r}.")
    facts = dict(row)
    change.expect(facts.pop("version"))
    return facts


async def _change(change: Change, team_id: str, action: str, given: Mapping[str, Any]) -> None:
    stored = await _locked(change, team_id)
    if stored["name"] == erased_name(team_id):
        raise InUse("This team was erased; nothing of it changes any more.")
    before = _opened(change, stored)
    after = {**before, **given}
    problems = tuple(_budget({name: after[name] for name in BUDGET}).problems())
    if problems:
        raise InvalidRequest(*problems)
    columns = {**after, "alert_url": stored["alert_url"]}
    if "alert_url" in given:
        columns["alert_url"] = given["alert_url"] and seal_url(
            change.vault, given["alert_url"], team_id
        )
    await change.connection.execute(UPDATE, team_id, *(columns[name] for name in CHANGEABLE))
    await change.record(action, team_id, before=_told(before), after=_told(after))


def _budget(values: Mapping[str, Any]) -> Budget:
    return Budget(**{**values, "budget_alerts": tuple(values["budget_alerts"])})


def _opened(change: Change, stored: Mapping[str, Any]) -> dict[str, Any]:
    """Give a team's facts with the address that is told; one that does not open is none."""
    url = stored["alert_url"] and readable_url(change.vault, stored["alert_url"], stored["id"])
    facts = {name: value for name, value in stored.items() if name != "id"}
    return {**facts, "alert_url": url or None}


def _told(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Give what the audit log says of a team: credits as decimal texts, of an address its host."""
    amounts = {name: facts[name] for name in ("monthly_budget", "low_balance")}
    told = {name: None if micro is None else format_micro(micro) for name, micro in amounts.items()}
    url = facts["alert_url"]
    return {**facts, **told, "alert_url": url and f"https://{urlsplit(url).hostname}/…"}


def _facts(team: Team) -> dict[str, Any]:
    return {
        "name": team.name,
        "user_group": team.user_group,
        "suspended_ms": team.suspended_ms,
        "callback_retries": team.callback_retries,
    }


def _new_secret() -> str:
    """Give a Standard Webhooks signing secret: ``whsec_`` and 32 random bytes in base64."""
    return "whsec_" + base64.b64encode(os.urandom(32)).decode()
