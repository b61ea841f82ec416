"""Exposure: what attempts may have cost beyond what is certain, until somebody knows.

An attempt whose outcome nobody knows, or that was given up, is booked with its possible cost. It is
*resolved* when the vendor answers after all, or an operator says what its invoice says: then the
cost is certain (``billed``, and waste: the team is never charged for it) or nothing (``free``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from gateway.domain.errors import InvalidRequest, Problem
from gateway.domain.money import MicroUsd, format_micro
from gateway.domain.task import Attempt, Task

BILLED, FREE = "billed", "free"
RESOLUTIONS = (BILLED, FREE)


@dataclass(frozen=True, slots=True)
class Exposure:
    """An attempt of an ended task that may have been billed. ``exposure`` is in micro-USD."""

    id: str
    task_id: str
    team_id: str
    upstream: str
    upstream_model: str
    upstream_task_id: str | None
    outcome: str
    reason: str | None
    started_ms: int
    exposure: MicroUsd
    n: int
    finished_ms: int | None = None
    adapter: str = ""

    @property
    def created_ms(self) -> int:
        """When the attempt began; lists are in this order."""
        return self.started_ms

    def cost_of(self, pictures: int) -> MicroUsd:
        """Give what a delivery of so many pictures costs, at most what was booked."""
        return min(self.exposure, self.exposure // self.n * pictures)


def resolved(attempt: Attempt, cost: MicroUsd) -> Attempt:
    """Give an attempt whose exposure turned out to have cost this (0: nothing).

    Raises InvalidRequest for a negative cost or one beyond the exposure.
    """
    if not 0 <= cost <= attempt.exposure:
        legal = f"0 to {format_micro(attempt.exposure)}, what was booked"
        raise InvalidRequest(Problem("cost_usd", "cost_usd is not valid.", legal=legal))
    return replace(attempt, cost=cost, exposure=0, resolution=BILLED if cost else FREE)


def with_attempt(task: Task, attempt: Attempt) -> Task:
    """Give the task with one of its attempts replaced."""
    others = (attempt if one.id == attempt.id else one for one in task.attempts)
    return replace(task, attempts=tuple(others))
