"""Callbacks waiting to be sent, written by settlements (port `Outbox`), with a log of tries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID, uuid5

from gateway.app.ports import Clock
from gateway.domain.callback import Callback, TryResult
from gateway.domain.errors import NotFound
from gateway.stores.postgres.codec import plain
from gateway.stores.postgres.database import Database
from gateway.stores.postgres.vault import Vault

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
    RETURNING c.id, c.task_id, c.team_id, c.url, c.event, c.tries, c.next_at_ms
)
SELECT leased.*, ARRAY(
    SELECT s.sealed FROM webhook_secrets s
    WHERE s.team_id = leased.team_id AND (s.valid_until_ms IS NULL OR s.valid_until_ms > $1)
    ORDER BY s.created_ms DESC, s.id DESC
) AS sealed
FROM leased ORDER BY next_at_ms
"""

# Logs a try and says what follows; a callback that another worker finished stays finished.
RECORD = """
WITH tried AS (
    INSERT INTO callback_tries (callback_id, status, error, started_ms, duration_ms)
    SELECT id, $2, $3, $4, $5 FROM callbacks WHERE id = $1
)
UPDATE callbacks SET tries = tries + 1, state = $6, next_at_ms = coalesce($7, next_at_ms),
    lease_until_ms = 0
WHERE id = $1 AND state = 'pending'
"""

# Makes a callback due again from its first try, whatever became of it before.
REPLAY = """
UPDATE callbacks SET state = 'pending', tries = 0, next_at_ms = $2, lease_until_ms = 0
WHERE id = $1 RETURNING id
"""

# Gives the callbacks of a task.
OF_TASK = """
SELECT id, url, event, state, tries, next_at_ms FROM callbacks WHERE task_id = $1 ORDER BY id
"""

# Gives the log of tries of a task's callbacks, oldest first.
TRIES_OF_TASK = """
SELECT t.callback_id, t.status, t.error, t.started_ms, t.duration_ms
FROM callback_tries t JOIN callbacks c ON c.id = t.callback_id
WHERE c.task_id = $1 ORDER BY t.id
"""

# Counts callbacks that are waiting or were given up.
COUNTS = "SELECT state, count(*) FROM callbacks WHERE state <> 'delivered' GROUP BY state"


@dataclass(frozen=True, slots=True)
class CallbackLog:
    """A callback and everything that was tried; ``next_at_ms`` counts while it is pending."""

    id: str
    url: str
    event: str
    state: str
    next_at_ms: int
    tries: tuple[TryResult, ...]


def callback_id(task_id: str) -> str:
    """Give the ``webhook-id`` of a task's callback: always the same, and without a dot."""
    return f"msg_{uuid5(_NAMESPACE, task_id).hex}"


class PostgresOutbox:
    """The outbox in PostgreSQL."""

    def __init__(self, database: Database, clock: Clock, vault: Vault) -> None:
        """Take the pool, the clock that says what is due, and what opens signing secrets."""
        self._db = database
        self._clock = clock
        self._vault = vault

    async def claim(self, limit: int, lease_ms: int) -> Sequence[Callback]:
        """Take due callbacks for ``lease_ms``; another worker will not get them meanwhile."""
        rows = await self._db.write(CLAIM, self._clock.now_ms(), limit, lease_ms)
        return [
            Callback(
                id=row["id"],
                task_id=row["task_id"],
                team_id=row["team_id"],
                url=row["url"],
                event=row["event"],
                tries=row["tries"],
                secrets=tuple(self._vault.open(s, row["team_id"]) for s in row["sealed"]),
            )
            for row in rows
        ]

    async def record(self, callback: Callback, result: TryResult, next_at_ms: int | None) -> None:
        """Log a try; delivered, or due again at ``next_at_ms``, or dead when that is None."""
        state = "delivered" if result.delivered else "dead" if next_at_ms is None else "pending"
        error = None if result.error is None else plain(result.error)
        await self._db.write(
            RECORD,
            callback.id,
            result.status,
            error,
            result.started_ms,
            result.duration_ms,
            state,
            next_at_ms,
        )

    async def replay(self, callback_id: str) -> None:
        """Send a callback again, with its usual retries and the same id. Raises NotFound."""
        rows = await self._db.write(REPLAY, plain(callback_id), self._clock.now_ms())
        if not rows:
            raise NotFound(f"There is no callback {callback_id!r}.")

    async def of_task(self, task_id: str) -> tuple[CallbackLog, ...]:
        """Give a task's callbacks with every try."""
        rows = await self._db.read(OF_TASK, plain(task_id))
        tries = await self._db.read(TRIES_OF_TASK, plain(task_id)) if rows else []
        return tuple(
            CallbackLog(
                id=row["id"],
                url=row["url"],
                event=row["event"],
                state=row["state"],
                next_at_ms=row["next_at_ms"],
                tries=tuple(
                    TryResult(t["status"], t["error"], t["started_ms"], t["duration_ms"])
                    for t in tries
                    if t["callback_id"] == row["id"]
                ),
            )
            for row in rows
        )

    async def counts(self) -> dict[str, int]:
        """Give how many callbacks are ``pending`` and how many ``dead``, for metrics."""
        found = {row["state"]: row["count"] for row in await self._db.read(COUNTS)}
        return {state: found.get(state, 0) for state in ("pending", "dead")}
