"""Taking batches: a file of create calls is judged line by line, and stored whole or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from uuid import uuid4

from gateway.app.narrowing import narrowed
from gateway.app.ports import Clock, Repeats
from gateway.app.ports.batches import BatchStore, EncodedLine
from gateway.app.submit import Submit, possible_limits
from gateway.crashpoints import CrashPoint, reached
from gateway.domain.access import Principal
from gateway.domain.batch import (
    CONCURRENCY,
    LINES_MAX,
    PROBLEMS_MAX,
    Batch,
    BatchEnded,
    BatchLine,
    BatchNotFound,
    BatchOptions,
    BatchStatus,
)
from gateway.domain.errors import (
    IdempotencyConflict,
    InvalidRequest,
    ModelNotFound,
    NoHealthyUpstream,
    NotAllowed,
    Problem,
)
from gateway.domain.repeats import CallMark
from gateway.domain.submission import PartlyRead

# Lines that are judged at once: a line with linked pictures waits for them.
TOGETHER = 32
# As much as a single call may have.
LINE_MIB_MAX = 45

ReadLine = Callable[[bytes], BatchLine]


@dataclass(frozen=True, slots=True)
class Intake:
    """Creates batches, and changes those of a team. ``lines_max`` is how many lines of a team may
    be under way at once, ``body_max`` how many bytes a batch may have.
    """

    submit: Submit
    store: BatchStore
    repeats: Repeats
    clock: Clock
    lines_max: int
    body_max: int

    async def create(
        self,
        principal: Principal,
        options: BatchOptions,
        body: bytes,
        read: ReadLine,
        *,
        scope: str,
        key: str | None,
    ) -> tuple[Batch, bool]:
        """Give the batch of a file of lines, and whether an earlier call had made it.

        ``scope`` and ``key`` are what a repetition is recognised by. Raises InvalidRequest with
        the first hundred problems, each with its line; IdempotencyConflict, StoreUnavailable.
        """
        mark = None if key is None else CallMark(scope, _fingerprint(options, body), key)
        if mark is not None and (earlier := await self._earlier(principal, mark)):
            return earlier, True
        await self._judge(options)
        lines = await self._read(principal, body, read)
        batch = Batch(
            id=f"batch-{uuid4().hex}",
            team_id=principal.team_id,
            key_id=principal.key_id,
            status=BatchStatus.RUNNING,
            concurrency=options.concurrency or min(CONCURRENCY, self.lines_max),
            total=len(lines),
            created_ms=self.clock.now_ms(),
            name=options.name,
        )
        reached(CrashPoint.BATCH_READ)
        if await self.store.create(batch, options.callback, lines, mark):
            return batch, False
        # A call under the same key was stored meanwhile.
        earlier = None if mark is None else await self._earlier(principal, mark)
        if earlier is None:
            raise IdempotencyConflict
        return earlier, True

    async def get(self, principal: Principal, batch_id: str) -> Batch:
        """Give a batch of the calling team. Raises BatchNotFound for anybody else's too."""
        batch = await self.store.get(batch_id)
        if batch is None or batch.team_id != principal.team_id:
            raise BatchNotFound(f"There is no batch {batch_id[:80]!r}.")
        return batch

    async def resume(self, principal: Principal, batch_id: str) -> Batch:
        """Let a paused batch go on, its tasks from now on those of the calling key.

        One that runs stays as it is. Raises BatchNotFound, BatchEnded.
        """
        batch = await self.get(principal, batch_id)
        if batch.status is BatchStatus.PAUSED:
            await self.store.resume(batch_id, principal.key_id)
            return await self.get(principal, batch_id)
        if batch.status is not BatchStatus.RUNNING:
            raise BatchEnded(f"The batch is {batch.status.value}; it cannot be resumed.")
        return batch

    async def cancel(self, principal: Principal, batch_id: str) -> Batch:
        """Let a batch send nothing more; it ends when what is under way has ended.

        Cancelling twice is fine. Raises BatchNotFound, BatchEnded for a completed one.
        """
        batch = await self.get(principal, batch_id)
        if batch.status is BatchStatus.COMPLETED:
            raise BatchEnded("The batch is completed already.")
        if not batch.status.is_terminal:
            await self.store.cancel(batch_id)
            batch = await self.get(principal, batch_id)
        return batch

    async def _earlier(self, principal: Principal, mark: CallMark) -> Batch | None:
        assert mark.key is not None
        found = await self.repeats.under_key(principal.team_id, mark.scope, mark.key)
        if found is None:
            return None
        if found.fingerprint != mark.fingerprint:
            raise IdempotencyConflict("This Idempotency-Key was used with another batch.")
        return await self.get(principal, found.task_id)

    async def _judge(self, options: BatchOptions) -> None:
        problems = await self.submit.callback_problems(options.callback)
        most = self.lines_max
        if options.concurrency is not None and options.concurrency > most:
            message = f"concurrency is {options.concurrency}."
            problems.append(Problem("concurrency", message, legal=f"1 to {most}"))
        if problems:
            raise InvalidRequest(*problems)

    async def _read(self, principal: Principal, body: bytes, read: ReadLine) -> list[EncodedLine]:
        """Read and judge every line; only what is stored of it is kept."""
        found: list[EncodedLine] = []
        problems: list[Problem] = []
        names: dict[str, int] = {}
        for group in _groups(body):
            judged = await asyncio.gather(
                *(self._line(principal, no, line, read) for no, line in group)
            )
            for (no, _), one in zip(group, judged, strict=True):
                if isinstance(one, InvalidRequest):
                    problems += (_at_line(no, problem) for problem in one.problems)
                    continue
                found.append(one)
                if one.custom_id is None:
                    continue
                if (first := names.setdefault(one.custom_id, no)) != no:
                    message = f"custom_id is that of line {first} already."
                    problems.append(_at_line(no, Problem("custom_id", message)))
            if len(found) > LINES_MAX:
                message = f"The batch has more than {LINES_MAX} lines."
                raise InvalidRequest(Problem("", message, legal=f"1 to {LINES_MAX} lines"))
            if len(problems) >= PROBLEMS_MAX:
                break
        if not problems and not found:
            message = "The batch is empty."
            problems.append(Problem("", message, "missing_required_parameter", "JSON lines"))
        if problems:
            raise InvalidRequest(*problems[:PROBLEMS_MAX])
        return found

    async def _line(
        self, principal: Principal, no: int, text: bytes, read: ReadLine
    ) -> EncodedLine | InvalidRequest:
        """Judge a line as its single call would be; whether it can be served now is no matter."""
        if len(text) > LINE_MIB_MAX * 1024 * 1024:
            message = f"The line is larger than {LINE_MIB_MAX} MiB."
            return InvalidRequest(Problem("", message, "request_too_large"))
        try:
            line = read(text)
            with suppress(NoHealthyUpstream):
                draft = narrowed(principal, line.draft, self.submit.catalog())
                await self.submit.plan(draft, principal)
            possible_limits(principal, line.draft.request.n, line.draft)
        except PartlyRead as error:
            return await self.submit.all_problems(error)
        except InvalidRequest as error:
            return error
        except (ModelNotFound, NotAllowed) as error:
            return InvalidRequest(Problem("model", error.message, error.code))
        return self.store.encoded(principal.team_id, no, line)


def _groups(body: bytes) -> Iterator[Sequence[tuple[int, bytes]]]:
    """Give the lines of a file that are not blank, with their numbers, so many at a time."""
    group: list[tuple[int, bytes]] = []
    at = len(b"\xef\xbb\xbf") if body.startswith(b"\xef\xbb\xbf") else 0
    no = 0
    while at < len(body):
        end = body.find(b"\n", at)
        end = len(body) if end < 0 else end
        no += 1
        if line := body[at:end].strip():
            group.append((no, line))
        at = end + 1
        if len(group) == TOGETHER:
            yield group
            group = []
    if group:
        yield group


def _at_line(no: int, problem: Problem) -> Problem:
    """Give a problem with the line it is in."""
    field = f"lines[{no}].{problem.field}" if problem.field else f"lines[{no}]"
    return replace(problem, field=field, message=f"Line {no}: {problem.message}")


def _fingerprint(options: BatchOptions, body: bytes) -> bytes:
    """Give what a batch is recognised by: its file to the byte, and what is wanted of it."""
    callback = options.callback
    said = (options.name, options.concurrency, None if callback is None else callback.url)
    return sha256(repr(said).encode() + sha256(body).digest()).digest()
