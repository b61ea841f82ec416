"""What a visit may do (steps) and what can happen to a task (events), as data."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.domain.errors import Blame, Sent
from gateway.domain.money import MicroCredits, MicroUsd
from gateway.domain.task import Attempt, Candidate, Ending, Image, TaskError


@dataclass(frozen=True, slots=True)
class Facts:
    """What the worker knows at a visit.

    ``candidates`` are ranked, None when no route was planned yet; ``retry_at_ms`` says when
    capacity may be free again if all eligible offers are busy. ``can_look`` says that the job of
    a lost newest submit can be told from its vendor's task list.
    """

    now_ms: int
    candidates: tuple[Candidate, ...] | None = None
    retry_at_ms: int | None = None
    can_look: bool = False


@dataclass(frozen=True, slots=True)
class PlanRoute:
    """Load the request and rank the offers, then decide again."""


@dataclass(frozen=True, slots=True)
class Submit:
    """Write the intent, then send to this upstream; ``again`` resends the same attempt."""

    candidate: Candidate
    again: Attempt | None = None


@dataclass(frozen=True, slots=True)
class Poll:
    """Ask the vendor how this attempt stands."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Look:
    """Look for the job of this attempt, whose answer was lost, in the vendor's task list."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class CancelUpstream:
    """Ask the vendor to cancel this attempt."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Record:
    """Fold this event in without asking anybody."""

    event: Event


@dataclass(frozen=True, slots=True)
class Settle:
    """Resolve the hold and end the task, in one transaction."""

    ending: Ending


@dataclass(frozen=True, slots=True)
class Sleep:
    """Visit again at this time."""

    until_ms: int


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing is left to do."""


Step = PlanRoute | Submit | Poll | Look | CancelUpstream | Record | Settle | Sleep | Done


# --- what can happen ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RoutePlanned:
    """The offers were ranked; ``route`` tells how, in words, for people."""

    route: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AttemptStarted:
    """The intent was written; the vendor may be called."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class AttemptAccepted:
    """The vendor took the job under this id, as its answer or later its task list says."""

    upstream_task_id: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class AttemptProgressed:
    """The vendor is still working; ``progress`` in percent when it says so."""

    at_ms: int
    progress: int | None = None


@dataclass(frozen=True, slots=True)
class PollMissed:
    """A query about an attempt said nothing; ``unknown_task`` when the vendor denied the id."""

    unknown_task: bool
    at_ms: int


@dataclass(frozen=True, slots=True)
class AttemptDelivered:
    """The vendor finished with these pictures; ``cost`` is what they cost us."""

    images: tuple[Image, ...]
    cost: MicroUsd
    at_ms: int


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """The attempt came to nothing. ``sent`` tells whether it may have been billed.

    ``accepted`` attempts failed after the vendor had taken them. Unless ``repeatable``, the
    vendor itself said that the same submit must not be sent again.
    """

    blame: Blame
    sent: Sent
    code: str
    message: str
    at_ms: int
    retry_after_ms: int = 0
    repeatable: bool = True


@dataclass(frozen=True, slots=True)
class AttemptLost:
    """A live attempt is given up without knowing its result (deadline, unknown id)."""

    code: str
    message: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """The team asked to cancel."""

    at_ms: int


@dataclass(frozen=True, slots=True)
class CancelRefused:
    """The vendor did not confirm; the task goes on, and a later "cancelled" is our doing."""

    at_ms: int


@dataclass(frozen=True, slots=True)
class CancelConfirmed:
    """Nothing runs any more, by the vendor's word or because nothing was sent."""

    at_ms: int


@dataclass(frozen=True, slots=True)
class GaveUp:
    """No upstream is left, or the deadline passed."""

    error: TaskError
    at_ms: int


@dataclass(frozen=True, slots=True)
class Postponed:
    """Nothing can be tried before ``until_ms``."""

    until_ms: int


@dataclass(frozen=True, slots=True)
class Settled:
    """The hold is resolved; ``charged`` of it was captured."""

    charged: MicroCredits
    at_ms: int


Event = (
    RoutePlanned
    | AttemptStarted
    | AttemptAccepted
    | AttemptProgressed
    | PollMissed
    | AttemptDelivered
    | AttemptFailed
    | AttemptLost
    | CancelRequested
    | CancelRefused
    | CancelConfirmed
    | GaveUp
    | Postponed
    | Settled
)
