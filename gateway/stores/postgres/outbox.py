"""Callbacks waiting to be sent, written by settlements (port `Outbox`), with a log of tries.

Those about a team (`alert_url`) are written whole, by a trigger of the ledger or with the pause of
a batch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any
from uuid import UUID, uuid5

import structlog

from gateway.app.ports import Clock
from gateway.app.ports.admin import Page
from gateway.domain.administration import COMMAND_LINE, Ask
from gateway.domain.callback import STATES, Callback, CallbackLog, TryResult
from gateway.domain.errors import NotFound, StoreUnavailable
from gateway.domain.money import MICRO_MAX
from gateway.stores.coalesce import Coalescer
from gateway.stores.postgres.batches import each_alone
from gateway.stores.postgres.changes import Changes
from gateway.stores.postgres.codec import plain
from gateway.stores.postgres.cursors import cursor_of, read_cursor
from gateway.stores.postgres.database import Database
from gateway.stores.postgres.urls import readable_url, receiver_hash
from gateway.stores.postgres.vault import Vault, WrongSecretKey

log = structlog.get_logger(__name__)

_NAMESPACE = UUID("0b6f5a0e-3f7c-5d1e-8c62-9a41d7e5b3f2")

# Leases due callbacks, oldest first, with their team's valid signing secrets, newest first. The
# lease runs on the database's clock, which all workers share.
CLAIM = """
WITH now AS MATERIALIZED (
    SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS ms
), due AS MATERIALIZED (
    SELECT c.id FROM callbacks c
    WHERE c.state = 'pending' AND c.next_at_ms <= $1 AND c.lease_until_ms <= (SELECT ms FROM now)
    ORDER BY c.next_at_ms LIMIT $2 FOR UPDATE SKIP LOCKED
), leased AS (
    UPDATE callbacks c SET lease_until_ms = (SELECT ms FROM now) + $3
    FROM due WHERE c.id = due.id
    RETURNING c.id, c.task_id, c.team_id, c.url, c.event, c.body, c.tries, c.next_at_ms
)
SELECT leased.*, ARRAY(
    SELECT s.sealed FROM webhook_secrets s
    WHERE s.team_id = leased.team_id AND (s.valid_until_ms IS NULL OR s.valid_until_ms > $1)
    ORDER BY s.created_ms DESC, s.id DESC
) AS sealed, t.callback_retries = 'days' AS patient
FROM leased JOIN teams t ON t.id = leased.team_id ORDER BY next_at_ms
"""

# Gives which of some teams' receivers are gone.
GONE = """
SELECT g.team_id, g.url_hash FROM unnest($1::text[], $2::bytea[]) AS r(team_id, url_hash)
CROSS JOIN LATERAL (
    SELECT team_id, url_hash FROM gone_receivers
    WHERE team_id = r.team_id AND url_hash = r.url_hash LIMIT 1
) g
"""

# Logs tries and says what follows; receivers that are gone are noted. A callback that another
# worker finished stays finished.
RECORD = """
WITH t AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::int[], $3::text[], $4::bigint[], $5::bigint[],
        $6::text[], $7::bigint[], $8::bool[], $9::bytea[])
        AS t(id, status, error, started_ms, duration_ms, state, next_at_ms, gone, url_hash)
), tried AS (
    INSERT INTO callback_tries (callback_id, status, error, started_ms, duration_ms)
    SELECT c.id, t.status, t.error, t.started_ms, t.duration_ms
    FROM t JOIN callbacks c ON c.id = t.id
), gone AS (
    INSERT INTO gone_receivers (team_id, url_hash, at_ms)
    SELECT DISTINCT ON (c.team_id, t.url_hash) c.team_id, t.url_hash, t.started_ms
    FROM t JOIN callbacks c ON c.id = t.id WHERE t.gone
    ON CONFLICT DO NOTHING
)
UPDATE callbacks c SET tries = c.tries + 1, state = t.state,
    next_at_ms = coalesce(t.next_at_ms, c.next_at_ms), lease_until_ms = 0
FROM t WHERE c.id = t.id AND c.state = 'pending'
"""

# Makes a callback due again from its first try, whatever became of it before.
REPLAY = """
UPDATE callbacks SET state = 'pending', tries = 0, next_at_ms = $2, lease_until_ms = 0
WHERE id = $1 RETURNING team_id, url
"""

# Makes a receiver one that is called again.
ASK_AGAIN = "DELETE FROM gone_receivers WHERE team_id = $1 AND url_hash = $2"

_LOG = """
SELECT id, task_id, team_id, url, event, state, created_ms, next_at_ms FROM callbacks
"""

# Gives the callbacks of a task.
OF_TASK = f"{_LOG} WHERE task_id = $1 ORDER BY id"

# Gives one callback.
ONE = f"{_LOG} WHERE id = $1"

# Gives a page of callbacks, newest first, after a (created_ms, id).
PAGE = f"""
{_LOG} WHERE (created_ms, id) < ($1, $2) AND ($3::text IS NULL OR team_id = $3)
ORDER BY created_ms DESC, id DESC LIMIT $4
"""

# The same of one state, written out so that the index of dead letters serves.
PAGE_OF_STATE = {
    state: f"""
{_LOG} WHERE (created_ms, id) < ($1, $2) AND ($3::text IS NULL OR team_id = $3)
AND state = '{state}' ORDER BY created_ms DESC, id DESC LIMIT $4
"""
    for state in STATES
}

# Gives the log of tries of some callbacks, oldest first.
TRIES = """
SELECT callback_id, status, error, started_ms, duration_ms FROM callback_tries
WHERE callback_id = ANY($1::text[]) ORDER BY id
"""

# Counts callbacks that are waiting or were given up.
COUNTS = "SELECT state, count(*) FROM callbacks WHERE state <> 'delivered' GROUP BY state"


_Record = tuple[str, int | None, str | None, int, int, str, int | None, bool, bytes]


def _id(record: _Record) -> str:
    """Give the callback of a try; two tries of one are never recorded by one statement."""
    return record[0]


def callback_id(task_id: str) -> str:
    """Give the ``webhook-id`` of a task's callback: always the same, and without a dot."""
    return f"msg_{uuid5(_NAMESPACE, task_id).hex}"


class PostgresOutbox:
    """The outbox in PostgreSQL."""

    def __init__(self, database: Database, clock: Clock, vault: Vault) -> None:
        """Take the pool, the clock that says what is due, and what opens what is sealed."""
        self._db = database
        self._clock = clock
        self._vault = vault
        self._changes = Changes(database, clock, vault)
        self._records: Coalescer[_Record, None] = Coalescer(
            self._record_batch, closed=StoreUnavailable, key=_id
        )

    async def claim(self, limit: int, lease_ms: int) -> Sequence[Callback]:
        """Take due callbacks for ``lease_ms``; another worker will not get them meanwhile."""
        rows = await self._db.write(CLAIM, self._clock.now_ms(), limit, lease_ms)
        urls = {row["id"]: readable_url(self._vault, row["url"], row["team_id"]) for row in rows}
        receivers = {row["id"]: (row["team_id"], receiver_hash(urls[row["id"]])) for row in rows}
        gone = await self._gone(receivers.values())
        return [
            Callback(
                id=row["id"],
                task_id=row["task_id"],
                team_id=row["team_id"],
                url=urls[row["id"]],
                event=row["event"],
                tries=row["tries"],
                secrets=tuple(self._secrets(row)),
                patient=row["patient"],
                gone=receivers[row["id"]] in gone,
                body=row["body"],
            )
            for row in rows
        ]

    async def _gone(self, receivers: Iterable[tuple[str, bytes]]) -> Collection[tuple[str, bytes]]:
        """Give those that are gone, of (team id, hash of the address)."""
        if not (asked := list(set(receivers))):
            return ()
        rows = await self._db.read(GONE, *map(list, zip(*asked, strict=True)))
        return {(row["team_id"], row["url_hash"]) for row in rows}

    def _secrets(self, row: Any) -> Iterable[str]:
        """Give a team's secrets; one that cannot be opened costs no other callback its try."""
        for sealed in row["sealed"]:
            try:
                yield self._vault.open(sealed, row["team_id"])
            except WrongSecretKey:
                log.exception("secret_unopenable", team_id=row["team_id"])

    async def record(self, callback: Callback, result: TryResult, next_at_ms: int | None) -> None:
        """Log a try; delivered, or due again at ``next_at_ms``, or dead when that is None.

        Concurrent calls share a statement.
        """
        state = "delivered" if result.delivered else "dead" if next_at_ms is None else "pending"
        await self._records.submit(
            (
                callback.id,
                result.status,
                None if result.error is None else plain(result.error),
                result.started_ms,
                result.duration_ms,
                state,
                next_at_ms,
                result.gone,
                receiver_hash(callback.url),
            )
        )

    async def _record_batch(self, batch: list[_Record]) -> Sequence[Exception | None]:
        async def run(part: list[_Record]) -> Sequence[Exception | None]:
            await self._db.write(RECORD, *map(list, zip(*sorted(part, key=_id), strict=True)))
            return [None] * len(part)

        return await each_alone(run, batch)

    async def replay(self, callback_id: str, ask: Ask = COMMAND_LINE) -> None:
        """Send a callback again, with its usual retries and the same id. Raises NotFound."""
        async with self._changes.begin(ask) as change:
            rows = await change.connection.fetch(REPLAY, plain(callback_id), change.at_ms)
            if not rows:
                raise NotFound(f"There is no callback {callback_id[:80]!r}.")
            team_id = rows[0]["team_id"]
            url = readable_url(self._vault, rows[0]["url"], team_id)
            await change.connection.execute(ASK_AGAIN, team_id, receiver_hash(url))
            await change.record("callback.replay", callback_id)

    async def of_task(self, task_id: str) -> tuple[CallbackLog, ...]:
        """Give a task's callbacks with every try."""
        return await self._with_tries(await self._db.read(OF_TASK, plain(task_id)))

    async def callback(self, callback_id: str) -> CallbackLog:
        """Give one callback with every try. Raises NotFound."""
        found = await self._with_tries(await self._db.read(ONE, plain(callback_id)))
        if not found:
            raise NotFound(f"There is no callback {callback_id[:80]!r}.")
        return found[0]

    async def callback_page(
        self, limit: int, cursor: str | None, *, state: str | None, team_id: str | None
    ) -> Page[CallbackLog]:
        """Give a page of callbacks, newest first, of a state and a team where they are given.

        Raises InvalidRequest for a cursor that is none of ours.
        """
        after = read_cursor(cursor) if cursor else (MICRO_MAX, "")
        statement = PAGE if state is None else PAGE_OF_STATE[state]
        rows = await self._db.read(statement, *after, team_id and plain(team_id), limit + 1)
        found = await self._with_tries(rows[:limit])
        return Page(found, cursor_of(found[-1]) if len(rows) > limit else None)

    async def _with_tries(self, rows: Sequence[Any]) -> tuple[CallbackLog, ...]:
        tries: dict[str, list[TryResult]] = {row["id"]: [] for row in rows}
        for row in await self._db.read(TRIES, list(tries)) if tries else ():
            facts = dict(row)
            tries[facts.pop("callback_id")].append(TryResult(**facts))
        return tuple(self._logged(dict(row), tries[row["id"]]) for row in rows)

    def _logged(self, facts: dict[str, Any], tries: Sequence[TryResult]) -> CallbackLog:
        facts["url"] = readable_url(self._vault, facts["url"], facts["team_id"])
        return CallbackLog(**facts, tries=tuple(tries))

    async def counts(self) -> dict[str, int]:
        """Give how many callbacks are ``pending`` and how many ``dead``, for metrics."""
        found = {row["state"]: row["count"] for row in await self._db.read(COUNTS)}
        return {state: found.get(state, 0) for state in ("pending", "dead")}
