"""How many requests and pictures a minute a key may ask for: a sliding window, counted in slots.

A minute is counted in a hundred slots of 600 ms, and what a slot counted leaves when the whole slot
is a minute old. So no sixty seconds ever hold more than is allowed, and what is used up comes back
at most one slot, one hundredth of a minute, late.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

WINDOW_MS = 60_000
SLOTS = 100
SLOT_MS = WINDOW_MS // SLOTS


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit and how much of it a call asks for."""

    name: str
    allowed: int
    amount: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a limit says. ``retry_ms`` is 0 when the call may pass.

    ``remaining`` is what is left after the call; ``reset_ms`` is when some of it comes back.
    """

    name: str
    allowed: int
    remaining: int
    retry_ms: int
    reset_ms: int


@dataclass(frozen=True, slots=True)
class Taken:
    """What a call took, and in which slot, so that it can be given back.

    ``alone``: counted by this process for itself, while the shared count was away.
    """

    verdicts: tuple[Verdict, ...]
    limits: tuple[Limit, ...] = ()
    slot: int = 0
    alone: bool = False

    @property
    def refusals(self) -> tuple[Verdict, ...]:
        """The limits that did not let the call pass; then nothing was taken."""
        return tuple(verdict for verdict in self.verdicts if verdict.retry_ms)


NOTHING_TAKEN = Taken(())


def slot_of(now_ms: int) -> int:
    """Give the slot a time is in."""
    return now_ms // SLOT_MS


def leaves_ms(slot: int) -> int:
    """Give when what a slot counted does not count any more."""
    return (slot + SLOTS + 1) * SLOT_MS


def judge(limit: Limit, counts: Mapping[int, int], now_ms: int) -> Verdict:
    """Judge a call by what was counted, by slot."""
    first = slot_of(now_ms) - SLOTS
    counted = sorted((slot, count) for slot, count in counts.items() if slot >= first and count > 0)
    used = sum(count for _, count in counted)
    reset_ms = leaves_ms(counted[0][0]) - now_ms if counted else 0
    left = limit.allowed - used
    if limit.amount <= left:
        return Verdict(limit.name, limit.allowed, left - limit.amount, 0, reset_ms)
    return Verdict(
        limit.name, limit.allowed, max(left, 0), _wait_ms(limit, counted, now_ms), reset_ms
    )


def judge_together(
    limits: Sequence[Limit], counts: Sequence[Mapping[int, int]], now_ms: int
) -> tuple[Verdict, ...]:
    """Judge a call by several limits, each with its counts; when one refuses, none is used."""
    verdicts = tuple(judge(limit, one, now_ms) for limit, one in zip(limits, counts, strict=True))
    if not any(verdict.retry_ms for verdict in verdicts):
        return verdicts
    return tuple(
        verdict
        if verdict.retry_ms
        else replace(verdict, remaining=verdict.remaining + limit.amount)
        for verdict, limit in zip(verdicts, limits, strict=True)
    )


def _wait_ms(limit: Limit, counted: list[tuple[int, int]], now_ms: int) -> int:
    """Give when enough has left; a call that asks for more than is ever allowed waits a minute."""
    excess = sum(count for _, count in counted) + limit.amount - limit.allowed
    for slot, count in counted:
        excess -= count
        if excess <= 0:
            return leaves_ms(slot) - now_ms
    return WINDOW_MS
