"""Live tasks and the due queue: what workers visit and what readers read first.

A task's document is kept as MessagePack: a fifth smaller than JSON and as fast (a plain task
takes 1.3 KiB of the server's memory in all). One sorted set holds the whole queue: shards would
only help a cluster, a single set claims faster than one server can be asked.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import suppress
from itertools import count
from uuid import uuid4

import msgspec
import structlog

from gateway.app.ports import Lease, QueueFigures
from gateway.domain.errors import Unavailable
from gateway.domain.request import GenerationRequest
from gateway.domain.task import Task
from gateway.stores.valkey import keys, scripts
from gateway.stores.valkey.announcements import CHANGED, ENDED, Announcements, Dues
from gateway.stores.valkey.connection import Argument, Valkey

log = structlog.get_logger(__name__)

ADD = scripts.load("add")
MISSING = scripts.load("missing")
CLAIM = scripts.load("claim")
SEIZE = scripts.load("seize")
SAVE = scripts.load("save")
RENEW = scripts.load("renew")
RELEASE = scripts.load("release")
EPOCH_LOST = scripts.load("epoch_lost")
MARK_EPOCH = scripts.load("mark_epoch")
FIGURES = scripts.load("figures")

HOUR_MS = 3_600_000
# One script call blocks the server for about 3 ms at this size.
CALL_TASKS_MAX = 200
# How many waiters may ask the database at once while Valkey is away.
FALLBACK_READS_MAX = 8
# Visits that fall due so close together are claimed together: they share every round trip after.
GATHER_S = 0.02
# The longest request that is kept for the first visit: one may hold tens of MiB of pictures.
REQUEST_BYTES_MAX = 4096

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Task)
_request_decoder = msgspec.msgpack.Decoder(GenerationRequest)


class ValkeyLiveTasks:
    """LiveTasks in Valkey. ``fallback`` reads a task from Postgres where Valkey cannot tell."""

    def __init__(
        self,
        valkey: Valkey,
        fallback: Callable[[str], Awaitable[Task | None]],
        *,
        task_ttl_hours: int = 24,
    ) -> None:
        """Take the connection; an ended task is kept for ``task_ttl_hours`` and one hour more."""
        self._valkey = valkey
        self._fallback = fallback
        self._fallback_reads = asyncio.Semaphore(FALLBACK_READS_MAX)
        self._ttl_ms = (task_ttl_hours + 1) * HOUR_MS
        self._news = Announcements(valkey)
        self._dues = Dues(valkey)
        self._process = uuid4().hex[:12]
        self._tokens = count(1)
        self._rebuild: str | None = None
        self._next_due_s = float("inf")
        self.flushed = asyncio.Event()
        """Set when a claim found the epoch gone; cleared when the epoch is there again."""

    # --- the index -----------------------------------------------------------------------

    async def enqueue(
        self, task: Task, due_ms: int, request: GenerationRequest | None = None
    ) -> None:
        """Index an accepted task and make it due, in one round trip shared by concurrent calls.

        Its ``request``, if it is not long, comes with the lease of the first visit. Enqueueing a
        task again changes nothing. Raises IndexUnavailable.
        """
        await self._add([task], due_ms, b"" if request is None else _encode_request(request))

    async def add_missing(self, tasks: Sequence[Task], due_ms: int) -> int:
        """Index tasks that are not indexed; gives how many were added. Raises IndexUnavailable."""
        slices = (
            tasks[first : first + CALL_TASKS_MAX] for first in range(0, len(tasks), CALL_TASKS_MAX)
        )
        return sum([await self._add(part, due_ms) for part in slices])

    async def missing(self, task_ids: Sequence[str]) -> Sequence[str]:
        """Give which of unfinished tasks are not indexed. Raises IndexUnavailable."""
        found: list[str] = []
        for first in range(0, len(task_ids), CALL_TASKS_MAX):
            part = task_ids[first : first + CALL_TASKS_MAX]
            missing = await self._valkey.run(MISSING, [keys.DUE], keys.TASK_PREFIX, *part)
            found += (task_id.decode() for task_id in missing)
        return found

    async def _add(self, tasks: Sequence[Task], due_ms: int, request: bytes = b"") -> int:
        rows: list[Argument] = []
        for task in tasks:
            rows += (task.id, task.fence, _encode(task), request)
        added, rebuild = await self._valkey.run(
            ADD,
            [keys.DUE, keys.EPOCH, keys.REBUILD],
            self._delay_ms(due_ms),
            self._ttl_ms,
            keys.TASK_PREFIX,
            keys.DUES,
            self._token(),
            *rows,
        )
        if self._rebuild is None:
            self._rebuild = rebuild.decode()
        return int(added)

    async def get(self, task_id: str) -> Task | None:
        """Give the live state, None when not indexed. Raises IndexUnavailable."""
        doc = await self._valkey.execute("HGET", keys.task(task_id), "doc")
        return _decode(doc) if doc is not None else None

    async def forget(self, task_ids: Sequence[str]) -> None:
        """Drop ended tasks from the index: who asks is answered by the store. Raises
        IndexUnavailable.
        """
        if task_ids:
            await self._valkey.execute("DEL", *map(keys.task, task_ids))

    async def epoch_lost(self) -> bool:
        """Whether the index was flushed since the last `mark_epoch`. Raises IndexUnavailable.

        To be asked before a rebuild, not during one: it names the rebuild that begins now.
        """
        name = await self._valkey.run(EPOCH_LOST, [keys.EPOCH, keys.REBUILD], self._token())
        self._rebuild = name.decode()
        if not name:
            self.flushed.clear()
        return bool(name)

    async def mark_epoch(self) -> None:
        """Say that the index is complete again. Raises IndexUnavailable.

        Without effect when another flush came after the rebuild began: the epoch stays lost.
        """
        name, self._rebuild = self._rebuild, None
        if name is None:
            await self._valkey.execute("SET", keys.EPOCH, uuid4().hex)
        elif not await self._valkey.run(MARK_EPOCH, [keys.EPOCH, keys.REBUILD], name):
            log.warning("index_flushed_during_rebuild")

    async def figures(self) -> QueueFigures:
        """Give the queue's figures, for metrics. Raises IndexUnavailable."""
        tasks, due, lag_ms = await self._valkey.run(FIGURES, [keys.DUE])
        return QueueFigures(tasks, due, lag_ms)

    # --- leases --------------------------------------------------------------------------

    async def claim(self, limit: int, lease_ms: int) -> Sequence[Lease]:
        """Take at most ``limit`` due tasks for ``lease_ms``. Raises IndexUnavailable."""
        token = self._token()
        epoch, wait_ms, found = await self._valkey.run(
            CLAIM, [keys.DUE, keys.EPOCH], limit, lease_ms, token, keys.TASK_PREFIX
        )
        if not epoch:
            self.flushed.set()
        self._next_due_s = time.monotonic() + wait_ms / 1000 if wait_ms >= 0 else float("inf")
        leases = []
        for task_id, doc, request in zip(found[::3], found[1::3], found[2::3], strict=True):
            task = _decode(doc)
            if task is None:
                await self._forget(task_id.decode())
            else:
                leases.append(Lease(task, token, _decode_request(request)))
        return leases

    async def seize(self, task_id: str, lease_ms: int) -> Lease | None:
        """Take one task out of turn; None when it is held, ended or not indexed.

        Raises IndexUnavailable.
        """
        token = self._token()
        names = [keys.task(task_id), keys.DUE]
        doc = await self._valkey.run(SEIZE, names, task_id, lease_ms, token)
        task = _decode(doc) if doc is not None else None
        return Lease(task, token) if task is not None else None

    async def save(self, lease: Lease, task: Task, due_ms: int | None) -> bool:
        """Write live state and end the lease: due again at ``due_ms``, or out of the queue.

        False when the lease was lost or a newer fence is stored; then only an ended task is
        still written, for it is final in Postgres. Raises IndexUnavailable.
        """
        delay_ms, doc = None if due_ms is None else self._delay_ms(due_ms), _encode(task)
        saved = await self._valkey.run(
            SAVE,
            [keys.task(task.id), keys.DUE],
            task.id,
            lease.token,
            task.fence,
            doc,
            "" if delay_ms is None else delay_ms,
            "1" if task.status.is_terminal else "0",
            self._ttl_ms,
            keys.CHANGES,
            _announcement(lease.task, task, doc),
        )
        if delay_ms is not None:
            self._next_due_s = min(self._next_due_s, time.monotonic() + delay_ms / 1000)
        return bool(saved)

    async def renew(self, leases: Sequence[Lease], lease_ms: int) -> None:
        """Extend leases still held, and take back those a flush removed.

        Raises IndexUnavailable.
        """
        for pairs in _token_pairs(leases):
            await self._valkey.run(RENEW, [keys.DUE], lease_ms, keys.TASK_PREFIX, *pairs)

    async def release(self, leases: Sequence[Lease]) -> None:
        """Give leases back unused (drain): their tasks are due at once. Raises IndexUnavailable."""
        for pairs in _token_pairs(leases):
            await self._valkey.run(RELEASE, [keys.DUE], keys.TASK_PREFIX, keys.DUES, *pairs)

    async def wait_due(self, timeout_s: float) -> None:
        """Return when a task may have become due, or after the time. Never raises.

        Knows of enqueued and released tasks anywhere, and of the next visit known to this process,
        for which it waits a little longer when that is about to be due.
        """
        next_due_s, self._next_due_s = self._next_due_s, float("inf")
        wait_s = max(GATHER_S, next_due_s - time.monotonic())
        await self._dues.wait(min(timeout_s, wait_s))

    # --- waiting -------------------------------------------------------------------------

    async def wait(self, task_id: str, limit: asyncio.Timeout) -> Task | None:
        """Wait until a task is terminal; None when ``limit`` came first. Never raises."""
        changed = self._news.watch(task_id)
        try:
            async with limit:
                while True:
                    changed.clear()
                    told = changed.doc and _decode(changed.doc)
                    task = told or await self._look(task_id)
                    if task is not None and task.status.is_terminal:
                        return task
                    task = told = None
                    await changed.wait()
        except TimeoutError:
            return None
        finally:
            self._news.unwatch(task_id, changed)

    async def events(self, task_id: str) -> AsyncGenerator[Task]:
        """Give the task now and after every visible change, until terminal. Never raises."""
        seen = None
        with self._news.watching(task_id) as changed:
            while True:
                changed.clear()
                task = await self._look(task_id)
                if task is not None and _visible(task) != seen:
                    seen = _visible(task)
                    yield task
                    if task.status.is_terminal:
                        return
                await changed.wait()

    async def _look(self, task_id: str) -> Task | None:
        """Give the task from Valkey, else from Postgres; None when neither knows or answers."""
        with suppress(Unavailable):
            if (live := await self.get(task_id)) is not None:
                return live
        with suppress(Unavailable):
            async with self._fallback_reads:
                return await self._fallback(task_id)
        return None

    async def aclose(self) -> None:
        """Stop listening. The connection is the caller's to close."""
        await self._news.aclose()
        await self._dues.aclose()

    # --- small parts ---------------------------------------------------------------------

    def _token(self) -> str:
        return f"{self._process}:{next(self._tokens)}"

    def _delay_ms(self, due_ms: int) -> int:
        """Give a time as a delay: the server adds it to its own clock, whatever ours says."""
        return due_ms - self._valkey.now_ms()

    async def _forget(self, task_id: str) -> None:
        """Drop a document that cannot be read; the sweeper writes a readable one."""
        log.warning("live_task_unreadable", task_id=task_id)
        await self._valkey.execute("DEL", keys.task(task_id))


def _encode(task: Task) -> bytes:
    """Give a task's document; half a surrogate pair, which UTF-8 cannot hold, becomes ``?``."""
    try:
        return _encoder.encode(task)
    except UnicodeEncodeError:
        text = json.dumps(msgspec.to_builtins(task), ensure_ascii=False)
        return _encoder.encode(msgspec.json.decode(text.encode("utf-8", "replace")))


def _decode(doc: bytes) -> Task | None:
    """Give the task of a document, None when another version wrote one that this cannot read."""
    try:
        return _decoder.decode(doc)
    except (msgspec.DecodeError, ValueError):
        return None


def _visible(task: Task) -> tuple[object, ...]:
    """Give what a reader of events can see change; a mere poll is no change."""
    last = task.last
    attempt = (last.no, last.outcome) if last else None
    return task.status, task.progress, attempt, task.ending is None, task.cancel_requested


def _encode_request(request: GenerationRequest) -> bytes:
    """Give a request's document; empty where it is too long, or holds half a surrogate pair."""
    try:
        doc = _encoder.encode(request)
    except UnicodeEncodeError:
        return b""
    return doc if len(doc) <= REQUEST_BYTES_MAX else b""


def _decode_request(doc: bytes) -> GenerationRequest | None:
    """Give the request of a document, None where there is none that this version can read."""
    try:
        return _request_decoder.decode(doc) if doc else None
    except (msgspec.DecodeError, ValueError):
        return None


def _announcement(before: Task, after: Task, doc: bytes) -> bytes:
    if after.status.is_terminal:
        return b"%b%b\n%b" % (ENDED, after.id.encode(), doc)
    return CHANGED + after.id.encode() if _visible(before) != _visible(after) else b""


def _token_pairs(leases: Sequence[Lease]) -> list[list[Argument]]:
    """Give (id, token) pairs in a row, in lists that are not too long for one script call."""
    return [
        [part for lease in leases[first : first + CALL_TASKS_MAX] for part in _pair(lease)]
        for first in range(0, len(leases), CALL_TASKS_MAX)
    ]


def _pair(lease: Lease) -> tuple[Argument, Argument]:
    return lease.task.id, lease.token
