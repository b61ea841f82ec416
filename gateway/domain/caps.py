"""How many tasks a key may have under way at once, and how many credits it may spend."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from gateway.domain.errors import CallerError, InsufficientCredits, RateLimited
from gateway.domain.money import MicroCredits, format_micro

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
WAIT_MAX_S = 60.0


class CapReached(InsufficientCredits):
    """The key has spent what it may."""

    code = "key_credit_cap"


@dataclass(frozen=True, slots=True)
class Caps:
    """The caps of a key; None is no cap. Credits are micro-credits, months those of UTC."""

    concurrent_tasks: int | None = None
    credit_cap: MicroCredits | None = None
    monthly_credit_cap: MicroCredits | None = None


@dataclass(frozen=True, slots=True)
class Counts:
    """What counts against the caps: tasks that have not ended, and micro-credits.

    ``held`` is what running tasks may be charged, ``spent`` what ended ones were, and
    ``month_spent`` what of that was charged this month.
    """

    running: int = 0
    held: MicroCredits = 0
    spent: MicroCredits = 0
    month_spent: MicroCredits = 0

    def plus(self, hold: MicroCredits) -> Counts:
        """Give the counts with one more task under way."""
        return replace(self, running=self.running + 1, held=self.held + hold)


NOTHING = Counts()


def month_number(ms: int) -> int:
    """Give the number of the UTC month a time (ms) is in; each is one more than the one before."""
    at = _EPOCH + timedelta(milliseconds=ms)
    return at.year * 12 + at.month


def refusal(caps: Caps, counts: Counts, hold: MicroCredits, typical_ms: int) -> CallerError | None:
    """Give why a task with such a hold may not begin, None when it may.

    ``typical_ms`` is how long such a task takes: one of several running ends that much sooner.
    """
    most = caps.concurrent_tasks
    if most is not None and counts.running >= most:
        wait_s = min(max(typical_ms / 1000 / most, 1.0), WAIT_MAX_S)
        return RateLimited(
            f"This key may have {most} tasks under way at once (concurrent_tasks); "
            f"{counts.running} are. Retry in {wait_s:.1f} s.",
            wait_s,
        )
    for cap, spent, words in (
        (caps.credit_cap, counts.spent, "credits (credit_cap)"),
        (caps.monthly_credit_cap, counts.month_spent, "credits a month (monthly_credit_cap)"),
    ):
        if cap is not None and spent + counts.held + hold > cap:
            left = max(cap - spent - counts.held, 0)
            return CapReached(
                f"This request needs {format_micro(hold)} credits; of the {format_micro(cap)} "
                f"{words} of this key {format_micro(left)} are left."
            )
    return None
