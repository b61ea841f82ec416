"""What a simulated process has instead of a clock, Postgres and Valkey."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from gateway.app.ports import Settlement
from gateway.domain.machine import apply
from gateway.domain.performance import Outcome, Track, observe
from gateway.domain.request import GenerationRequest
from gateway.domain.steps import Settled
from gateway.domain.task import Attempt, Task
from gateway.stores.valkey.own_share import OwnShare, rate_of
from tests.simulation.scenario import (
    START_MS,
)

QUERIES_PER_SECOND = 20
SUBMITS_PER_SECOND = 10


class VirtualClock:
    """Stands still until a test moves it."""

    def __init__(self) -> None:
        self.at_ms = START_MS

    def now_ms(self) -> int:
        return self.at_ms


class DictHash:
    """The one hash of Valkey that the health board uses."""

    def __init__(self) -> None:
        self._fields: dict[bytes, bytes] = {}

    async def run(self, script: Any, names: Any, field: str, expected: bytes, new: bytes) -> Any:
        there = self._fields.get(field.encode(), b"")
        if there != expected:
            return there
        self._fields[field.encode()] = new
        return None

    async def execute(self, *words: Any) -> list[bytes]:
        return [part for pair in self._fields.items() for part in pair]


class NothingDrained:
    """No operator interferes."""

    async def drained(self) -> dict[str, int]:
        return {}


class VirtualBudgets:
    """Budgets by the clock: a process's own windows, all of the limit for itself."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._share = OwnShare(slot_us=10**12)

    async def take_submit(self, upstream: str, attempt_id: str) -> int:
        return self._take(upstream, "submit", SUBMITS_PER_SECOND)

    async def take_query(self, upstream: str, count: int = 1) -> int:
        return self._take(upstream, "query", QUERIES_PER_SECOND)

    async def take_poll(self, upstream: str, task_id: str, likely_ms: int) -> int:
        return self._take(upstream, "query", QUERIES_PER_SECOND)

    async def finish(self, upstream: str, attempt_id: str) -> None:
        return None

    async def in_flight(self) -> Mapping[str, int]:
        return {}

    def _take(self, upstream: str, plane: str, per_second: int) -> int:
        now_us = self._clock.now_ms() * 1000
        return self._share.take(upstream, plane, 1, rate_of(Decimal(per_second)), now_us)


class DictTracks:
    """What was learnt, in a dictionary."""

    def __init__(self) -> None:
        self._tracks: dict[tuple[str, str], Track] = {}

    def note(self, upstream: str, model: str, outcome: Outcome) -> None:
        before = self._tracks.get((upstream, model), Track())
        self._tracks[upstream, model] = observe(before, outcome)

    async def tracks(self) -> Mapping[tuple[str, str], Track]:
        return self._tracks


class NoCaps:
    """No upstream has a daily cap."""

    async def spent(self) -> Mapping[str, int]:
        return {}

    async def reserve(self, upstream: str, cost: int) -> bool:
        return True

    async def correct(self, upstream: str, planned: int, cost: int, at_ms: int) -> None:
        return None


class DictStore:
    """Tasks and their requests; a settlement ends a task."""

    def __init__(self) -> None:
        self.requests: dict[str, GenerationRequest] = {}
        self.tasks: dict[str, Task] = {}

    async def request_of(self, task_id: str) -> GenerationRequest:
        return self.requests[task_id]

    async def get(self, task_id: str) -> Task | None:
        return self.tasks[task_id]

    async def save(self, task: Task, attempt: Attempt | None) -> Task:
        saved = replace(task, fence=task.fence + 1)
        self.tasks[task.id] = saved
        return saved

    async def settle(self, settlement: Settlement) -> Task:
        task = apply(settlement.task, Settled(settlement.charged, settlement.at_ms))
        self.tasks[task.id] = task
        return task
