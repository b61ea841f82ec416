"""The order of the offers that could serve a request, by strategy (DESIGN §9)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from hashlib import blake2b
from math import inf, log
from typing import assert_never

from gateway.domain.model import Offer
from gateway.domain.money import MicroUsd
from gateway.domain.sizes import Resolved
from gateway.domain.strategy import Strategy


@dataclass(frozen=True, slots=True)
class Choice:
    """An offer in the running: what the request becomes there, what it costs, how it does.

    ``order`` is its place in the caller's order, ``load`` the part of its capacity in use (0 to
    1; 0 without a limit), ``expected_ms`` how long a job probably takes, ``success`` the share
    of jobs that end well.
    """

    offer: Offer
    resolved: Resolved
    cost: MicroUsd
    order: int
    load: float
    expected_ms: int
    success: float

    @property
    def upstream(self) -> str:
        """The upstream's name."""
        return self.offer.upstream

    @property
    def wait_ms(self) -> float:
        """How long a job probably takes; a full upstream counts as twice as slow."""
        return self.expected_ms * (1 + self.load)

    @property
    def effective_cost(self) -> MicroUsd:
        """What one job that ends well probably costs."""
        return round(self.cost / self.success)


def ranked(
    choices: Sequence[Choice], strategy: Strategy, near_tie_percent: Decimal, seed: str
) -> list[Choice]:
    """Give the choices, best first; the caller's order comes before every strategy.

    The same ``seed`` (the task's id) draws the same order by weight.
    """
    if len(choices) < 2:
        return list(choices)
    match strategy:
        case Strategy.FASTEST:
            return sorted(choices, key=lambda c: (c.order, c.wait_ms, c.cost, c.upstream))
        case Strategy.WEIGHTED:
            return sorted(choices, key=lambda c: (c.order, _drawn(c, seed), c.cost, c.upstream))
        case Strategy.EFFECTIVE:
            return _by_amount(choices, lambda c: c.effective_cost, near_tie_percent)
        case Strategy.CHEAPEST:
            return _by_amount(choices, lambda c: c.cost, near_tie_percent)
        case _:
            assert_never(strategy)


def note_on(choice: Choice, strategy: Strategy, near_tie_percent: Decimal) -> str:
    """Give what decided beside the cost, in words; empty where the cost alone did."""
    match strategy:
        case Strategy.CHEAPEST if not near_tie_percent:
            return ""
        case Strategy.CHEAPEST | Strategy.FASTEST:
            return f"takes about {choice.expected_ms / 1000:.1f} s"
        case Strategy.EFFECTIVE:
            return f"{choice.success:.0%} end well"
        case Strategy.WEIGHTED:
            return f"weight {choice.offer.weight}"
        case _:
            assert_never(strategy)


def _by_amount(
    choices: Sequence[Choice], amount: Callable[[Choice], MicroUsd], near_tie_percent: Decimal
) -> list[Choice]:
    """Sort by an amount; within the band above the lowest of a group, by time."""
    band = 1 + near_tie_percent / 100
    groups: list[list[Choice]] = []
    for choice in sorted(choices, key=lambda c: (c.order, amount(c))):
        first = groups[-1][0] if groups else None
        if first and first.order == choice.order and amount(choice) <= amount(first) * band:
            groups[-1].append(choice)
        else:
            groups.append([choice])
    return [
        choice
        for group in groups
        for choice in sorted(group, key=lambda c: (c.wait_ms, amount(c), c.upstream))
    ]


def _drawn(choice: Choice, seed: str) -> float:
    """Give a place drawn by weight, so that each comes first as often as its share says.

    An offer of weight 0 comes last: it is only failed over to.
    """
    if not choice.offer.weight:
        return inf
    digest = blake2b(f"{seed}\n{choice.upstream}".encode(), digest_size=8).digest()
    uniform = (int.from_bytes(digest, "big") + 1) / (2**64 + 1)
    return -log(uniform) / choice.offer.weight
