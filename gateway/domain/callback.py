"""Callbacks: what a team asked to be told, and the schedule of tries (seed 001)."""

from __future__ import annotations

from dataclasses import dataclass

RETRY_DELAYS_MS = (1_000, 2_000, 4_000)
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
    """One message of the outbox, ready for its next try.

    ``id`` is the ``webhook-id``, the same on every try. ``tries`` counts the tries made.
    ``secrets`` are the team's signing secrets (``whsec_…``), newest first.
    """

    id: str
    task_id: str
    team_id: str
    url: str
    event: str
    tries: int
    secrets: tuple[str, ...]


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


def next_try_ms(tries: int, now_ms: int) -> int | None:
    """Give when to try again after ``tries`` failed tries; None when the callback is dead."""
    if tries > len(RETRY_DELAYS_MS):
        return None
    return now_ms + RETRY_DELAYS_MS[tries - 1]
