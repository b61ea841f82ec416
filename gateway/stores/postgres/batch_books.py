"""Batches in PostgreSQL as their teams and operators see them (port `BatchStore`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import asyncpg

from gateway.app.ports.admin import Page
from gateway.app.ports.batches import EncodedLine, LineResult
from gateway.domain.batch import Batch, BatchLine, BatchStatus, LineState
from gateway.domain.callback import CallbackSpec
from gateway.domain.money import MICRO_MAX
from gateway.domain.repeats import CallMark
from gateway.stores.postgres.codec import decode_task, encode, plain
from gateway.stores.postgres.cursors import cursor_of, read_cursor
from gateway.stores.postgres.database import Database
from gateway.stores.postgres.urls import seal_url
from gateway.stores.postgres.vault import Vault

# How many lines one statement writes, and at most how many bytes of them.
LINES = 2_000
BYTES = 16 * 1024 * 1024

# A line's task, by the one id it can have (`domain/batch.task_id_of`).
TASK_OF = "('task-' || l.batch_id || '-' || l.no)"

# What still gives a worker something to do.
ACTIVE = "status IN ('running', 'cancelling') OR running > 0"

COLUMNS = """
b.id, b.team_id, b.key_id, b.status, b.concurrency, b.total, b.created_ms, b.name, b.running,
b.completed, b.failed, b.cancelled, b.images, b.charged, b.reason_code, b.reason, b.ended_ms
"""

# Claims an Idempotency-Key for a batch; one in use is a unique violation.
KEYED = """
INSERT INTO idempotency_keys (team_id, scope, key, fingerprint, task_id, created_ms)
VALUES ($1, $2, $3, $4, $5, $6)
"""
CREATE = """
INSERT INTO batches (id, team_id, key_id, name, status, concurrency, total, callback_url,
    created_ms)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
"""
LEASE = "INSERT INTO batch_leases (team_id) VALUES ($1) ON CONFLICT DO NOTHING"
ADD_LINES = """
INSERT INTO batch_lines (batch_id, no, custom_id, draft, callback_url, callback_events)
SELECT $1, l.* FROM unnest($2::integer[], $3::text[], $4::bytea[], $5::text[], $6::text[])
    AS l(no, custom_id, draft, callback_url, callback_events)
"""

# Gives one batch.
ONE = f"SELECT {COLUMNS} FROM batches b WHERE b.id = $1"

# Gives a page of batches, newest first, after a (created_ms, id): of all teams, or of one.
_PAGE = """ AND (b.created_ms, b.id) < ($1, $2) AND ($3::text IS NULL OR b.status = $3)
ORDER BY b.created_ms DESC, b.id DESC LIMIT $4
"""
PAGE = f"SELECT {COLUMNS} FROM batches b WHERE true {_PAGE}"
PAGE_OF_TEAM = f"SELECT {COLUMNS} FROM batches b WHERE b.team_id = $5 {_PAGE}"

# Gives lines that ended, in their order, with their tasks. Rows are compared so that the order of
# the index is used whatever is known of the table; those of other batches are dropped.
RESULTS = f"""
SELECT l.no, l.custom_id, l.state, l.images, l.charged, l.code, l.message, t.doc
FROM (
    SELECT batch_id, no, custom_id, state, images, charged, code, message FROM batch_lines
    WHERE (batch_id, no) > ($1, $2) AND state NOT IN ('waiting', 'running')
    ORDER BY batch_id, no LIMIT $3
) l LEFT JOIN LATERAL (
    SELECT doc FROM tasks WHERE id = {TASK_OF} LIMIT 1
) t ON true
WHERE l.batch_id = $1 ORDER BY l.no
"""

RESUME = """
UPDATE batches SET status = 'running', key_id = $2, reason_code = NULL, reason = NULL
WHERE id = $1 AND status = 'paused'
"""
CANCEL = """
UPDATE batches SET status = 'cancelling', reason_code = NULL, reason = NULL
WHERE id = $1 AND status IN ('running', 'paused')
"""

# Sums what has not ended, for metrics.
COUNTS = f"""
SELECT count(*) FILTER (WHERE status <> 'paused') AS batches_running,
    count(*) FILTER (WHERE status = 'paused') AS batches_paused,
    coalesce(sum(total - running - completed - failed - cancelled), 0)::bigint
        AS batch_lines_waiting,
    coalesce(sum(running), 0)::bigint AS batch_lines_running
FROM batches WHERE status = 'paused' OR {ACTIVE}
"""

# Forgets batches that ended long ago, with their lines.
FORGET = """
WITH old AS MATERIALIZED (
    SELECT id FROM batches WHERE ended_ms < $1 ORDER BY ended_ms LIMIT $2
    FOR UPDATE SKIP LOCKED
)
DELETE FROM batches b USING old WHERE b.id = old.id RETURNING b.id
"""


class PostgresBatches:
    """Batches in PostgreSQL."""

    def __init__(self, database: Database, vault: Vault) -> None:
        """Take the pool, and what seals addresses and hashes keys."""
        self._db = database
        self._vault = vault

    def encoded(self, team_id: str, no: int, line: BatchLine) -> EncodedLine:
        """Give a line as it is stored, its callback's address sealed."""
        url = events = None
        if (callback := line.draft.callback) is not None:
            url = seal_url(self._vault, callback.url, team_id)
            events = ",".join(callback.events)
        # How the caller wanted to be answered means nothing here.
        draft = encode(replace(line.draft, callback=None, wait=None))
        custom_id = None if line.custom_id is None else plain(line.custom_id)
        return EncodedLine(no, custom_id, draft, url, events)

    async def create(
        self,
        batch: Batch,
        callback: CallbackSpec | None,
        lines: Sequence[EncodedLine],
        mark: CallMark | None,
    ) -> bool:
        """Store a batch whole, or not at all; False when its Idempotency-Key is in use."""
        url = None if callback is None else seal_url(self._vault, callback.url, batch.team_id)
        facts = (batch.id, batch.team_id, batch.key_id, batch.name, batch.status.value)
        counts = (batch.concurrency, batch.total)
        try:
            async with self._db.transaction() as connection:
                if mark is not None and mark.key is not None:
                    key = self._vault.repeat_key(batch.team_id, mark.key)
                    about = (mark.fingerprint, batch.id, batch.created_ms)
                    await connection.execute(KEYED, batch.team_id, mark.scope, key, *about)
                await connection.execute(CREATE, *facts, *counts, url, batch.created_ms)
                for part in _parts(lines):
                    await connection.execute(ADD_LINES, batch.id, *_columns(part))
                await connection.execute(LEASE, batch.team_id)
        except asyncpg.UniqueViolationError:
            return False
        return True

    async def get(self, batch_id: str) -> Batch | None:
        """Give a batch as it stands."""
        rows = await self._db.read(ONE, plain(batch_id))
        return batch_of(rows[0]) if rows else None

    async def batch_page(
        self, limit: int, cursor: str | None, *, team_id: str | None, status: str | None = None
    ) -> Page[Batch]:
        """Give a page, newest first, of a team and a status where they are given.

        Raises InvalidRequest for a cursor that is none of ours.
        """
        after = read_cursor(cursor) if cursor else (MICRO_MAX, "")
        where = (*after, status, limit + 1)
        if team_id is None:
            rows = await self._db.read(PAGE, *where)
        else:
            rows = await self._db.read(PAGE_OF_TEAM, *where, plain(team_id))
        found = tuple(batch_of(row) for row in rows[:limit])
        return Page(found, cursor_of(found[-1]) if len(rows) > limit else None)

    async def results(self, batch_id: str, after: int, limit: int) -> Sequence[LineResult]:
        """Give lines that ended, in their order, after a line number."""
        rows = await self._db.read(RESULTS, batch_id, after, limit)
        return [_result(dict(row)) for row in rows]

    async def resume(self, batch_id: str, key_id: str) -> None:
        """Let a paused batch go on, under this key."""
        await self._db.write(RESUME, batch_id, key_id)

    async def cancel(self, batch_id: str) -> None:
        """Let a batch that has not ended send nothing more."""
        await self._db.write(CANCEL, batch_id)

    async def counts(self) -> Mapping[str, int]:
        """Give figures of all batches that have not ended."""
        return dict((await self._db.read(COUNTS))[0])

    async def forget(self, before_ms: int, limit: int) -> int:
        """Delete at most ``limit`` batches that ended before a time; gives how many."""
        return len(await self._db.write(FORGET, before_ms, limit))


def batch_of(row: Any) -> Batch:
    """Give the batch of a row with `COLUMNS`."""
    facts = dict(row)
    return Batch(**{**facts, "status": BatchStatus(facts["status"])})


def _result(facts: dict[str, Any]) -> LineResult:
    doc = facts.pop("doc")
    facts["state"] = LineState(facts["state"])
    return LineResult(**facts, task=None if doc is None else decode_task(doc))


def _parts(lines: Sequence[EncodedLine]) -> list[list[EncodedLine]]:
    """Split lines into what one statement takes."""
    parts: list[list[EncodedLine]] = []
    size = BYTES
    for line in lines:
        if size + len(line.draft) > BYTES or len(parts[-1]) >= LINES:
            parts.append([])
            size = 0
        parts[-1].append(line)
        size += len(line.draft)
    return parts


def _columns(lines: Sequence[EncodedLine]) -> tuple[list[Any], ...]:
    return (
        [line.no for line in lines],
        [line.custom_id for line in lines],
        [line.draft for line in lines],
        [line.callback_url for line in lines],
        [line.callback_events for line in lines],
    )
