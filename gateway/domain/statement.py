"""A team's statement: what its balance was when a month began, what moved it, what it became."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from gateway.domain.errors import InvalidRequest, Problem
from gateway.domain.money import MicroCredits

_MONTH = re.compile(r"([0-9]{4})-([0-9]{2})\Z")
KINDS = ("grant", "adjustment", "charge", "refund", "expiration")


@dataclass(frozen=True, slots=True)
class Month:
    """A UTC month; it holds the moments within ``[since_ms, until_ms)``."""

    name: str
    since_ms: int
    until_ms: int


def month_named(text: str, now_ms: int) -> Month:
    """Give the month a text such as ``"2026-11"`` names. Raises InvalidRequest, also for a later
    month than now.
    """
    match = _MONTH.match(text)
    try:
        year, number = (int(match[1]), int(match[2])) if match else (0, 0)
        since_ms = _begin_ms(year, number)
        until_ms = _begin_ms(year + number // 12, number % 12 + 1)
    except ValueError:
        raise InvalidRequest(
            Problem("month", "month is not valid.", legal="a month such as 2026-11")
        ) from None
    if since_ms > now_ms:
        message = f"The month {text} has not begun."
        raise InvalidRequest(Problem("month", message, legal="this month, or one before"))
    return Month(text, since_ms, until_ms)


def _begin_ms(year: int, number: int) -> int:
    return int(datetime(year, number, 1, tzinfo=UTC).timestamp()) * 1000


@dataclass(frozen=True, slots=True)
class Line:
    """What moved a balance: a grant, adjustment, refund or expiration, or a day's charges by model.

    ``credits`` is in micro-credits, below 0 for what was taken away; ``at_ms`` of charges is
    where their day begins.
    """

    at_ms: int
    kind: str
    credits: MicroCredits
    model: str | None = None
    tasks: int = 0
    images: int = 0
    task_id: str | None = None
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class Statement:
    """A team's month; ``opening`` and ``closing`` are balances before holds, micro-credits.

    Both come from the ledger, and so do the sums; charges are told by day and model from usage.
    """

    team_id: str
    team_name: str
    month: Month
    opening: MicroCredits
    closing: MicroCredits
    lines: Sequence[Line]

    def total(self, kind: str) -> MicroCredits:
        """Give the sum of one kind of lines, as they moved the balance."""
        return sum(line.credits for line in self.lines if line.kind == kind)
