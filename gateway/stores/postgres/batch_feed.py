"""Batches in PostgreSQL as the worker sees them that feeds them (port `BatchFeed`).

Which worker that is says a lease per team, on the database's clock, so that what a team may have
under way is counted in one place. Every statement of a worker that has lost it changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from gateway.app.ports.batches import LineMark, WaitingLine
from gateway.domain.batch import Batch, LineState
from gateway.domain.callback import CallbackSpec
from gateway.domain.submission import Draft
from gateway.stores.postgres.batch_books import ACTIVE, COLUMNS, TASK_OF, batch_of
from gateway.stores.postgres.codec import decode_draft, plain
from gateway.stores.postgres.database import Database
from gateway.stores.postgres.outbox import callback_id
from gateway.stores.postgres.urls import readable_url
from gateway.stores.postgres.vault import Vault

_NOW = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"

# Takes teams with something to do whose lease is over.
CLAIM = f"""
WITH busy AS MATERIALIZED (
    SELECT DISTINCT team_id FROM batches WHERE {ACTIVE}
), due AS MATERIALIZED (
    SELECT s.team_id FROM batch_leases s JOIN busy ON busy.team_id = s.team_id
    WHERE s.lease_until_ms <= {_NOW}
    ORDER BY s.lease_until_ms LIMIT $2 FOR UPDATE OF s SKIP LOCKED
)
UPDATE batch_leases s SET runner = $1, lease_until_ms = {_NOW} + $3
FROM due WHERE s.team_id = due.team_id RETURNING s.team_id
"""
RENEW = f"""
UPDATE batch_leases SET lease_until_ms = {_NOW} + $2 WHERE runner = $1 RETURNING team_id
"""
RELEASE = """
UPDATE batch_leases SET runner = '', lease_until_ms = 0
WHERE runner = $1 AND team_id = ANY($2::text[])
"""

# A batch ($2), locked, if this runner ($1) holds its team.
_MINE = """
mine AS MATERIALIZED (
    SELECT b.id, b.status FROM batches b JOIN batch_leases s ON s.team_id = b.team_id
    WHERE b.id = $2 AND s.runner = $1 FOR UPDATE OF b
)
"""
# Whether the task of a line ``l`` exists, or did. Look-ups with a limit are never made a scan.
_LOOKED_UP = f"""
LEFT JOIN LATERAL (SELECT id FROM tasks WHERE id = {TASK_OF} LIMIT 1) t ON true
LEFT JOIN LATERAL (SELECT task_id FROM usage WHERE task_id = {TASK_OF} LIMIT 1) u ON true
"""
_EXISTS = "(t.id IS NOT NULL OR u.task_id IS NOT NULL)"
_EMPTIED = "draft = '', callback_url = NULL, callback_events = NULL"

# Notes which lines of a team ended. Usage rows are written by the settlement that ends a task, and
# stay when the task is forgotten.
COLLECT = f"""
WITH mine AS MATERIALIZED (
    SELECT b.id FROM batches b JOIN batch_leases s ON s.team_id = b.team_id
    WHERE b.team_id = $2 AND b.running > 0 AND s.runner = $1 ORDER BY b.id FOR UPDATE OF b
), over AS MATERIALIZED (
    SELECT l.batch_id, l.no, u.status, u.images, u.charged
    FROM mine JOIN batch_lines l ON l.batch_id = mine.id AND l.state = 'running'
    CROSS JOIN LATERAL (
        SELECT status, images, charged FROM usage WHERE task_id = {TASK_OF} LIMIT 1
    ) u
), noted AS (
    UPDATE batch_lines l SET state = over.status, images = over.images, charged = over.charged
    FROM over WHERE l.batch_id = over.batch_id AND l.no = over.no AND l.state = 'running'
    RETURNING l.batch_id, l.state, l.images, l.charged
), summed AS MATERIALIZED (
    SELECT batch_id, count(*)::integer AS lines,
        (count(*) FILTER (WHERE state = 'completed'))::integer AS completed,
        (count(*) FILTER (WHERE state = 'failed'))::integer AS failed,
        (count(*) FILTER (WHERE state = 'cancelled'))::integer AS cancelled,
        sum(images)::integer AS images, sum(charged)::bigint AS charged
    FROM noted GROUP BY batch_id
)
UPDATE batches b SET running = b.running - n.lines, completed = b.completed + n.completed,
    failed = b.failed + n.failed, cancelled = b.cancelled + n.cancelled,
    images = b.images + n.images, charged = b.charged + n.charged
FROM summed n WHERE b.id = n.batch_id
RETURNING n.completed, n.failed, n.cancelled
"""

# Gives a team's batches that are not done with, oldest first, to the runner that holds it.
MINE = f"""
SELECT {COLUMNS} FROM batches b JOIN batch_leases s ON s.team_id = b.team_id
WHERE b.team_id = $2 AND s.runner = $1 AND ({ACTIVE}) ORDER BY b.created_ms, b.id
"""

# Gives the next lines to send but those passed over ($4): the first, and further ones while they
# are not too many bytes. Rows are compared so that the order of the index is used, however many
# lines wait.
WAITING = f"""
WITH next AS MATERIALIZED (
    SELECT batch_id, state, no FROM batch_lines
    WHERE state IN ('waiting', 'running') AND (batch_id, state, no) > ($1, 'waiting', 0)
        AND no <> ALL($4::integer[])
    ORDER BY batch_id, state, no LIMIT $2
), sized AS MATERIALIZED (
    SELECT l.*, sum(octet_length(l.draft)) OVER (ORDER BY l.no) AS bytes
    FROM next n CROSS JOIN LATERAL (
        SELECT batch_id, no, draft, callback_url, callback_events FROM batch_lines
        WHERE batch_id = n.batch_id AND no = n.no LIMIT 1
    ) l WHERE n.batch_id = $1 AND n.state = 'waiting'
)
SELECT l.no, l.draft, l.callback_url, l.callback_events, {_EXISTS} AS sent
FROM sized l {_LOOKED_UP}
WHERE l.bytes - octet_length(l.draft) < $3 ORDER BY l.no
"""

# Notes lines as accepted (no code) or refused.
MARK = f"""
WITH {_MINE}, told AS MATERIALIZED (
    SELECT * FROM unnest($3::integer[], $4::text[], $5::text[]) AS t(no, code, message)
), judged AS MATERIALIZED (
    SELECT l.batch_id, l.no, told.code, told.message,
        told.code IS NULL OR {_EXISTS} AS accepted
    FROM told JOIN mine ON true CROSS JOIN LATERAL (
        SELECT batch_id, no FROM batch_lines
        WHERE batch_id = mine.id AND no = told.no AND state = 'waiting' LIMIT 1
    ) l {_LOOKED_UP}
), noted AS (
    UPDATE batch_lines l SET {_EMPTIED},
        state = CASE WHEN j.accepted THEN 'running' ELSE 'failed' END,
        code = CASE WHEN j.accepted THEN NULL ELSE j.code END,
        message = CASE WHEN j.accepted THEN NULL ELSE j.message END
    FROM judged j WHERE l.batch_id = j.batch_id AND l.no = j.no
    RETURNING l.state
)
UPDATE batches b SET running = b.running + n.running, failed = b.failed + n.failed
FROM (
    SELECT (count(*) FILTER (WHERE state = 'running'))::integer AS running,
        (count(*) FILTER (WHERE state = 'failed'))::integer AS failed FROM noted
) n WHERE b.id IN (SELECT id FROM mine)
"""

# Pauses a batch, and tells its team if that has named where to (`alert_url`).
PAUSE = f"""
WITH {_MINE}, paused AS (
    UPDATE batches b SET status = 'paused', reason_code = $3, reason = $4
    FROM mine WHERE b.id = mine.id AND mine.status = 'running'
    RETURNING b.id, b.team_id, b.name, b.reason_code, b.reason
)
INSERT INTO callbacks (id, team_id, url, event, body, next_at_ms, created_ms)
SELECT 'msg_' || replace(gen_random_uuid()::text, '-', ''), t.id, t.alert_url, 'batch_paused',
    json_build_object('type', 'team.batch_paused', 'timestamp', to_char(timestamp '1970-01-01'
            + $5::bigint * interval '1 millisecond', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
        'data', json_build_object('team_id', t.id, 'team', t.name, 'batch_id', p.id,
            'name', p.name, 'code', p.reason_code, 'message', p.reason))::text,
    $5, $5
FROM paused p JOIN teams t ON t.id = p.team_id WHERE t.alert_url IS NOT NULL
"""

# Ends what was not sent. A line that was, unnoted, goes on like the others that are under way.
DROP = f"""
WITH {_MINE}, judged AS MATERIALIZED (
    SELECT l.batch_id, l.no, {_EXISTS} AS accepted
    FROM mine JOIN batch_lines l ON l.batch_id = mine.id AND l.state = 'waiting' {_LOOKED_UP}
    WHERE mine.status = 'cancelling'
), noted AS (
    UPDATE batch_lines l SET {_EMPTIED},
        state = CASE WHEN j.accepted THEN 'running' ELSE 'cancelled' END
    FROM judged j WHERE l.batch_id = j.batch_id AND l.no = j.no
    RETURNING l.state
)
UPDATE batches b SET running = b.running + n.running, cancelled = b.cancelled + n.cancelled
FROM (
    SELECT (count(*) FILTER (WHERE state = 'running'))::integer AS running,
        (count(*) FILTER (WHERE state = 'cancelled'))::integer AS cancelled FROM noted
) n WHERE b.id IN (SELECT id FROM mine) RETURNING n.cancelled
"""

UNDER_WAY = "SELECT no FROM batch_lines WHERE batch_id = $1 AND state = 'running' ORDER BY no"

END = f"""
WITH {_MINE}
UPDATE batches b SET status = $3, ended_ms = $4, callback_url = NULL
FROM (SELECT o.id, o.callback_url FROM batches o JOIN mine ON mine.id = o.id) old
WHERE b.id = old.id AND b.ended_ms IS NULL
    AND b.completed + b.failed + b.cancelled = b.total
RETURNING {COLUMNS}, old.callback_url
"""
TELL = """
INSERT INTO callbacks (id, team_id, url, event, body, next_at_ms, created_ms)
VALUES ($1, $2, $3, $4, $5, $6, $6)
"""


class PostgresBatchFeed:
    """The feeding of batches in PostgreSQL."""

    def __init__(self, database: Database, vault: Vault) -> None:
        """Take the pool, and what opens addresses."""
        self._db = database
        self._vault = vault

    async def claim(self, runner: str, limit: int, lease_ms: int) -> Sequence[str]:
        """Take teams that have something to do and that nobody holds, for ``lease_ms``."""
        rows = await self._db.write(CLAIM, runner, limit, lease_ms)
        return [row["team_id"] for row in rows]

    async def renew(self, runner: str, lease_ms: int) -> set[str]:
        """Hold on to all that are held; gives which those are."""
        return {row["team_id"] for row in await self._db.write(RENEW, runner, lease_ms)}

    async def release(self, runner: str, team_ids: Sequence[str]) -> None:
        """Let others have them."""
        await self._db.write(RELEASE, runner, list(team_ids))

    async def collect(
        self, runner: str, team_id: str
    ) -> tuple[Sequence[Batch], Mapping[LineState, int]]:
        """Note which lines have ended; gives the team's batches that are not done with, oldest
        first, and how many lines were noted. None are given once the lease is lost.
        """
        noted = await self._db.write(COLLECT, runner, team_id)
        rows = await self._db.read(MINE, runner, team_id)
        ends = (LineState.COMPLETED, LineState.FAILED, LineState.CANCELLED)
        counts = {state: sum(row[state.value] for row in noted) for state in ends}
        return [batch_of(row) for row in rows], counts

    async def waiting(
        self, batch: Batch, limit: int, bytes_max: int, passed: Sequence[int] = ()
    ) -> Sequence[WaitingLine]:
        """Give the next lines to send but those passed over.

        At least one, if there is one, and at most so many bytes of them.
        """
        rows = await self._db.read(WAITING, batch.id, limit, bytes_max, list(passed))
        return [
            WaitingLine(row["no"], self._draft(row, batch.team_id), row["sent"]) for row in rows
        ]

    def _draft(self, row: Any, team_id: str) -> Draft:
        draft = decode_draft(row["draft"])
        if row["callback_url"] is None:
            return draft
        url = readable_url(self._vault, row["callback_url"], team_id)
        return replace(draft, callback=CallbackSpec(url, tuple(row["callback_events"].split(","))))

    async def mark(self, runner: str, batch_id: str, marks: Sequence[LineMark]) -> None:
        """Note what came of lines. One whose task exists was accepted, whatever is said."""
        messages = [mark.message and plain(mark.message) for mark in marks]
        codes = [mark.code for mark in marks]
        await self._db.write(MARK, runner, batch_id, [m.no for m in marks], codes, messages)

    async def pause(self, runner: str, batch_id: str, code: str, message: str, at_ms: int) -> None:
        """Pause a running batch, and write the alert its team wants, in one statement."""
        await self._db.write(PAUSE, runner, batch_id, code, plain(message), at_ms)

    async def drop(self, runner: str, batch_id: str) -> int:
        """End as cancelled all lines that were not sent; gives how many."""
        rows = await self._db.write(DROP, runner, batch_id)
        return sum(row["cancelled"] for row in rows)

    async def under_way(self, batch_id: str) -> Sequence[int]:
        """Give the lines that are tasks which have not ended, as far as is noted."""
        return [row["no"] for row in await self._db.read(UNDER_WAY, batch_id)]

    async def end(
        self, runner: str, batch: Batch, at_ms: int, render: Callable[[Batch], str]
    ) -> Batch | None:
        """End a batch that is over and write its callback, rendered, in the same transaction.

        Gives it as it ended, None when somebody else did that.
        """
        async with self._db.transaction() as connection:
            row = await connection.fetchrow(END, runner, batch.id, batch.ending.value, at_ms)
            if row is None:
                return None
            facts = dict(row)
            url = facts.pop("callback_url")
            ended = batch_of(facts)
            if url is not None:
                about = (url, f"batch.{ended.status.value}", render(ended), at_ms)
                await connection.execute(TELL, callback_id(ended.id), ended.team_id, *about)
        return ended
