"""Batches: many create calls sent as one file, each line a task of its own, fed a few at a time.

A batch is ``running`` or ``paused`` (its reason says why) until every line has ended; then it is
``completed``. One that is being cancelled sends nothing more, and is ``cancelled`` when what was
under way has ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from gateway.domain.access import Principal
from gateway.domain.callback import CallbackSpec
from gateway.domain.errors import (
    CallerError,
    GatewayError,
    InsufficientCredits,
    NoHealthyUpstream,
    NotAllowed,
    RateLimited,
    Unavailable,
)
from gateway.domain.money import MicroCredits
from gateway.domain.submission import Draft

LINES_MAX = 50_000
PROBLEMS_MAX = 100
CUSTOM_ID_MAX = 512
NAME_MAX = 100
CONCURRENCY = 20
WAIT_MIN_S = 0.5
WAIT_MAX_S = 60.0


class BatchNotFound(CallerError):
    """There is no such batch."""

    status = 404
    type = "not_found_error"
    code = "batch_not_found"


class BatchEnded(CallerError):
    """The batch has ended."""

    status = 409
    code = "batch_ended"


class BatchStatus(StrEnum):
    """How a batch stands."""

    RUNNING = "running"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing follows."""
        return self in (BatchStatus.COMPLETED, BatchStatus.CANCELLED)


class LineState(StrEnum):
    """How a line stands: not sent yet, a task, or ended."""

    WAITING = "waiting"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """What a caller wants of a whole batch; ``concurrency`` None leaves it to the gateway."""

    name: str = ""
    concurrency: int | None = None
    callback: CallbackSpec | None = None


@dataclass(frozen=True, slots=True)
class BatchLine:
    """One line as it was read: the caller's own id for it, and the create call."""

    custom_id: str | None
    draft: Draft


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch and its counts of lines; ``images`` and ``charged`` are of lines that ended.

    ``concurrency`` is how many of its lines may be under way at once. ``reason_code`` and
    ``reason`` say why it is paused. Its tasks are those of ``key_id``.
    """

    id: str
    team_id: str
    key_id: str
    status: BatchStatus
    concurrency: int
    total: int
    created_ms: int
    name: str = ""
    running: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    images: int = 0
    charged: MicroCredits = 0
    reason_code: str | None = None
    reason: str | None = None
    ended_ms: int | None = None

    @property
    def ended(self) -> int:
        """How many lines have ended."""
        return self.completed + self.failed + self.cancelled

    @property
    def waiting(self) -> int:
        """How many lines were not sent yet."""
        return self.total - self.running - self.ended

    @property
    def is_over(self) -> bool:
        """Whether every line has ended."""
        return self.ended == self.total

    @property
    def ending(self) -> BatchStatus:
        """What it is once every line has ended."""
        cancelling = self.status is BatchStatus.CANCELLING
        return BatchStatus.CANCELLED if cancelling else BatchStatus.COMPLETED


def task_id_of(batch_id: str, line: int) -> str:
    """Give the id of a line's task: always the same, so that no line can become two tasks."""
    return f"task-{batch_id}-{line}"


def is_of_batch(task_id: str) -> bool:
    """Whether a task is a line of a batch."""
    return task_id.startswith("task-batch-")


def share(batches: Sequence[Batch], most: int) -> dict[str, int]:
    """Give how many lines each batch of a team may send now, in turn, oldest batch first.

    ``most`` is how many lines of all of them may be under way.
    """
    free = most - sum(batch.running for batch in batches)
    wanted = {
        batch.id: min(batch.concurrency - batch.running, batch.waiting)
        for batch in batches
        if batch.status is BatchStatus.RUNNING
    }
    given = dict.fromkeys(wanted, 0)
    while free > 0:
        hungry = [name for name in wanted if given[name] < wanted[name]][:free]
        if not hungry:
            break
        for name in hungry:
            given[name] += 1
        free -= len(hungry)
    return {name: count for name, count in given.items() if count}


# --- what follows from a refused line --------------------------------------------------------


class Course(StrEnum):
    """What is done about a line that was not accepted."""

    FAIL = "fail"
    WAIT = "wait"
    ASIDE = "aside"
    PAUSE = "pause"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows: the line fails, or the batch is paused, or it is sent again after ``wait_s``.

    WAIT holds up the whole batch meanwhile, ASIDE only lines that need the same upstreams.
    """

    course: Course
    code: str
    message: str
    wait_s: float = 0.0


def judge(error: GatewayError) -> Verdict:
    """Give what follows from the error of a line's create call.

    Credits and what a key may do are the team's to change: nothing fails for them. Limits a minute
    and engines that are away pass by themselves, and so does the lack of an upstream, which is that
    of a model alone. Anything else is the line's own fault.
    """
    if isinstance(error, InsufficientCredits | NotAllowed):
        return Verdict(Course.PAUSE, error.code, error.message)
    if isinstance(error, RateLimited | Unavailable):
        wait_s = min(max(error.retry_after_s or WAIT_MIN_S, WAIT_MIN_S), WAIT_MAX_S)
        course = Course.ASIDE if isinstance(error, NoHealthyUpstream) else Course.WAIT
        return Verdict(course, error.code, error.message, wait_s)
    return Verdict(Course.FAIL, error.code, error.message)


def unfit(principal: Principal | None) -> Verdict | None:
    """Give why a batch's key may send nothing now, None when it may."""
    if principal is None:
        message = "The key of this batch has expired or was revoked; resume it with another one."
        return Verdict(Course.PAUSE, "invalid_api_key", message)
    if principal.suspended:
        message = f"The team {principal.team_name} is suspended."
        return Verdict(Course.PAUSE, NotAllowed.code, message)
    if not principal.rules.admits_scope("generate"):
        message = "The key of this batch has no longer the scope 'generate'."
        return Verdict(Course.PAUSE, NotAllowed.code, message)
    return None
