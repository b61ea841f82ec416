"""Accepting tasks in batches: who can pay, and whose key may, is judged where it is counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import asyncpg

from gateway.app.ports import NewTask
from gateway.domain.budgets import over_budget
from gateway.domain.caps import NOTHING, Caps, Counts, refusal
from gateway.domain.errors import CallerError, InsufficientCredits, RepeatedCall, TaskIdTaken
from gateway.domain.ledger import TransferKind, transfer_id
from gateway.domain.money import MicroCredits, format_micro
from gateway.domain.records import quick
from gateway.domain.repeats import CallMark, EarlierCall
from gateway.domain.task import Task
from gateway.stores.postgres import task_sql as sql
from gateway.stores.postgres.batches import each_alone
from gateway.stores.postgres.codec import encode
from gateway.stores.postgres.database import Database
from gateway.stores.postgres.urls import seal_url
from gateway.stores.postgres.vault import Vault


@quick
@dataclass(frozen=True, slots=True)
class EncodedTask:
    """A task to accept, as its row will have it."""

    task: Task
    callback_url: str | None
    callback_events: str | None
    doc: bytes
    request: bytes
    mark: CallMark | None = None


class _Refused(Exception):
    """A team or a key has less left than its items of a batch need."""

    def __init__(self, room: _Room) -> None:
        super().__init__()
        self.room = room


@dataclass(frozen=True, slots=True)
class _Room:
    """What a team and a key have left for a task of theirs.

    ``budget`` None: no budget that refuses; ``used`` is what of it is spent or held.
    """

    available: MicroCredits
    budget: MicroCredits | None
    used: MicroCredits
    caps: Caps
    counts: Counts

    def refusal(self, task: Task) -> CallerError | None:
        """Give why a task does not fit, None when it does."""
        if task.hold > self.available:
            return InsufficientCredits(
                f"This request needs {format_micro(task.hold)} credits; "
                f"{format_micro(self.available)} are available."
            )
        return over_budget(self.budget, self.used, task.hold) or refusal(
            self.caps, self.counts, task.hold, task.typical_ms
        )


class Accepting:
    """Holds credits and inserts tasks, a batch at a time."""

    def __init__(self, database: Database) -> None:
        """Take the pool."""
        self._db = database

    async def accept(self, batch: list[EncodedTask]) -> Sequence[Exception | None]:
        """Accept tasks with different ids together; gives for each None or why not."""
        verdicts = await self._db.certain(
            lambda again: each_alone(lambda part: self._hold(part, again=again), batch)
        )
        return [_named(verdict, new.task) for verdict, new in zip(verdicts, batch, strict=True)]

    async def _hold(self, batch: list[EncodedTask], *, again: bool) -> list[Exception | None]:
        """Accept what fits: whole teams in one statement, the rest of a short team in turn."""
        columns = _columns(batch)
        try:
            rows = await self._db.write(sql.ACCEPT, *columns, False, hot=True)
        except asyncpg.UniqueViolationError:
            if len(batch) > 1:
                raise
            # The id or the key was taken while the statement ran: now it shows, and by whom.
            rows = await self._db.write(sql.ACCEPT, *columns, False, hot=True)
        if not rows:
            return [None] * len(batch)
        verdicts = {row["id"]: _verdict(row, again=again) for row in rows}
        crowded = _of_crowded_teams(
            [new for new in batch if isinstance(verdicts.get(new.task.id), _Refused)]
        )
        if crowded:
            results = await each_alone(lambda part: self._hold_in_turn(part, again=again), crowded)
            ids = (new.task.id for new in crowded)
            verdicts.update(zip(ids, results, strict=True))
        return [verdicts.get(new.task.id) for new in batch]

    async def _hold_in_turn(
        self, batch: list[EncodedTask], *, again: bool
    ) -> list[Exception | None]:
        """Accept item by item in order of arrival while its team can pay and its key may."""
        async with self._db.transaction() as connection:
            left = await _left(connection, batch)
            fitting = []
            verdicts: dict[str, Exception | None] = {}
            for new in batch:
                if (refused := left.take(new.task)) is None:
                    fitting.append(new)
                else:
                    verdicts[new.task.id] = refused
            if fitting:
                rows = await connection.fetch(sql.ACCEPT, *_columns(fitting), True)
                verdicts.update((row["id"], _verdict(row, again=again)) for row in rows)
        return [verdicts.get(new.task.id) for new in batch]


@dataclass(slots=True)
class _Left:
    """What is left for teams and keys while a batch is accepted in turn."""

    available: dict[str, MicroCredits]
    budgets: dict[str, tuple[MicroCredits, MicroCredits]]
    caps: dict[str, tuple[str, Caps]]
    counts: dict[str, Counts]

    def take(self, task: Task) -> _Refused | None:
        """Count a task that fits; gives what is left when it does not."""
        available = self.available.get(task.team_id, 0)
        budget, used = self.budgets.get(task.team_id, (None, 0))
        limits_id, caps = self.caps.get(task.key_id, ("", Caps()))
        room = _Room(available, budget, used, caps, self.counts.get(limits_id, NOTHING))
        if room.refusal(task) is not None:
            return _Refused(room)
        self.available[task.team_id] = available - task.hold
        self.counts[limits_id] = room.counts.plus(task.hold)
        if budget is not None:
            self.budgets[task.team_id] = (budget, used + task.hold)
        return None


async def _left(connection: Any, batch: list[EncodedTask]) -> _Left:
    """Give what is left for the teams and keys of a batch, locked until the commit."""
    tasks = [new.task for new in batch]
    now_ms = max(task.created_ms for task in tasks)
    team_ids = list({task.team_id for task in tasks})
    teams = await connection.fetch(sql.LOCK_AVAILABLE, team_ids, now_ms)
    budgets = await connection.fetch(sql.BUDGETS, team_ids, now_ms)
    keys = await connection.fetch(sql.LOCK_COUNTS, list({t.key_id for t in tasks}), now_ms)
    return _Left(
        {row["team_id"]: row["available"] for row in teams},
        {row["team_id"]: (row["team_budget"], row["team_used"]) for row in budgets},
        {row["id"]: (row["limits_id"], _caps(row)) for row in keys},
        {row["limits_id"]: _counts(row) for row in keys},
    )


def encoded(new: NewTask, vault: Vault) -> EncodedTask:
    """Encode a task and its request, once, whatever batch they end up in.

    Its callback's address is sealed, its Idempotency-Key hashed.
    """
    url = events = None
    team_id, mark = new.task.team_id, new.mark
    if new.callback is not None:
        url = seal_url(vault, new.callback.url, team_id)
        events = ",".join(new.callback.events)
    if mark is not None and mark.key is not None:
        mark = replace(mark, key=vault.repeat_key(team_id, mark.key))
    return EncodedTask(new.task, url, events, encode(new.task), encode(new.request), mark)


def _verdict(row: Any, *, again: bool) -> Exception | None:
    """Read one row of ACCEPT, whose items were not held.

    A repetition after a lost answer finds its own task: accepted.
    """
    if again and row["same"]:
        return None
    if row["first_id"] is not None:
        return RepeatedCall(EarlierCall(row["first_id"], row["first_fingerprint"]))
    if row["taken"]:
        return TaskIdTaken()
    of_team = (row["available"], row["team_budget"], row["team_used"])
    return _Refused(_Room(*of_team, _caps(row), _counts(row)))


def _caps(row: Any) -> Caps:
    return Caps(row["concurrent_tasks"], row["credit_cap"], row["monthly_credit_cap"])


def _counts(row: Any) -> Counts:
    return Counts(row["key_running"], row["key_held"], row["key_spent"], row["key_month_spent"])


def _named(verdict: Exception | None, task: Task) -> Exception | None:
    """Give the error its caller reads."""
    if isinstance(verdict, _Refused):
        return verdict.room.refusal(task)
    if isinstance(verdict, asyncpg.UniqueViolationError):
        # Of the id or of the key: another try under another id sees which.
        return TaskIdTaken()
    return verdict


def _of_crowded_teams(short: list[EncodedTask]) -> list[EncodedTask]:
    """Give the items of teams with several: their sum was too much, but some may still fit."""
    teams = [new.task.team_id for new in short]
    return [new for new in short if teams.count(new.task.team_id) > 1]


def _columns(batch: list[EncodedTask]) -> tuple[object, ...]:
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
