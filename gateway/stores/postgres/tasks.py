"""Durable tasks, and the money that moves with them, in coalesced batches (port `TaskStore`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import asyncpg

from gateway.app.ports import NewTask, Settlement, TaskFilter, TaskPage
from gateway.domain.errors import (
    InsufficientCredits,
    RepeatedCall,
    StaleFence,
    StoreUnavailable,
    TaskIdTaken,
    TaskNotFound,
)
from gateway.domain.ledger import TransferKind, resolution_id, transfer_id
from gateway.domain.machine import apply
from gateway.domain.money import MICRO_MAX, MicroCredits, format_micro
from gateway.domain.repeats import CallMark, EarlierCall
from gateway.domain.request import GenerationRequest
from gateway.domain.steps import Settled
from gateway.domain.task import Attempt, Outcome, Task
from gateway.stores.coalesce import Coalescer
from gateway.stores.postgres import task_sql as sql
from gateway.stores.postgres.batches import each_alone
from gateway.stores.postgres.codec import (
    advanced,
    attempt_rows,
    decode_request,
    decode_task,
    encode,
    plain,
)
from gateway.stores.postgres.cursors import cursor_of, read_cursor
from gateway.stores.postgres.database import Database
from gateway.stores.postgres.outbox import callback_id


@dataclass(frozen=True, slots=True)
class EncodedTask:
    """A task to accept, as its row will have it."""

    task: Task
    callback_url: str | None
    callback_events: str | None
    doc: bytes
    request: bytes
    mark: CallMark | None = None


@dataclass(frozen=True, slots=True)
class _Write:
    """A changed task: ``written`` carries the fence it will have, ``doc`` is its encoding."""

    fence: int
    written: Task
    doc: bytes
    attempts: tuple[Attempt, ...]


class PostgresTasks:
    """Tasks in PostgreSQL. Concurrent writes of one process share transactions."""

    def __init__(self, database: Database) -> None:
        """Take the pool; it must be connected before the first call."""
        self._db = database
        self._accepts: Coalescer[EncodedTask, None] = Coalescer(
            self.accept_batch,
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

    async def close(self) -> None:
        """Finish the writes under way; later ones raise StoreUnavailable."""
        for writes in (self._accepts, self._saves, self._settles):
            await writes.close()

    # --- accept ----------------------------------------------------------------------------

    async def accept(self, new: NewTask) -> None:
        """Hold the credits and insert the task, in one transaction shared by concurrent calls.

        Raises InsufficientCredits, TaskIdTaken and RepeatedCall: then nothing was written.
        StoreUnavailable means the same, unless it is a ConnectionLost.
        """
        await self._accepts.submit(encoded(new))

    async def accept_batch(self, batch: list[EncodedTask]) -> Sequence[Exception | None]:
        """Accept tasks with different ids together; gives for each None or why not."""
        verdicts = await self._db.certain(
            lambda again: each_alone(lambda part: self._hold(part, again=again), batch)
        )
        return [_named(verdict, new.task) for verdict, new in zip(verdicts, batch, strict=True)]

    async def _hold(self, batch: list[EncodedTask], *, again: bool) -> list[Exception | None]:
        """Accept what fits: whole teams in one statement, the rest of a short team in turn."""
        try:
            rows = await self._db.write(sql.ACCEPT, *_accept_columns(batch))
        except asyncpg.UniqueViolationError:
            if len(batch) > 1:
                raise
            # The id or the key was taken while the statement ran: now it shows, and by whom.
            rows = await self._db.write(sql.ACCEPT, *_accept_columns(batch))
        verdicts = {row["id"]: _verdict(row, again=again) for row in rows}
        crowded = _of_crowded_teams(
            [new for new in batch if isinstance(verdicts[new.task.id], _Short)]
        )
        if crowded:
            results = await each_alone(lambda part: self._hold_in_turn(part, again=again), crowded)
            ids = (new.task.id for new in crowded)
            verdicts.update(zip(ids, results, strict=True))
        return [verdicts[new.task.id] for new in batch]

    async def _hold_in_turn(
        self, batch: list[EncodedTask], *, again: bool
    ) -> list[Exception | None]:
        """Accept item by item in order of arrival while each one's team can pay for it."""
        async with self._db.transaction() as connection:
            teams = list({new.task.team_id for new in batch})
            rows = await connection.fetch(sql.LOCK_AVAILABLE, teams)
            available = {row["team_id"]: row["available"] for row in rows}
            fitting = []
            verdicts: dict[str, Exception | None] = {}
            for new in batch:
                left = available.get(new.task.team_id, 0)
                if new.task.hold <= left:
                    available[new.task.team_id] = left - new.task.hold
                    fitting.append(new)
                else:
                    verdicts[new.task.id] = _Short(left)
            if fitting:
                rows = await connection.fetch(sql.ACCEPT, *_accept_columns(fitting))
                verdicts.update((row["id"], _verdict(row, again=again)) for row in rows)
        return [verdicts[new.task.id] for new in batch]

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
        task = replace(settlement.task, ending=settlement.ending)
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
            rows = await self._db.write(statement, *columns(items), _attempts_of(items))
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
        rows = await self._db.read(sql.GET, plain(task_id))
        return decode_task(rows[0]["doc"]) if rows else None

    async def request_of(self, task_id: str) -> GenerationRequest:
        """Give the stored request of a task. Raises TaskNotFound."""
        rows = await self._db.read(sql.REQUEST_OF, task_id)
        if not rows:
            raise TaskNotFound(f"There is no task {task_id!r}.")
        return decode_request(rows[0]["request"])

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

    async def unfinished(self, after_id: str, limit: int) -> Sequence[Task]:
        """Give non-terminal tasks with an id greater than ``after_id``, in id order."""
        rows = await self._db.read(sql.UNFINISHED, after_id, limit)
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


class _Short(InsufficientCredits):
    """What a team has is less than an item needs; ``available`` is what it has."""

    def __init__(self, available: MicroCredits) -> None:
        super().__init__()
        self.available = available


def encoded(new: NewTask) -> EncodedTask:
    """Encode a task and its request, once, whatever batch they end up in."""
    url = events = None
    if new.callback is not None:
        url, events = plain(new.callback.url), ",".join(new.callback.events)
    return EncodedTask(new.task, url, events, encode(new.task), encode(new.request), new.mark)


def _verdict(row: asyncpg.Record, *, again: bool) -> Exception | None:
    """Read one row of ACCEPT. A repetition after a lost answer finds its own task: accepted."""
    if row["held"] or (again and row["same"]):
        return None
    if row["first_id"] is not None:
        return RepeatedCall(EarlierCall(row["first_id"], row["first_fingerprint"]))
    return TaskIdTaken() if row["taken"] else _Short(row["available"])


def _named(verdict: Exception | None, task: Task) -> Exception | None:
    """Give the error its caller reads."""
    if isinstance(verdict, _Short):
        return InsufficientCredits(
            f"This request needs {format_micro(task.hold)} credits; "
            f"{format_micro(verdict.available)} are available."
        )
    if isinstance(verdict, asyncpg.UniqueViolationError):
        # Of the id or of the key: another try under another id sees which.
        return TaskIdTaken()
    return verdict


def _of_crowded_teams(short: list[EncodedTask]) -> list[EncodedTask]:
    """Give the items of teams with several: their sum was too much, but some may still fit."""
    teams = [new.task.team_id for new in short]
    return [new for new in short if teams.count(new.task.team_id) > 1]


def _accept_columns(batch: list[EncodedTask]) -> tuple[object, ...]:
    tasks = [new.task for new in batch]
    marks = [new.mark for new in batch]
    return (
        [task.id for task in tasks],
        [task.team_id for task in tasks],
        [task.key_id for task in tasks],
        [task.dialect for task in tasks],
        [task.model for task in tasks],
        [task.created_ms for task in tasks],
        [task.deadline_ms for task in tasks],
        [task.hold for task in tasks],
        [new.callback_url for new in batch],
        [new.callback_events for new in batch],
        [new.doc for new in batch],
        [new.request for new in batch],
        [transfer_id(task.id, TransferKind.HOLD) for task in tasks],
        [mark and mark.scope for mark in marks],
        [mark and mark.key for mark in marks],
        [mark and mark.fingerprint for mark in marks],
        [mark and mark.retries for mark in marks],
    )


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
