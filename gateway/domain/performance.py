"""How well an upstream has done lately with a model: smoothed latency and share of success.

What is old counts less: both fade towards what is assumed of a newcomer, so that an upstream
that was slow or failed is not left alone for ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp2

HALF_LIFE_MS = 300_000
LATENCY_STEP = 0.2
# A newcomer counts as if so many tries had gone well.
TRIES_ASSUMED = 10.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one job: ``latency_ms`` from submit to pictures, None when it failed."""

    at_ms: int
    latency_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Track:
    """The record of one upstream with one model. ``tries`` and ``good`` are faded counts."""

    at_ms: int = 0
    tries: float = 0.0
    good: float = 0.0
    latency_ms: float = 0.0
    latency_at_ms: int = 0

    def expected_ms(self, typical_ms: int, now_ms: int) -> int:
        """Give how long a job will probably take; what the model takes typically if unknown."""
        if not self.latency_at_ms:
            return typical_ms
        weight = _faded(now_ms - self.latency_at_ms)
        return round(weight * self.latency_ms + (1 - weight) * typical_ms)

    def success_rate(self, now_ms: int) -> float:
        """Give the share of jobs that end with pictures, above 0 and at most 1."""
        weight = _faded(now_ms - self.at_ms)
        return (self.good * weight + TRIES_ASSUMED) / (self.tries * weight + TRIES_ASSUMED)


def observe(track: Track, outcome: Outcome) -> Track:
    """Fold one outcome in. One that is older than the newest counts as if it were of then."""
    at_ms = max(outcome.at_ms, track.at_ms)
    weight = _faded(at_ms - track.at_ms)
    tries = track.tries * weight + 1
    if outcome.latency_ms is None:
        return Track(at_ms, tries, track.good * weight, track.latency_ms, track.latency_at_ms)
    good = track.good * weight + 1
    known: float = track.latency_ms if track.latency_at_ms else outcome.latency_ms
    latency_ms = known + LATENCY_STEP * (outcome.latency_ms - known)
    return Track(at_ms, tries, good, latency_ms, at_ms)


def _faded(age_ms: int) -> float:
    """Give what a figure of this age counts for: 1 now, half of it a half-life later."""
    return exp2(-max(age_ms, 0) / HALF_LIFE_MS)
