"""Credits as finance moves them: grants, adjustments, refunds, statements (port `CreditAdmin`)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from gateway.app.ports.admin import Page
from gateway.domain.administration import COMMAND_LINE, Ask
from gateway.domain.errors import InvalidRequest, NotFound, Problem, RepeatedChange
from gateway.domain.ledger import Transfer, TransferKind, resolution_id
from gateway.domain.money import MICRO_MAX, MicroCredits, format_micro
from gateway.domain.statement import Line, Month, Statement
from gateway.stores.postgres.changes import Change
from gateway.stores.postgres.codec import plain
from gateway.stores.postgres.cursors import cursor_of, read_cursor
from gateway.stores.postgres.expirations import LOCK_ACCOUNT, expire_all, expire_team
from gateway.stores.postgres.teams import TeamStore

# Moves a balance: the transfer and the account together.
MOVE = """
WITH moved AS (
    UPDATE accounts SET balance = balance + $4 WHERE team_id = $3 RETURNING team_id
)
INSERT INTO transfers (id, kind, team_id, amount, task_id, reference, created_ms, expires_ms)
SELECT $1, $2, team_id, abs($4), $5, $6, $7, $8 FROM moved RETURNING id
"""

TRANSFER = """
SELECT id, kind, team_id, amount, created_ms, task_id, hold_id, returned, reference, expires_ms
FROM transfers
"""

# Gives one transfer.
ONE = f"{TRANSFER} WHERE id = $1"

# Gives what of a task's charge was given back already.
REFUNDED = """
SELECT coalesce(sum(amount), 0)::bigint FROM transfers WHERE task_id = $1 AND kind = 'refund'
"""

_CREDITS = "kind IN ('grant', 'credit', 'debit', 'refund', 'expiration')"

# Gives a page of a team's credits, newest first, after a (created_ms, id).
PAGE = f"""
{TRANSFER} WHERE team_id = $1 AND {_CREDITS} AND (created_ms, id) < ($2, $3)
ORDER BY created_ms DESC, id DESC LIMIT $4
"""

# Gives a team's name and balance.
ACCOUNT = """
SELECT t.name, a.balance FROM teams t JOIN accounts a ON a.team_id = t.id WHERE t.id = $1
"""

# Gives what moved a balance since a time: until another, and in all.
MOVED = """
SELECT coalesce(sum(gain) FILTER (WHERE created_ms < $3), 0)::bigint AS within,
    coalesce(sum(gain), 0)::bigint AS since
FROM (
    SELECT created_ms,
        CASE WHEN kind IN ('capture', 'debit', 'expiration') THEN -amount ELSE amount END AS gain
    FROM transfers
    WHERE team_id = $1 AND created_ms >= $2 AND kind NOT IN ('hold', 'release')
) moving
"""

# Gives a team's credits within a time, in order.
WITHIN = f"""
{TRANSFER} WHERE team_id = $1 AND {_CREDITS} AND created_ms >= $2 AND created_ms < $3
ORDER BY created_ms, id
"""

# Gives a team's charges by day and model.
CHARGES = """
SELECT day_ms, model, sum(tasks)::bigint AS tasks, sum(images)::bigint AS images,
    sum(charged)::bigint AS charged
FROM usage_days WHERE team_id = $1 AND day_ms >= $2 AND day_ms < $3
GROUP BY day_ms, model HAVING sum(charged) > 0 ORDER BY day_ms, model
"""

LAST_ID = UUID(int=2**128 - 1)
STATEMENT_TIMEOUT_S = 60


class CreditStore(TeamStore):
    """Credits in PostgreSQL; every movement leaves its row in the audit log."""

    async def grant(
        self,
        team_id: str,
        amount: MicroCredits,
        reference: str | None,
        ask: Ask = COMMAND_LINE,
        *,
        expires_ms: int | None = None,
    ) -> Transfer:
        """Add credits, for good or until ``expires_ms``.

        Every call is one transfer, also when Postgres restarts under it.

        A repetition under the same Idempotency-Key gives the first one's transfer. Raises
        NotFound for an unknown team, InvalidRequest for an amount that is not positive or would
        not fit, and for a time that is over.
        """
        if amount <= 0:
            raise InvalidRequest(Problem("credits", "A grant must be more than 0 credits."))
        new = self._new(TransferKind.GRANT, team_id, amount, reference)
        if expires_ms is not None and expires_ms <= new.created_ms:
            message = "expires_at is not in the future."
            raise InvalidRequest(Problem("expires_at", message, legal="a time to come, or null"))
        return await self._move(replace(new, expires_ms=expires_ms), ask)

    async def expire(self) -> int:
        """Take away what is left of grants that have expired; gives of how many.

        None of it can be spent from the moment on at which it expires: this only books it.
        """
        return await expire_all(self._db, self._clock.now_ms())

    async def adjust(
        self, team_id: str, change: MicroCredits, reference: str, ask: Ask = COMMAND_LINE
    ) -> Transfer:
        """Correct a balance, by a change above or below 0; never below what is held.

        Otherwise like `grant`.
        """
        if not change:
            raise InvalidRequest(Problem("credits", "An adjustment by 0 credits changes nothing."))
        kind = TransferKind.CREDIT if change > 0 else TransferKind.DEBIT
        return await self._move(self._new(kind, team_id, abs(change), reference), ask)

    async def refund(
        self,
        task_id: str,
        amount: MicroCredits | None,
        reference: str,
        ask: Ask = COMMAND_LINE,
    ) -> Transfer:
        """Give back what a task was charged (None: all that is left of it), never more.

        Raises NotFound for a task that was charged nothing; otherwise like `grant`.
        """
        if amount is not None and amount <= 0:
            raise InvalidRequest(Problem("credits", "A refund must be more than 0 credits."))
        charge = await self._transfer(resolution_id(task_id))
        if charge is None or charge.kind is not TransferKind.CAPTURE:
            raise NotFound(f"There is no charge for a task {task_id[:80]!r}.")
        new = self._new(TransferKind.REFUND, charge.team_id, amount or charge.amount, reference)
        new = replace(new, task_id=charge.task_id)
        return await self._move(new, ask, charge, whole=amount is None)

    async def credit_page(self, team_id: str, limit: int, cursor: str | None) -> Page[Transfer]:
        """Give a page of a team's grants, adjustments, refunds and expirations, newest first.

        Raises NotFound, and InvalidRequest for a cursor that is none of ours.
        """
        await self._known(team_id)
        after = read_cursor(cursor) if cursor else (MICRO_MAX, str(LAST_ID))
        try:
            before_id = UUID(after[1])
        except ValueError:
            raise InvalidRequest(Problem("cursor", "The cursor is none of this list.")) from None
        rows = await self._db.read(PAGE, team_id, after[0], before_id, limit + 1)
        found = tuple(transfer_of(row) for row in rows[:limit])
        return Page(found, cursor_of(found[-1]) if len(rows) > limit else None)

    async def statement(self, team_id: str, month: Month) -> Statement:
        """Give a team's month, read in one snapshot. Raises NotFound."""
        span = (plain(team_id), month.since_ms, month.until_ms)
        async with self._db.transaction(isolation="repeatable_read", readonly=True) as connection:
            await connection.execute("SET LOCAL statement_timeout = '60s'")
            account = await connection.fetchrow(ACCOUNT, span[0])
            if account is None:
                raise NotFound(f"There is no team {team_id[:80]!r}.")
            moved = await connection.fetchrow(MOVED, *span, timeout=STATEMENT_TIMEOUT_S)
            moves = await connection.fetch(WITHIN, *span, timeout=STATEMENT_TIMEOUT_S)
            charges = await connection.fetch(CHARGES, *span, timeout=STATEMENT_TIMEOUT_S)
        opening = account["balance"] - moved["since"]
        lines = [_credit_line(transfer_of(row)) for row in moves]
        lines += [_charge_line(row) for row in charges]
        lines.sort(key=lambda line: line.at_ms)
        closing = opening + moved["within"]
        return Statement(team_id, account["name"], month, opening, closing, lines)

    # --- one movement ----------------------------------------------------------------------

    def _new(
        self, kind: TransferKind, team_id: str, amount: MicroCredits, reference: str | None
    ) -> Transfer:
        text = None if reference is None else plain(reference)
        return Transfer(uuid4(), kind, plain(team_id), amount, self._clock.now_ms(), reference=text)

    async def _move(
        self, new: Transfer, ask: Ask, charge: Transfer | None = None, *, whole: bool = False
    ) -> Transfer:
        """Write a transfer with its audit row, once, although Postgres may restart under it."""

        async def write(*, again: bool) -> Transfer:
            if again and (written := await self._transfer(new.id)):
                return written
            async with self._changes.begin(ask) as change:
                moving = new
                if charge is not None:
                    left = await _refundable(change, charge)
                    moving = _within(new, left, whole=whole)
                if new.kind is TransferKind.DEBIT:
                    # Only what is still valid can be taken.
                    await expire_team(change.connection, new.team_id, new.created_ms)
                await _write(change, moving)
            return moving

        try:
            return await self._db.certain(lambda again: write(again=again))
        except RepeatedChange as earlier:
            first = await self._transfer(UUID(earlier.subject))
            assert first is not None
            return first
        except asyncpg.CheckViolationError:
            message = "The team has less than this available."
            raise InvalidRequest(
                Problem("credits", message, legal="at most what is available")
            ) from None
        except asyncpg.DataError:
            raise InvalidRequest(Problem("credits", "The balance would be too large.")) from None

    async def _transfer(self, transfer_id: UUID) -> Transfer | None:
        rows = await self._db.read(ONE, transfer_id)
        return transfer_of(rows[0]) if rows else None


async def _write(change: Change, moving: Transfer) -> None:
    row = (moving.id, moving.kind, moving.team_id, moving.gain, moving.task_id, moving.reference)
    times = (moving.created_ms, moving.expires_ms)
    if not await change.connection.fetch(MOVE, *row, *times):
        raise NotFound(f"There is no team {moving.team_id[:80]!r}.")
    facts = {
        "transfer": str(moving.id),
        "credits": format_micro(moving.gain),
        "reference": moving.reference,
        "task": moving.task_id,
        "expires_ms": moving.expires_ms,
    }
    await change.record(f"credits.{moving.kind.value}", moving.team_id, after=facts)
    await change.made(str(moving.id))


async def _refundable(change: Change, charge: Transfer) -> MicroCredits:
    """Give what is left of a charge; the account stays locked, and with it other refunds."""
    await change.connection.execute(LOCK_ACCOUNT, charge.team_id)
    given: int = await change.connection.fetchval(REFUNDED, charge.task_id)
    return charge.amount - given


def _within(new: Transfer, left: MicroCredits, *, whole: bool) -> Transfer:
    if not left:
        raise InvalidRequest(Problem("credits", "The whole charge of this task was refunded."))
    if not whole and new.amount > left:
        message = "A refund cannot be more than what is left of the charge."
        raise InvalidRequest(Problem("credits", message, legal=f"at most {format_micro(left)}"))
    return replace(new, amount=left) if whole else new


def _credit_line(transfer: Transfer) -> Line:
    adjusts = transfer.kind in (TransferKind.CREDIT, TransferKind.DEBIT)
    return Line(
        transfer.created_ms,
        "adjustment" if adjusts else transfer.kind.value,
        transfer.gain,
        task_id=transfer.task_id,
        reference=transfer.reference,
    )


def _charge_line(row: Any) -> Line:
    return Line(
        row["day_ms"],
        "charge",
        -row["charged"],
        model=row["model"],
        tasks=row["tasks"],
        images=row["images"],
    )


def transfer_of(row: Any) -> Transfer:
    """Give the transfer of a row."""
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
        expires_ms=row["expires_ms"],
    )
