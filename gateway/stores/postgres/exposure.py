"""What may have been billed and is not resolved yet (port `Exposures`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from gateway.app.ports import Claims, Clock
from gateway.app.ports.admin import Page
from gateway.domain.administration import Ask
from gateway.domain.errors import InUse, NotFound
from gateway.domain.exposure import Exposure, resolved, with_attempt
from gateway.domain.lost import LostSubmit
from gateway.domain.money import MICRO_MAX, MicroUsd, format_micro
from gateway.domain.task import Attempt, Outcome
from gateway.stores.postgres.changes import Changes
from gateway.stores.postgres.codec import decode_task, encode, plain
from gateway.stores.postgres.cursors import cursor_of, read_cursor
from gateway.stores.postgres.database import Database
from gateway.stores.postgres.vault import Vault

# A task that was forgotten has its usage row, but no document any more.
_EXPOSED = """
SELECT a.id, a.task_id, u.team_id, a.upstream, a.upstream_model, a.upstream_task_id, a.outcome,
    a.reason, a.started_ms, a.finished_ms, a.exposure, a.adapter, t.doc
FROM attempts a JOIN usage u ON u.task_id = a.task_id LEFT JOIN tasks t ON t.id = a.task_id
WHERE a.exposure > 0
"""

# Gives a page of open exposures of ended tasks, newest first, after a (started_ms, id).
PAGE = f"""
{_EXPOSED} AND (a.started_ms, a.id) < ($1, $2) AND ($3::text IS NULL OR a.upstream = $3)
ORDER BY a.started_ms DESC, a.id DESC LIMIT $4
"""

# Gives those whose vendor can be asked by a task id, begun after a time.
ASKABLE = f"""
{_EXPOSED} AND a.started_ms > $1 AND a.upstream_task_id IS NOT NULL
ORDER BY a.started_ms DESC, a.id DESC LIMIT $2
"""

# Gives those at some upstreams that have no task id, begun after a time and given up before one.
UNNAMED = f"""
{_EXPOSED} AND a.upstream_task_id IS NULL AND a.started_ms > $1
    AND coalesce(a.finished_ms, a.started_ms) < $2 AND a.upstream = ANY($4::text[])
ORDER BY a.started_ms DESC, a.id DESC LIMIT $3
"""

# Gives the attempts begun in a time that are known by one of these ids, or have none and may have
# made a job: what was refused or not sent has made none, nor what was resolved as free.
CLAIMS = """
SELECT id, upstream_model, upstream_task_id, started_ms, finished_ms FROM attempts
WHERE started_ms BETWEEN $1 AND $2 AND (
    upstream_task_id = ANY($3::text[])
    OR upstream_task_id IS NULL AND adapter = $4 AND outcome NOT IN ('not_sent', 'refused')
    AND resolution IS DISTINCT FROM 'free'
)
"""

BIND = "UPDATE attempts SET upstream_task_id = $2 WHERE id = $1"

# Gives an attempt and its ended task, locked; the usage row says that the task has ended.
_ATTEMPT = ", ".join(f"a.{field.name}" for field in fields(Attempt))
LOCK = f"""
SELECT {_ATTEMPT}, a.task_id, u.task_id IS NOT NULL AS has_ended
FROM attempts a LEFT JOIN usage u ON u.task_id = a.task_id WHERE a.id = $1 FOR UPDATE OF a
"""
LOCK_TASK = "SELECT doc FROM tasks WHERE id = $1 FOR UPDATE"
WRITE_TASK = "UPDATE tasks SET doc = $2 WHERE id = $1"

# Writes what an exposure came to: on the attempt, on the task's usage row, and in the usage of its
# day. The task's document is written beside it.
RESOLVE = (
    "UPDATE attempts SET cost = $2, exposure = 0, resolution = $3 WHERE id = $1",
    "UPDATE usage SET cost = cost + $2, exposure = exposure - $3 WHERE task_id = $1",
    """
    UPDATE usage_days d SET cost = d.cost + $2, exposure = d.exposure - $3,
        waste = d.waste + CASE WHEN $5 THEN $2 ELSE 0 END
    FROM usage u WHERE u.task_id = $1 AND d.upstream = $4
        AND d.day_ms = u.finished_ms - u.finished_ms % 86400000
        AND (d.team_id, d.key_id, d.model, d.status) = (u.team_id, u.key_id, u.model, u.status)
        AND d.latency = latency_class(u.status, u.created_ms, u.finished_ms)
    """,
)

# Gives how much is open, in micro-USD, and in how many attempts.
OPEN = """
SELECT count(*) AS attempts, coalesce(sum(exposure), 0)::bigint AS exposure
FROM attempts WHERE exposure > 0
"""


class PostgresExposures:
    """Open exposures in PostgreSQL; every resolution leaves its row in the audit log."""

    def __init__(self, database: Database, clock: Clock, vault: Vault) -> None:
        """Take the pool, the clock that dates changes, and what seals kept secrets."""
        self._db = database
        self._changes = Changes(database, clock, vault)

    async def exposure_page(
        self, limit: int, cursor: str | None, upstream: str | None = None
    ) -> Page[Exposure]:
        """Give a page, newest first. Raises InvalidRequest for a cursor that is none of ours."""
        after = read_cursor(cursor) if cursor else (MICRO_MAX, "")
        rows = await self._db.read(PAGE, *after, upstream and plain(upstream), limit + 1)
        found = tuple(_exposure(row) for row in rows[:limit])
        return Page(found, cursor_of(found[-1]) if len(rows) > limit else None)

    async def askable(self, since_ms: int, limit: int) -> Sequence[Exposure]:
        """Give those begun since then whose vendor named its task, newest first."""
        return [_exposure(row) for row in await self._db.read(ASKABLE, since_ms, limit)]

    async def unnamed(
        self, upstreams: Sequence[str], since_ms: int, until_ms: int, limit: int
    ) -> Sequence[Exposure]:
        """Give those begun since then and lost until then at these upstreams, whose vendor named
        no task, newest first.
        """
        rows = await self._db.read(UNNAMED, since_ms, until_ms, limit, list(upstreams))
        return [_exposure(row) for row in rows]

    async def claims(
        self, adapter: str, job_ids: Sequence[str], since_ms: int, until_ms: int
    ) -> Claims:
        """Give what attempts begun in a time know, those of all upstreams with this adapter."""
        rows = await self._db.read(CLAIMS, since_ms, until_ms, list(job_ids), adapter)
        known = frozenset(row["upstream_task_id"] for row in rows if row["upstream_task_id"])
        return Claims(known, tuple(_lost(row) for row in rows if not row["upstream_task_id"]))

    async def bind(self, attempt_id: str, upstream_task_id: str, ask: Ask) -> bool:
        """Write down under which id the vendor has the job of an exposed attempt without one."""
        async with self._changes.begin(ask) as change:
            row = await change.connection.fetchrow(LOCK, plain(attempt_id))
            if row is None or not (row["has_ended"] and row["exposure"]) or row["upstream_task_id"]:
                return False
            await change.connection.execute(BIND, attempt_id, plain(upstream_task_id))
            after = replace(_attempt(row), upstream_task_id=upstream_task_id)
            await _write_document(change.connection, row["task_id"], after)
            facts = {"upstream_task_id": upstream_task_id}
            await change.record("exposure.bind", attempt_id, after=facts)
        return True

    async def resolve(self, attempt_id: str, cost: MicroUsd | None, ask: Ask) -> Attempt:
        """Book what an exposure came to: this cost, the whole of it (None), or nothing (0).

        The team's charge does not change. Raises NotFound, InUse while its task is under way,
        and InvalidRequest for a cost beyond what was booked. An exposure that is resolved
        already stays as it is, and is given.
        """
        async with self._changes.begin(ask) as change:
            row = await change.connection.fetchrow(LOCK, plain(attempt_id))
            if row is None:
                raise NotFound(f"There is no attempt {attempt_id[:80]!r}.")
            if not row["has_ended"]:
                raise InUse("The task of this attempt is still under way; it may settle it itself.")
            before = _attempt(row)
            if not before.exposure:
                return before
            after = resolved(before, before.exposure if cost is None else cost)
            await _write(change.connection, row["task_id"], before, after)
            facts = {"cost_usd": format_micro(after.cost), "resolution": after.resolution}
            was = {"exposure_usd": format_micro(before.exposure)}
            await change.record("exposure.resolve", attempt_id, before=was, after=facts)
        return after

    async def open_exposure(self) -> tuple[int, MicroUsd]:
        """Give in how many attempts how much is open, for metrics."""
        (row,) = await self._db.read(OPEN)
        return row["attempts"], row["exposure"]


async def _write(connection: Any, task_id: str, before: Attempt, after: Attempt) -> None:
    on_attempt, on_usage, on_day = RESOLVE
    await connection.execute(on_attempt, after.id, after.cost, after.resolution)
    await connection.execute(on_usage, task_id, after.cost, before.exposure)
    await _write_document(connection, task_id, after)
    amounts = (after.cost, before.exposure)
    await connection.execute(on_day, task_id, *amounts, after.upstream, after.delivered == 0)


async def _write_document(connection: Any, task_id: str, after: Attempt) -> None:
    stored = await connection.fetchrow(LOCK_TASK, task_id)
    if stored is not None:
        task = with_attempt(decode_task(stored["doc"]), after)
        await connection.execute(WRITE_TASK, task_id, encode(task))


def _lost(row: Any) -> LostSubmit:
    return LostSubmit(row["id"], row["upstream_model"], row["started_ms"], row["finished_ms"])


def _exposure(row: Any) -> Exposure:
    facts = dict(row)
    doc = facts.pop("doc")
    return Exposure(**facts, n=1 if doc is None else decode_task(doc).n)


def _attempt(row: Any) -> Attempt:
    facts = {field.name: row[field.name] for field in fields(Attempt)}
    # What is folded into a resolution are amounts alone; the enums stay the task's business.
    return Attempt(**{**facts, "outcome": Outcome(facts["outcome"])})
