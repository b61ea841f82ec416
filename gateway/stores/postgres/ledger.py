"""Teams and their credits (port `Ledger`). Holds and their resolutions move with tasks."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from gateway.app.ports import Clock
from gateway.domain.access import Team
from gateway.domain.errors import InvalidRequest, NameTaken, NotFound, Problem
from gateway.domain.ledger import (
    LedgerReport,
    Transfer,
    TransferKind,
    resolution_id,
    transfer_id,
)
from gateway.domain.money import MicroCredits
from gateway.stores.postgres.codec import plain
from gateway.stores.postgres.database import Database
from gateway.stores.postgres.names import checked_name, new_id
from gateway.stores.postgres.vault import Vault
from gateway.stores.postgres.verify import verify

# Adds a team with an empty account and its first signing secret.
CREATE_TEAM = """
WITH team AS (
    INSERT INTO teams (id, name, user_group, created_ms) VALUES ($1, $2, $3, $4) RETURNING id
), account AS (
    INSERT INTO accounts (team_id) SELECT id FROM team
)
INSERT INTO webhook_secrets (id, team_id, sealed, created_ms) SELECT $5, id, $6, $4 FROM team
"""

_TEAM = """
SELECT t.id, t.name, t.user_group, t.created_ms, a.balance, a.held, (
    SELECT s.sealed FROM webhook_secrets s WHERE s.team_id = t.id AND s.valid_until_ms IS NULL
    ORDER BY s.created_ms DESC, s.id DESC LIMIT 1
) AS sealed
FROM teams t JOIN accounts a ON a.team_id = t.id
"""

# Gives a team by its id.
TEAM = f"{_TEAM} WHERE t.id = $1"

# Gives a team by its name.
TEAM_NAMED = f"{_TEAM} WHERE t.name = $1"

# Gives all teams by name.
TEAMS = f"{_TEAM} ORDER BY t.name"

# Lets a team's signing secrets run out at a time and adds a new one.
ADD_SIGNER = """
WITH old AS (
    UPDATE webhook_secrets SET valid_until_ms = least(coalesce(valid_until_ms, $5), $5)
    WHERE team_id = $2
)
INSERT INTO webhook_secrets (id, team_id, sealed, created_ms) SELECT $1, id, $3, $4
FROM teams WHERE id = $2 RETURNING id
"""

# Adds credits: the transfer and the account move together.
GRANT = """
WITH moved AS (
    UPDATE accounts SET balance = balance + $3 WHERE team_id = $2 RETURNING team_id
)
INSERT INTO transfers (id, kind, team_id, amount, reference, created_ms)
SELECT $1, 'grant', team_id, $3, $4, $5 FROM moved RETURNING id
"""

_TRANSFER = """
SELECT id, kind, team_id, amount, created_ms, task_id, hold_id, returned, reference FROM transfers
"""

# Gives transfers by their ids, in order of time.
TRANSFERS = f"{_TRANSFER} WHERE id = ANY($1::uuid[]) ORDER BY created_ms, kind DESC"

# Gives a team's newest grants.
GRANTS = f"""
{_TRANSFER} WHERE team_id = $1 AND kind = 'grant' ORDER BY created_ms DESC, id LIMIT $2
"""


class PostgresLedger:
    """Teams, grants and the proof that the books are sound."""

    def __init__(self, database: Database, clock: Clock, vault: Vault) -> None:
        """Take the pool, the clock that dates transfers, and what seals signing secrets."""
        self._db = database
        self._clock = clock
        self._vault = vault

    # --- teams -----------------------------------------------------------------------------

    async def create_team(self, name: str, user_group: str = "default") -> Team:
        """Add a team without credits. Raises NameTaken, and InvalidRequest for a bad name."""
        team_id, now_ms = new_id("team"), self._clock.now_ms()
        secret = _new_secret()
        team = Team(
            id=team_id,
            name=checked_name(name),
            balance=0,
            held=0,
            webhook_secret=secret,
            created_ms=now_ms,
            user_group=user_group,
        )
        sealed = self._vault.seal(secret, team_id)
        try:
            await self._db.write(
                CREATE_TEAM, team_id, team.name, user_group, now_ms, new_id("whs"), sealed
            )
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

    async def rotate_webhook_secret(self, team_id: str, overlap_ms: int) -> str:
        """Give the team's new signing secret; the old ones go on signing for ``overlap_ms``.

        Raises NotFound.
        """
        secret, now_ms = _new_secret(), self._clock.now_ms()
        sealed = self._vault.seal(secret, team_id)
        rows = await self._db.write(
            ADD_SIGNER, new_id("whs"), team_id, sealed, now_ms, now_ms + overlap_ms
        )
        if not rows:
            raise NotFound(f"There is no team {team_id!r}.")
        return secret

    def _one(self, rows: list[Any]) -> Team | None:
        return self._team(rows[0]) if rows else None

    def _team(self, row: Any) -> Team:
        return Team(
            id=row["id"],
            name=row["name"],
            balance=row["balance"],
            held=row["held"],
            webhook_secret=self._vault.open(row["sealed"], row["id"]),
            created_ms=row["created_ms"],
            user_group=row["user_group"],
        )

    # --- credits ---------------------------------------------------------------------------

    async def grant(self, team_id: str, amount: MicroCredits, reference: str | None) -> Transfer:
        """Add credits; every call is one transfer, also when Postgres restarts under it.

        Raises NotFound for an unknown team, InvalidRequest for an amount that is not positive
        or would not fit.
        """
        if amount <= 0:
            raise InvalidRequest(Problem("amount", "A grant must be more than 0 credits."))
        transfer = Transfer(
            id=uuid4(),
            kind=TransferKind.GRANT,
            team_id=team_id,
            amount=amount,
            created_ms=self._clock.now_ms(),
            reference=None if reference is None else plain(reference),
        )
        try:
            granted = await self._db.certain(lambda again: self._grant(transfer, again=again))
        except asyncpg.DataError:
            raise InvalidRequest(Problem("amount", "The balance would be too large.")) from None
        if not granted:
            raise NotFound(f"There is no team {team_id!r}.")
        return transfer

    async def _grant(self, transfer: Transfer, *, again: bool) -> bool:
        try:
            rows = await self._db.write(
                GRANT,
                transfer.id,
                transfer.team_id,
                transfer.amount,
                transfer.reference,
                transfer.created_ms,
            )
        except asyncpg.UniqueViolationError:
            if again:
                return True
            raise
        return bool(rows)

    async def transfers_of(self, task_id: str) -> Sequence[Transfer]:
        """Give a task's hold and, once it has ended, its resolution."""
        ids = [transfer_id(task_id, TransferKind.HOLD), resolution_id(task_id)]
        return [_transfer(row) for row in await self._db.read(TRANSFERS, ids)]

    async def grants_of(self, team_id: str, limit: int = 100) -> Sequence[Transfer]:
        """Give a team's newest grants, newest first."""
        return [_transfer(row) for row in await self._db.read(GRANTS, plain(team_id), limit)]

    async def verify(self) -> LedgerReport:
        """Check every rule of the books in one snapshot; gives every violation."""
        return await verify(self._db)


def _transfer(row: Any) -> Transfer:
    return Transfer(
        id=UUID(int=row["id"].int),
        kind=TransferKind(row["kind"]),
        team_id=row["team_id"],
        amount=row["amount"],
        created_ms=row["created_ms"],
        task_id=row["task_id"],
        hold_id=None if row["hold_id"] is None else UUID(int=row["hold_id"].int),
        returned=row["returned"],
        reference=row["reference"],
    )


def _new_secret() -> str:
    """Give a Standard Webhooks signing secret: ``whsec_`` and 32 random bytes in base64."""
    return "whsec_" + base64.b64encode(os.urandom(32)).decode()
