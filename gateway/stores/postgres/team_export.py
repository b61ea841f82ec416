"""All rows of a team as lines, read in one snapshot over a connection of its own (`TeamRows`)."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from gateway.app.team_data import line, task_line
from gateway.stores.postgres.codec import decode_draft, decode_request, decode_task
from gateway.stores.postgres.database import Database
from gateway.stores.postgres.failures import away_as_unavailable
from gateway.stores.postgres.urls import readable_url
from gateway.stores.postgres.vault import Vault

ROWS = 200
# A request with pictures inside it is fetched alone.
REQUEST_INLINE = 64 * 1024
TIMEOUT_S = 3600

# An export reads tables that have no index by team, and for as long as its reader takes.
BEGIN = "SET LOCAL statement_timeout = 0; SET LOCAL enable_seqscan = on"

TASKS = f"""
SELECT id, doc, callback_url, octet_length(request) AS size,
    CASE WHEN octet_length(request) <= {REQUEST_INLINE} THEN request END AS request
FROM tasks WHERE team_id = $1 ORDER BY created_ms DESC
"""
REQUEST = "SELECT request FROM tasks WHERE id = $1"

# Of tasks that were forgotten too: usage knows which were the team's.
_ATTEMPTS = """
FROM (
    SELECT task_id FROM usage WHERE team_id = $1
    UNION ALL SELECT id FROM tasks WHERE team_id = $1 AND status IN ('pending', 'processing')
) t JOIN attempts a ON a.task_id = t.task_id
"""
ATTEMPTS = f"""
SELECT a.id, a.task_id, a.no, a.upstream, a.adapter, a.upstream_model, a.started_ms, a.finished_ms,
    a.outcome, a.upstream_task_id, a.code, a.reason, a.blame, a.delivered, a.planned_cost, a.cost,
    a.exposure, a.resolution {_ATTEMPTS}
"""
CALLBACKS = """
SELECT c.id, c.task_id, c.event, c.state, c.url, c.body, c.created_ms, (
    SELECT json_agg(json_build_object('status', y.status, 'error', y.error,
        'started_ms', y.started_ms, 'duration_ms', y.duration_ms) ORDER BY y.id)
    FROM callback_tries y WHERE y.callback_id = c.id
) AS tries
FROM callbacks c WHERE c.team_id = $1
"""
USAGE = """
SELECT task_id, key_id, model, upstream, status, images, charged, cost, exposure, created_ms,
    finished_ms
FROM usage WHERE team_id = $1 ORDER BY finished_ms
"""
TRANSFERS = """
SELECT id::text, kind, amount, returned, task_id, reference, created_ms, expires_ms
FROM transfers WHERE team_id = $1
"""
_AUDIT = """
FROM audit a WHERE a.subject = $1 OR a.after ->> 'team_id' = $1 OR a.before ->> 'team_id' = $1
    OR EXISTS (SELECT FROM api_keys k WHERE k.id = a.subject AND k.team_id = $1)
    OR EXISTS (SELECT FROM callbacks c WHERE c.id = a.subject AND c.team_id = $1)
    OR EXISTS (SELECT FROM attempts y JOIN usage u ON u.task_id = y.task_id
        WHERE y.id = a.subject AND u.team_id = $1)
"""
AUDIT = f"""
SELECT a.id, a.at_ms, a.actor_name, a.action, a.subject, a.before, a.after {_AUDIT} ORDER BY a.id
"""

BATCHES = """
SELECT id, key_id, name, status, concurrency, total, completed, failed, cancelled, images, charged,
    reason_code, reason, callback_url, created_ms, ended_ms
FROM batches WHERE team_id = $1 ORDER BY created_ms
"""
LINES = """
SELECT l.batch_id, l.no AS line, l.custom_id, l.state, l.images, l.charged, l.code, l.message,
    l.callback_url, l.draft
FROM batches b JOIN batch_lines l ON l.batch_id = b.id
WHERE b.team_id = $1 ORDER BY b.created_ms, b.id, l.no
"""

COUNT = f"""
SELECT (SELECT count(*) FROM tasks WHERE team_id = $1)
    + (SELECT count(*) {_ATTEMPTS}) + (SELECT count(*) FROM callbacks WHERE team_id = $1)
    + (SELECT count(*) FROM usage WHERE team_id = $1)
    + (SELECT count(*) FROM transfers WHERE team_id = $1)
    + (SELECT coalesce(sum(total + 1), 0) FROM batches WHERE team_id = $1)::bigint AS lines
"""


class TeamExport:
    """Reads a team whole, whatever its size, a few rows in memory at a time.

    A reader that takes nothing for half a minute loses the snapshot: its export breaks off.
    """

    def __init__(self, database: Database, vault: Vault) -> None:
        """Take the pool whose database is read, and what opens addresses."""
        self._url = database.url
        self._vault = vault

    async def count(self, team_id: str) -> int:
        """Give about how many lines there are: all but those of the audit log."""
        async with self._snapshot() as connection:
            lines: int = await connection.fetchval(COUNT, team_id, timeout=TIMEOUT_S)
        return lines

    async def rows(self, team_id: str) -> AsyncGenerator[dict[str, Any]]:
        """Give every row as a line, in one snapshot. Raises StoreUnavailable."""
        async with self._snapshot() as connection:
            async for row in _rows(connection, TASKS, team_id):
                yield await self._task(connection, row, team_id)
            async for row in _rows(connection, ATTEMPTS, team_id):
                yield line("attempt", row)
            async for row in _rows(connection, CALLBACKS, team_id):
                yield self._callback(dict(row), team_id)
            async for row in _rows(connection, USAGE, team_id):
                yield line("usage", row)
            async for row in _rows(connection, TRANSFERS, team_id):
                yield line("transfer", row)
            async for row in _rows(connection, BATCHES, team_id):
                yield self._addressed("batch", dict(row), team_id)
            async for row in _rows(connection, LINES, team_id):
                facts = dict(row)
                draft = facts.pop("draft")
                request = msgspec.to_builtins(decode_draft(draft).request) if draft else None
                yield self._addressed("batch_line", {**facts, "request": request}, team_id)
            async for row in _rows(connection, AUDIT, team_id):
                yield line(
                    "audit", {**row, "before": _json(row["before"]), "after": _json(row["after"])}
                )

    @asynccontextmanager
    async def _snapshot(self) -> AsyncGenerator[Any]:
        database = Database(self._url, application_name="gateway export", connections_max=1)
        await database.connect()
        try:
            async with database.transaction(isolation="repeatable_read", readonly=True) as one:
                await one.execute(BEGIN)
                yield one
        finally:
            await database.close()

    async def _task(self, connection: Any, row: Any, team_id: str) -> dict[str, Any]:
        request, url = row["request"], row["callback_url"]
        if request is None:
            request = await connection.fetchval(REQUEST, row["id"], timeout=TIMEOUT_S)
        sent = msgspec.to_builtins(decode_request(request)) if request else None
        return task_line(
            decode_task(row["doc"]), sent, url and readable_url(self._vault, url, team_id)
        )

    def _addressed(self, kind: str, facts: dict[str, Any], team_id: str) -> dict[str, Any]:
        if (url := facts["callback_url"]) is not None:
            facts["callback_url"] = readable_url(self._vault, url, team_id)
        return line(kind, facts)

    def _callback(self, facts: dict[str, Any], team_id: str) -> dict[str, Any]:
        facts["url"] = readable_url(self._vault, facts["url"], team_id)
        tries = [line("try", tried) for tried in _json(facts["tries"]) or ()]
        return line("callback", {**facts, "body": _json(facts["body"]), "tries": tries})


async def _rows(connection: Any, statement: str, team_id: str) -> AsyncGenerator[Any]:
    with away_as_unavailable():
        async for row in connection.cursor(statement, team_id, prefetch=ROWS, timeout=TIMEOUT_S):
            yield row


def _json(text: str | None) -> Any:
    return None if text is None else json.loads(text)
