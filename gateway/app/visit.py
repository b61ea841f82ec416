"""What a visit to a task works with, and what it carries from step to step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from gateway.app.outlook import Outlook
from gateway.app.poll_batches import PollBatches
from gateway.app.ports import (
    Budgets,
    Clock,
    HealthBoard,
    Lease,
    LiveTasks,
    Spending,
    TaskStore,
    Tracks,
    UpstreamAdapter,
)
from gateway.app.results import ResultKeeper
from gateway.app.retries import RetryBudget
from gateway.app.task_lists import TaskLists
from gateway.domain.model import Catalog
from gateway.domain.request import GenerationRequest
from gateway.domain.routing import Route
from gateway.domain.steps import Facts
from gateway.domain.task import Task


@dataclass(frozen=True, slots=True)
class Tools:
    """What every visit of a process works with."""

    catalog: Callable[[], Catalog]
    adapters: Callable[[], Mapping[str, UpstreamAdapter]]
    tasks: TaskStore
    live: LiveTasks
    health: HealthBoard
    budgets: Budgets
    tracks: Tracks
    spending: Spending
    retries: RetryBudget
    batches: PollBatches
    lists: TaskLists
    outlook: Outlook
    results: ResultKeeper
    clock: Clock
    on_settled: Callable[[Task], None]


@dataclass(slots=True)
class Visit:
    """What one visit has learned so far; ``task`` is the newest state."""

    lease: Lease
    task: Task
    request: GenerationRequest | None = None
    route: Route | None = None
    busy: dict[str, int] | None = None
    due_ms: int | None = None

    def wanted(self, request: GenerationRequest) -> GenerationRequest:
        """Give the request for what is still to be made."""
        return replace(request, n=self.task.missing) if self.task.kept else request

    def facts(self, now_ms: int, *, can_look: bool = False) -> Facts:
        """Give the facts for the next decision."""
        if self.route is None:
            return Facts(now_ms, can_look=can_look)
        busy = self.busy or {}
        free = tuple(c for c in self.route.candidates if c.upstream not in busy)
        waits = [*busy.values(), *([self.route.retry_at_ms] if self.route.retry_at_ms else [])]
        return Facts(now_ms, free, min(waits) if waits else None, can_look)
