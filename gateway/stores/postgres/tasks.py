"""Durable tasks, and the money that moves with them, in coalesced batches (port `TaskStore`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from gateway.app.ports import NewTask, Settlement, TaskFilter, TaskPage
from gateway.domain.errors import StaleFence, StoreUnavailable, TaskNotFound
from gateway.domain.ledger import TransferKind, resolution_id, transfer_id
from gateway.domain.machine import apply
from gateway.domain.money import MICRO_MAX
from gateway.domain.records import changed
from gateway.domain.request import GenerationRequest
from gateway.domain.steps import Settled
from gateway.domain.task import Attempt, Outcome, Task
from gateway.stores.coalesce import Coalescer
from gateway.stores.postgres import task_sql as sql
from gateway.stores.postgres.accepting import Accepting, EncodedTask, encoded
from gateway.stores.postgres.batches import each_alone
from gateway.stores.postgres.codec import (
    advanced,
    attempt_rows,
    decode_request,
    decode_task,
    plain,
)
from gateway.stores.postgres.cursors import cursor_of, read_cursor
from gateway.stores.postgres.database import Database
from gateway.stores.postgres.outbox import callback_id
from gateway.stores.postgres.vault import Vault

# A request may hold tens of MiB of pictures: no more of them at once than connections could read.
REQUESTS_MAX = 5


@dataclass(frozen=True, slots=True)
class _Write:
    """A changed task: ``written`` carries the fence it will have, ``doc`` is its encoding."""

    fence: int
    written: Task
    doc: bytes
    attempts: tuple[Attempt, ...]


class PostgresTasks:
    """Tasks in PostgreSQL. Concurrent writes of one process share transactions."""

    def __init__(self, database: Database, vault: Vault) -> None:
        """Take the pool, which must be connected before the first call, and what seals."""
        self._db = database
        self._vault = vault
        self._accepts: Coalescer[EncodedTask, None] = Coalescer(
            Accepting(database).accept,
            closed=StoreUnavailable,
            key=lambda new: new.task.id,
            weigh=lambda new: len(new.request),
        )
        self._saves: Coalescer[_Write, Task] = Coalescer(
            self._save_batch,
            closed=StoreUnavailable,
            key=lambda write: write.written.id,
            weigh=_weight,
        )
        self._settles: Coalescer[_Write, Task] = Coalescer(
            self._settle_batch,
            closed=StoreUnavailable,
            key=lambda write: write.written.id,
            weigh=_weight,
        )
        self._gets: Coalescer[str, bytes | None] = Coalescer(
            partial(self._column, sql.GET, "doc"), closed=StoreUnavailable
        )
        self._requests: Coalescer[str, bytes | None] = Coalescer(
            partial(self._column, sql.REQUESTS, "request"),
            closed=StoreUnavailable,
            size_max=REQUESTS_MAX,
        )

    async def close(self) -> None:
        """Finish what is under way; later calls for one task raise StoreUnavailable."""
        for writes in (self._accepts, self._saves, self._settles):
            await writes.close()
        for reads in (self._gets, self._requests):
            await reads.close()

    # --- accept ----------------------------------------------------------------------------

    async def accept(self, new: NewTask) -> None:
        """Hold the credits and insert the task, in one transaction shared by concurrent calls.

        Raises InsufficientCredits, RateLimited, TaskIdTaken and RepeatedCall: then nothing was
        written. StoreUnavailable means the same, unless it is a ConnectionLost.
        """
        await self._accepts.submit(encoded(new, self._vault))

    # --- save and settle -------------------------------------------------------------------

    async def save(self, task: Task, attempt: Attempt | None) -> Task:
        """Write the task and its changed attempt durably; gives the task with its new fence.

        ``task.fence`` is the fence it was loaded with. Raises StaleFence when another worker
        moved it on or it is already terminal.
        """
        if task.status.is_terminal:
            raise ValueError("only a settlement makes a task terminal")
        written, doc = advanced(task)
        attempts = (attempt,) if attempt else ()
        return await self._saves.submit(_Write(task.fence, written, doc, attempts))

    async def _save_batch(self, batch: list[_Write]) -> Sequence[Task | Exception]:
        return await self._write_batch(sql.SAVE, _save_columns, batch)

    async def settle(self, settlement: Settlement) -> Task:
        """Resolve the hold, end the task, write usage and callback rows: one transaction.

        Gives the terminal task. Raises StaleFence when it was settled already, ValueError when
        more than the hold would be captured.
        """
        if not 0 <= settlement.charged <= settlement.task.hold:
            raise ValueError(f"cannot capture {settlement.charged} of {settlement.task.hold}")
        task = changed(settlement.task, ending=settlement.ending)
        ended = apply(task, Settled(settlement.charged, settlement.at_ms))
        written, doc = advanced(ended)
        return await self._settles.submit(_Write(task.fence, written, doc, task.attempts))

    async def _settle_batch(self, batch: list[_Write]) -> Sequence[Task | Exception]:
        return await self._write_batch(sql.SETTLE, _settle_columns, batch)

    async def _write_batch(
        self,
        statement: str,
        columns: Callable[[list[_Write]], tuple[object, ...]],
        batch: list[_Write],
    ) -> Sequence[Task | Exception]:
        """Run a fenced statement; the losers of the comparison get StaleFence, alone."""

        async def run(part: list[_Write], *, again: bool) -> list[Task | Exception]:
            # The statement locks tasks in the order given: the same in every process.
            items = sorted(part, key=lambda write: write.written.id)
            rows = await self._db.write(statement, *columns(items), _attempts_of(items), hot=True)
            won = {row["id"] for row in rows}
            if again:
                won |= await self._landed([w for w in part if w.written.id not in won])
            return [w.written if w.written.id in won else _stale(w) for w in part]

        return await self._db.certain(
            lambda again: each_alone(lambda part: run(part, again=again), batch)
        )

    async def _landed(self, writes: list[_Write]) -> set[str]:
        """Give the ids of writes that are stored already, exactly as they were sent."""
        rows = await self._db.read(sql.STORED, [write.written.id for write in writes])
        stored = {row["id"]: (row["fence"], row["doc"]) for row in rows}
        return {
            write.written.id
            for write in writes
            if stored.get(write.written.id) == (write.written.fence, write.doc)
        }

    # --- reading ---------------------------------------------------------------------------

    async def get(self, task_id: str) -> Task | None:
        """Give a task as last written here."""
        doc = await self._gets.submit(plain(task_id))
        return None if doc is None else decode_task(doc)

    async def request_of(self, task_id: str) -> GenerationRequest:
        """Give the stored request of a task. Raises TaskNotFound."""
        request = await self._requests.submit(task_id)
        if request is None:
            raise TaskNotFound(f"There is no task {task_id!r}.")
        return decode_request(request)

    async def _column(
        self, statement: str, column: str, ids: list[str]
    ) -> Sequence[bytes | Exception | None]:
        """Give a column of each task in one statement, None where there is no such task."""
        found = {row["id"]: row[column] for row in await self._db.read(statement, ids, hot=True)}
        return [found.get(task_id) for task_id in ids]

    async def page(
        self,
        team_id: str,
        where: TaskFilter,
        limit: int,
        cursor: str | None,
        offset: int | None = None,
    ) -> TaskPage:
        """List a team's tasks, newest first, times of the filter inclusive.

        With ``offset`` (0 included) the total is counted too, for page-numbered dialects.
        Raises InvalidRequest for a cursor that is none of ours.
        """
        filters = (
            team_id,
            _plain(where.status),
            _plain(where.model),
            0 if where.since_ms is None else where.since_ms,
            MICRO_MAX if where.until_ms is None else where.until_ms,
            _plain(where.task_id),
        )
        after = read_cursor(cursor) if cursor else (MICRO_MAX, "")
        rows = await self._db.read(sql.PAGE, *filters, *after, offset or 0, limit + 1)
        total = None
        if offset is not None:
            total = (await self._db.read(sql.COUNT, *filters))[0]["count"]
        tasks = tuple(decode_task(row["doc"]) for row in rows[:limit])
        more = len(rows) > limit and tasks
        return TaskPage(tasks, cursor_of(tasks[-1]) if more else None, total)

    async def unfinished(self, after_id: str, limit: int) -> Sequence[str]:
        """Give ids of non-terminal tasks greater than ``after_id``, in their order."""
        rows = await self._db.read(sql.UNFINISHED, after_id, limit)
        return [row["id"] for row in rows]

    async def several(self, task_ids: Sequence[str]) -> Sequence[Task]:
        """Give those of some tasks that are there, in no order."""
        rows = await self._db.read(sql.GET, task_ids)
        return [decode_task(row["doc"]) for row in rows]

    async def forget(self, before_ms: int, limit: int) -> int:
        """Delete at most ``limit`` tasks that ended before a time; gives how many.

        Their callbacks go too; ledger, usage and attempts stay for ever.
        """
        return len(await self._db.write(sql.FORGET, before_ms, limit))

    async def strip(self, before_ms: int, limit: int) -> int:
        """Empty the requests of at most ``limit`` tasks that ended before a time; gives how many.

        Only unfinished tasks are read by their request.
        """
        return len(await self._db.write(sql.STRIP, before_ms, limit))


def _save_columns(batch: list[_Write]) -> tuple[object, ...]:
    return (
        [write.written.id for write in batch],
        [write.fence for write in batch],
        [write.written.status.value for write in batch],
        [write.doc for write in batch],
    )


def _settle_columns(batch: list[_Write]) -> tuple[object, ...]:
    tasks = [write.written for write in batch]
    return (
        *_save_columns(batch),
        [transfer_id(task.id, TransferKind.HOLD) for task in tasks],
        [resolution_id(task.id) for task in tasks],
        [task.charged for task in tasks],
        [task.finished_ms for task in tasks],
        [_deliverer(task) for task in tasks],
        [len(task.images) for task in tasks],
        [task.cost for task in tasks],
        [task.exposure for task in tasks],
        [callback_id(task.id) for task in tasks],
    )


def _attempts_of(batch: list[_Write]) -> str:
    return attempt_rows(
        [(write.written.id, attempt) for write in batch for attempt in write.attempts]
    )


def _deliverer(task: Task) -> str | None:
    """Give the upstream that delivered, if one did."""
    delivered = (a for a in reversed(task.attempts) if a.outcome is Outcome.DELIVERED)
    return next((attempt.upstream for attempt in delivered), None)


def _stale(write: _Write) -> StaleFence:
    return StaleFence(f"Task {write.written.id} is not at fence {write.fence} any more.")


def _weight(write: _Write) -> int:
    return len(write.doc)


def _plain(text: str | None) -> str | None:
    return None if text is None else plain(text)
