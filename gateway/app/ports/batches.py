"""What batches need of Postgres: the API's side, and that of the worker that feeds them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.app.ports.admin import Page
from gateway.domain.access import Principal
from gateway.domain.batch import Batch, BatchLine, LineState
from gateway.domain.callback import CallbackSpec
from gateway.domain.money import MicroCredits
from gateway.domain.repeats import CallMark
from gateway.domain.submission import Draft
from gateway.domain.task import Task


@dataclass(frozen=True, slots=True)
class EncodedLine:
    """A line as its row will have it; what 50,000 of them hold in memory."""

    no: int
    custom_id: str | None
    draft: bytes
    callback_url: str | None
    callback_events: str | None


@dataclass(frozen=True, slots=True)
class WaitingLine:
    """A line to send; ``sent``: its task exists already, whatever its row says."""

    no: int
    draft: Draft
    sent: bool


@dataclass(frozen=True, slots=True)
class LineMark:
    """What came of a line: accepted, or refused for good with a code and a message."""

    no: int
    code: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class LineResult:
    """A line that ended; ``task`` None: it never became one, or it is not kept any more.

    ``code`` and ``message`` are of a line that was refused when it was sent.
    """

    no: int
    custom_id: str | None
    state: LineState
    images: int
    charged: MicroCredits
    code: str | None
    message: str | None
    task: Task | None


class BatchStore(Protocol):
    """Batches as their teams see them. All methods raise StoreUnavailable."""

    def encoded(self, team_id: str, no: int, line: BatchLine) -> EncodedLine:
        """Give a line as it is stored, its callback's address sealed."""
        ...

    async def create(
        self,
        batch: Batch,
        callback: CallbackSpec | None,
        lines: Sequence[EncodedLine],
        mark: CallMark | None,
    ) -> bool:
        """Store a batch whole, or not at all; False when its Idempotency-Key is in use."""
        ...

    async def get(self, batch_id: str) -> Batch | None:
        """Give a batch as it stands."""
        ...

    async def batch_page(
        self, limit: int, cursor: str | None, *, team_id: str | None, status: str | None = None
    ) -> Page[Batch]:
        """Give a page, newest first. Raises InvalidRequest for a cursor that is none of ours."""
        ...

    async def results(self, batch_id: str, after: int, limit: int) -> Sequence[LineResult]:
        """Give lines that ended, in their order, after a line number."""
        ...

    async def resume(self, batch_id: str, key_id: str) -> None:
        """Let a paused batch go on, under this key."""
        ...

    async def cancel(self, batch_id: str) -> None:
        """Let a batch that has not ended send nothing more."""
        ...

    async def counts(self) -> Mapping[str, int]:
        """Give figures of all batches that have not ended, by the names they are measured by."""
        ...

    async def forget(self, before_ms: int, limit: int) -> int:
        """Delete at most ``limit`` batches that ended before a time; gives how many."""
        ...


class BatchFeed(Protocol):
    """Batches as the one worker sees them that holds their team's lease.

    Writes change nothing for a ``runner`` that has lost it. All methods raise StoreUnavailable.
    """

    async def claim(self, runner: str, limit: int, lease_ms: int) -> Sequence[str]:
        """Take teams that have something to do and that nobody holds, for ``lease_ms``."""
        ...

    async def renew(self, runner: str, lease_ms: int) -> set[str]:
        """Hold on to all that are held; gives which those are."""
        ...

    async def release(self, runner: str, team_ids: Sequence[str]) -> None:
        """Let others have them."""
        ...

    async def collect(
        self, runner: str, team_id: str
    ) -> tuple[Sequence[Batch], Mapping[LineState, int]]:
        """Note which lines have ended; gives the team's batches that are not done with, oldest
        first, and how many lines were noted. None are given once the lease is lost.
        """
        ...

    async def waiting(
        self, batch: Batch, limit: int, bytes_max: int, passed: Sequence[int] = ...
    ) -> Sequence[WaitingLine]:
        """Give the next lines to send but those passed over.

        At least one, if there is one, and at most so many bytes of them.
        """
        ...

    async def mark(self, runner: str, batch_id: str, marks: Sequence[LineMark]) -> None:
        """Note what came of lines. One whose task exists was accepted, whatever is said."""
        ...

    async def pause(self, runner: str, batch_id: str, code: str, message: str, at_ms: int) -> None:
        """Pause a running batch, and write the alert its team wants, in one transaction."""
        ...

    async def drop(self, runner: str, batch_id: str) -> int:
        """End as cancelled all lines that were not sent; gives how many."""
        ...

    async def under_way(self, batch_id: str) -> Sequence[int]:
        """Give the lines that are tasks which have not ended, as far as is noted."""
        ...

    async def end(
        self, runner: str, batch: Batch, at_ms: int, render: Callable[[Batch], str]
    ) -> Batch | None:
        """End a batch that is over and write its callback, rendered, in the same transaction.

        Gives it as it ended, None when somebody else did that.
        """
        ...


class KeysById(Protocol):
    """Whom a key acts for, when only its id is known."""

    async def principal_of(self, key_id: str) -> Principal | None:
        """Give whom a key acts for now; None when revoked or expired."""
        ...
