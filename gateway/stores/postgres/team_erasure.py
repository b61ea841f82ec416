"""Empties a team's rows of all but what the books need (port `TeamErasure`)."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.app.ports import Clock
from gateway.app.ports.admin import EndedTasks
from gateway.app.team_data import assets_of, blanked
from gateway.domain.administration import Ask
from gateway.domain.errors import InUse, InvalidRequest, NotFound, Problem
from gateway.stores.postgres.changes import Changes
from gateway.stores.postgres.codec import decode_task, encode, plain
from gateway.stores.postgres.database import Database
from gateway.stores.postgres.names import erased_name
from gateway.stores.postgres.vault import Vault

LOCK = "SELECT id, name FROM teams WHERE id = $1 FOR UPDATE"

# Counts a team's tasks that are under way. The inner query is kept apart: unfinished tasks are
# few, a team's tasks are not.
RUNNING = """
SELECT count(*) AS tasks FROM (
    SELECT team_id FROM tasks WHERE status IN ('pending', 'processing') OFFSET 0
) t WHERE t.team_id = $1
"""

# Counts batches of a team that are not paused and go on.
BATCHES = "SELECT count(*) FROM batches WHERE team_id = $1 AND status IN ('running', 'cancelling')"

# What the audit log says of a team or a key that is theirs to have erased.
_SAID = {
    "{name}": '"erased"',
    "{user_group}": '"erased"',
    "{alert_url}": "null",
    "{rules,networks}": "null",
}


def _without(column: str) -> str:
    for path, value in _SAID.items():
        column = f"jsonb_set({column}, '{path}', '{value}', false)"
    return column


# Takes name, group, address and keys from a team ($2: its name from now on, $3: when), in order.
REDACT = f"""
UPDATE audit SET before = {_without("before")}, after = {_without("after")}
WHERE subject = ANY(array_append(ARRAY(SELECT id FROM api_keys WHERE team_id = $1), $1::text))
"""
END_KEYS = """
UPDATE api_keys SET name = '', networks = NULL, version = version + 1,
    revoked_ms = coalesce(revoked_ms, $2)
WHERE team_id = $1
"""
RENAME = """
UPDATE teams SET name = $2, user_group = 'default', alert_url = NULL, version = version + 1,
    suspended_ms = coalesce(suspended_ms, $3)
WHERE id = $1
"""

COUNT = "SELECT count(*) AS tasks FROM usage WHERE team_id = $1"

# Gives ended tasks after a (finished_ms, id): usage knows those that were forgotten too.
PAGE = """
SELECT task_id, finished_ms FROM usage WHERE team_id = $1 AND (finished_ms, task_id) > ($2, $3)
ORDER BY finished_ms, task_id LIMIT $4
"""
DOCS = "SELECT doc FROM tasks WHERE id = ANY($1::text[])"

LOCK_TASKS = """
SELECT id, doc, octet_length(request) > 0 AS has_request FROM tasks
WHERE id = ANY($1::text[]) AND finished_ms IS NOT NULL ORDER BY id FOR UPDATE
"""
EMPTY_TASK = "UPDATE tasks SET doc = $2, request = '', callback_url = NULL WHERE id = $1"
OF_TASKS = (
    "UPDATE attempts SET reason = NULL WHERE task_id = ANY($1::text[]) AND reason IS NOT NULL",
    "DELETE FROM callbacks WHERE task_id = ANY($1::text[])",
    "DELETE FROM sdk_calls WHERE task_id = ANY($1::text[])",
)
OF_TEAM = (
    "DELETE FROM batches WHERE team_id = $1",
    "DELETE FROM batch_leases WHERE team_id = $1",
    "DELETE FROM callbacks WHERE task_id IS NULL AND team_id = $1",
    "DELETE FROM gone_receivers WHERE team_id = $1",
    "DELETE FROM idempotency_keys WHERE team_id = $1",
)


class PostgresErasure:
    """Empties a team in PostgreSQL, a page of tasks to a transaction."""

    def __init__(self, database: Database, clock: Clock, vault: Vault) -> None:
        """Take the pool, the clock that dates what ends, and what the audit log needs."""
        self._db = database
        self._changes = Changes(database, clock, vault)

    async def close(self, team_id: str, name: str, ask: Ask) -> bool:
        """Take the team's name, end its keys; False when that was done before.

        Raises NotFound; InvalidRequest for another name; InUse while tasks are under way.
        """
        async with self._changes.begin(ask) as change:
            row = await change.connection.fetchrow(LOCK, plain(team_id))
            if row is None:
                raise NotFound(f"There is no team {team_id[:80]!r}.")
            marker = erased_name(team_id)
            if row["name"] == marker:
                return False
            if row["name"] != name:
                message = "name is not the name of this team."
                raise InvalidRequest(Problem("name", message, legal=row["name"]))
            running = await change.connection.fetchval(RUNNING, team_id)
            if running:
                raise InUse(f"{running} tasks are under way; let them end, or cancel them, first.")
            if batches := await change.connection.fetchval(BATCHES, team_id):
                raise InUse(
                    f"{batches} batches are under way; let them end, or cancel them, first."
                )
            await change.connection.execute(REDACT, team_id)
            await change.connection.execute(END_KEYS, team_id, change.at_ms)
            await change.connection.execute(RENAME, team_id, marker, change.at_ms)
            await change.record("team.erase", team_id, after={"name": marker})
        return True

    async def count(self, team_id: str) -> int:
        """Give how many tasks of the team have ended."""
        tasks: int = (await self._db.read(COUNT, team_id))[0]["tasks"]
        return tasks

    async def page(self, team_id: str, after: tuple[int, str], limit: int) -> EndedTasks | None:
        """Give the next ended tasks, None after the last."""
        rows = await self._db.read(PAGE, team_id, *after, limit)
        if not rows:
            return None
        ids = tuple(row["task_id"] for row in rows)
        docs = await self._db.read(DOCS, list(ids))
        assets = tuple(one for row in docs for one in assets_of(decode_task(row["doc"])))
        return EndedTasks(ids, assets, (rows[-1]["finished_ms"], ids[-1]))

    async def empty(self, task_ids: Sequence[str]) -> int:
        """Empty ended tasks and drop their callbacks; gives how many were not empty yet."""
        async with self._db.transaction() as connection:
            emptied = []
            for row in await connection.fetch(LOCK_TASKS, list(task_ids)):
                task = decode_task(row["doc"])
                if row["has_request"] or blanked(task) != task:
                    emptied.append((row["id"], encode(blanked(task))))
            await connection.executemany(EMPTY_TASK, emptied)
            for statement in OF_TASKS:
                await connection.execute(statement, list(task_ids))
        return len(emptied)

    async def running(self, team_id: str) -> int:
        """Give how many tasks are under way."""
        tasks: int = (await self._db.read(RUNNING, team_id))[0]["tasks"]
        return tasks

    async def finish(self, team_id: str, tasks: int, pictures: int, ask: Ask) -> None:
        """Drop what belongs to no task; write the audit row of what was emptied, if anything."""
        async with self._changes.begin(ask) as change:
            for statement in OF_TEAM:
                await change.connection.execute(statement, team_id)
            if tasks or pictures:
                facts = {"tasks": tasks, "pictures": pictures}
                await change.record("team.erased", team_id, after=facts)
