"""Teams and their credits (port `Ledger`). Holds and their resolutions move with tasks."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.app.ports import LedgerCheck
from gateway.domain.ledger import (
    LedgerReport,
    Transfer,
    TransferKind,
    resolution_id,
    transfer_id,
)
from gateway.stores.postgres.credits import TRANSFER, CreditStore, transfer_of
from gateway.stores.postgres.verify import verify

# Gives transfers by their ids, in order of time.
TRANSFERS = f"{TRANSFER} WHERE id = ANY($1::uuid[]) ORDER BY created_ms, kind DESC"

# Keeps when the books were last proven, and how many violations were found; gives it.
CHECKED = """
INSERT INTO meta (key, value) VALUES ('ledger_check', $1)
ON CONFLICT (key) DO UPDATE SET value = excluded.value
"""

LAST_CHECK = "SELECT value FROM meta WHERE key = 'ledger_check'"


class PostgresLedger(CreditStore):
    """Teams, their credits, and the proof that the books are sound."""

    async def transfers_of(self, task_id: str) -> Sequence[Transfer]:
        """Give a task's hold and, once it has ended, its resolution."""
        ids = [transfer_id(task_id, TransferKind.HOLD), resolution_id(task_id)]
        return [transfer_of(row) for row in await self._db.read(TRANSFERS, ids)]

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
