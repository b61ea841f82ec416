"""The task and its attempts, as frozen records.

`machine.py` decides what happens to a task and folds in what happened.

    pending ──submit──▶ processing ──delivered──▶ completed
       │  ▲                │  │
       │  └──fail over─────┘  └──caller fault, no upstream left, deadline──▶ failed
       └──cancel (and from processing, if the vendor cancels)──▶ cancelled

A task *ends* in two moves: an event fixes its ``ending``, then settlement makes it terminal.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from gateway.domain.errors import Blame
from gateway.domain.model import OnAmbiguous
from gateway.domain.money import MicroCredits, MicroUsd
from gateway.domain.records import changed, quick

UPSTREAMS_MAX = 3
ATTEMPTS_MAX = 8
BACKOFF_MS = (1_000, 2_000, 4_000, 8_000, 15_000, 30_000)


class TaskStatus(StrEnum):
    """The canonical status words (seed 001)."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """Whether the task has ended and is settled."""
        return self in _TERMINAL


_TERMINAL = frozenset({TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED})


class Outcome(StrEnum):
    """What became of an attempt."""

    INTENT = "intent"
    NOT_SENT = "not_sent"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    ACCEPTED = "accepted"
    DELIVERED = "delivered"
    FAILED = "failed"
    CANCELLED = "cancelled"
    ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True)
class Image:
    """A delivered picture. ``expires_at`` is UTC seconds, ``None`` when the link is ours."""

    url: str
    expires_at: int | None = None
    revised_prompt: str | None = None
    media_type: str | None = None


@dataclass(frozen=True, slots=True)
class TaskError:
    """Why a task failed: a code for programs, a sentence for people, the blame for reports."""

    code: str
    message: str
    blame: Blame


@quick
@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at one upstream. ``cost`` is certain, ``exposure`` possible (micro-USD).

    ``planned_cost`` is what full delivery would cost; ``id`` doubles as the vendor's
    Idempotency-Key. ``on_ambiguous`` and ``idempotent`` are frozen from the configuration.
    ``misses`` counts queries in a row that the vendor answered with "unknown task"; before the
    vendor accepted, it says that the submit was repeated, or must not be.
    ``retry_after_ms`` is how long the vendor asked us to stay away. ``resolution`` says what
    became of an exposure: ``billed`` (its cost is waste) or ``free``.
    """

    id: str
    no: int
    upstream: str
    adapter: str
    upstream_model: str
    started_ms: int
    planned_cost: MicroUsd
    outcome: Outcome = Outcome.INTENT
    finished_ms: int | None = None
    upstream_task_id: str | None = None
    code: str | None = None
    reason: str | None = None
    blame: Blame | None = None
    cost: MicroUsd = 0
    exposure: MicroUsd = 0
    polls: int = 0
    misses: int = 0
    idempotent: bool = False
    on_ambiguous: OnAmbiguous = OnAmbiguous.FAILOVER
    delivered: int = 0
    retry_after_ms: int = 0
    resolution: str | None = None

    @property
    def is_live(self) -> bool:
        """Whether a vendor holds this attempt and it must be polled."""
        return self.outcome is Outcome.ACCEPTED

    @property
    def may_be_resent(self) -> bool:
        """Whether the same submit may go out once more: the vendor knows it by the attempt's id."""
        lost = self.outcome in (Outcome.INTENT, Outcome.UNKNOWN)
        return lost and self.idempotent and self.misses == 0

    @property
    def was_resent(self) -> bool:
        """Whether a submit under way is the second one of this attempt."""
        return self.outcome is Outcome.INTENT and self.misses > 0

    @property
    def was_free(self) -> bool:
        """Whether the vendor certainly took nothing, so the same upstream may be tried again."""
        return self.outcome in (Outcome.NOT_SENT, Outcome.REFUSED)


@dataclass(frozen=True, slots=True)
class Ending:
    """How a task is going to end once settled."""

    status: TaskStatus
    images: tuple[Image, ...] = ()
    error: TaskError | None = None


@quick
@dataclass(frozen=True, slots=True)
class Task:
    """One accepted request. Amounts are micro-credits, times UTC milliseconds.

    ``fence`` counts the durable writes; a write with another fence than the stored one is
    refused. ``echo`` is what the creating dialect needs to render the task again.
    ``requested_model`` is the name the caller used. ``cancel_requested`` is a wish not answered
    yet; ``cancel_asked`` says that a vendor was asked once, whatever it answered. ``kept`` are
    the pictures of a partial delivery that others shall complete, where ``top_up`` asks for it.
    """

    id: str
    team_id: str
    key_id: str
    dialect: str
    model: str
    requested_model: str
    n: int
    tier: str
    unit_price: MicroCredits
    hold: MicroCredits
    created_ms: int
    deadline_ms: int
    typical_ms: int = 15_000
    status: TaskStatus = TaskStatus.PENDING
    progress: int = 0
    fence: int = 0
    attempts: tuple[Attempt, ...] = ()
    ending: Ending | None = None
    charged: MicroCredits = 0
    finished_ms: int | None = None
    cancel_requested: bool = False
    cancel_asked: bool = False
    not_before_ms: int = 0
    has_callback: bool = False
    user_group: str = "default"
    ignored: tuple[str, ...] = ()
    route: tuple[str, ...] = ()
    echo: dict[str, Any] = field(default_factory=dict)
    top_up: bool = False
    kept: tuple[Image, ...] = ()

    @property
    def missing(self) -> int:
        """How many pictures are still to be made: all, or those a partial delivery left."""
        return self.n - len(self.kept)

    @property
    def last(self) -> Attempt | None:
        """The newest attempt."""
        return self.attempts[-1] if self.attempts else None

    @property
    def images(self) -> tuple[Image, ...]:
        """The delivered pictures; empty until completed."""
        return self.ending.images if self.ending else ()

    @property
    def error(self) -> TaskError | None:
        """Why it failed, if it did."""
        return self.ending.error if self.ending else None

    @property
    def cost(self) -> MicroUsd:
        """What all attempts certainly cost us."""
        return sum(attempt.cost for attempt in self.attempts)

    @property
    def exposure(self) -> MicroUsd:
        """What ambiguous attempts may have cost us beyond that."""
        return sum(attempt.exposure for attempt in self.attempts)

    @property
    def can_cancel(self) -> bool:
        """Whether a cancel would succeed for certain now: nothing was sent to a vendor yet."""
        return not self.status.is_terminal and self.ending is None and not self.attempts


@dataclass(frozen=True, slots=True)
class Candidate:
    """An offer that may be tried now: eligible, healthy and with free capacity."""

    upstream: str
    adapter: str
    upstream_model: str
    planned_cost: MicroUsd
    idempotent: bool
    on_ambiguous: OnAmbiguous


def charge(task: Task, ending: Ending) -> MicroCredits:
    """Give what is captured: the frozen unit price times delivered pictures, at most the hold."""
    if ending.status is not TaskStatus.COMPLETED:
        return 0
    return min(task.hold, task.unit_price * len(ending.images))


def replace_last(task: Task, attempt: Attempt) -> Task:
    """Give the task with its newest attempt replaced."""
    return changed(task, attempts=(*task.attempts[:-1], attempt))
