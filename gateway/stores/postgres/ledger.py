"""Teams and their credits (port `Ledger`). Holds and their resolutions move with tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from gateway.app.ports import LedgerCheck
from gateway.domain.errors import InvalidRequest, NotFound, Problem
from gateway.domain.ledger import (
    LedgerReport,
    Transfer,
    TransferKind,
    resolution_id,
    transfer_id,
)
from gateway.domain.money import MicroCredits
from gateway.stores.postgres.codec import plain
from gateway.stores.postgres.teams import TeamStore
from gateway.stores.postgres.verify import verify

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


# Keeps when the books were last proven, and how many violations were found; gives it.
CHECKED = """
INSERT INTO meta (key, value) VALUES ('ledger_check', $1)
ON CONFLICT (key) DO UPDATE SET value = excluded.value
"""
LAST_CHECK = "SELECT value FROM meta WHERE key = 'ledger_check'"


class PostgresLedger(TeamStore):
    """Teams, grants and the proof that the books are sound."""

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
        """Check every rule of the books in one snapshot; gives every violation.

        When that was and how many there were is kept for `last_check`.
        """
        at_ms = self._clock.now_ms()
        report = await verify(self._db)
        await self._db.write(CHECKED, f"{at_ms} {len(report.violations)}")
        return report

    async def last_check(self) -> LedgerCheck | None:
        """Give the outcome of the last proof, by whichever process; None when there was none."""
        rows = await self._db.read(LAST_CHECK)
        return LedgerCheck(*map(int, rows[0]["value"].split())) if rows else None


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
