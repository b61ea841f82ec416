"""Callbacks: what a team asked to be told, and the schedule of tries (seed 001).

A callback is ``pending`` until it is ``delivered`` or ``dead``; a replay makes it pending again.
"""

from __future__ import annotations

from dataclasses import dataclass

RETRY_DELAYS_MS = (1_000, 2_000, 4_000)
# For teams with the retries ``days``, after the quick ones: 5 min, 30 min, then hours.
SLOW_DELAYS_MS = tuple(minutes * 60_000 for minutes in (5, 30, 120, 300, 600, 840, 1200, 1440))
RETRIES = ("quick", "days")
STATES = ("pending", "delivered", "dead")
GONE = 410
TIMEOUT_S = 10.0
URL_MAX = 2048
EVENTS = ("completed", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class CallbackSpec:
    """Where and on which endings to call; ``events`` are canonical status words."""

    url: str
    events: tuple[str, ...] = EVENTS


@dataclass(frozen=True, slots=True)
class Callback:
    """One message of the outbox, ready for its next try: of a task, or with a ``body`` of its own.

    ``url`` is empty when no secret key of this process opens it.
    ``id`` is the ``webhook-id``, the same on every try. ``tries`` counts the tries made.
    ``secrets`` are the team's signing secrets (``whsec_…``), newest first. ``patient`` teams have
    it tried for days. ``gone``: this receiver answered 410 to an earlier callback of the team.
    """

    id: str
    task_id: str | None
    team_id: str
    url: str
    event: str
    tries: int
    secrets: tuple[str, ...]
    patient: bool = False
    gone: bool = False
    body: str | None = None


@dataclass(frozen=True, slots=True)
class TryResult:
    """How one try went; ``status`` is None when no answer came."""

    status: int | None
    error: str | None
    started_ms: int
    duration_ms: int

    @property
    def delivered(self) -> bool:
        """Whether the receiver answered 2xx."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def gone(self) -> bool:
        """Whether the receiver asked not to be called again."""
        return self.status == GONE


@dataclass(frozen=True, slots=True)
class CallbackLog:
    """A callback and everything that was tried; ``next_at_ms`` counts while it is pending.

    ``task_id`` None: it tells of the team.
    """

    id: str
    task_id: str | None
    team_id: str
    url: str
    event: str
    state: str
    created_ms: int
    next_at_ms: int
    tries: tuple[TryResult, ...]


def next_try_ms(tries: int, now_ms: int, *, patient: bool = False) -> int | None:
    """Give when to try again after ``tries`` failed tries; None when the callback is dead."""
    delays = RETRY_DELAYS_MS + SLOW_DELAYS_MS if patient else RETRY_DELAYS_MS
    return None if tries > len(delays) else now_ms + delays[tries - 1]
