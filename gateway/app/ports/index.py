"""What Valkey keeps, all of it rebuildable: live tasks, the due queue, health, budgets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.domain.health import Circuit, Signal
from gateway.domain.limits import Limit, Taken
from gateway.domain.money import MicroUsd
from gateway.domain.performance import Outcome, Track
from gateway.domain.request import GenerationRequest
from gateway.domain.task import Task


@dataclass(frozen=True, slots=True)
class QueueFigures:
    """The due queue now: tasks in it, tasks due, and how long (ms) the oldest due one waits."""

    tasks: int
    due: int
    lag_ms: int


class KeyLimits(Protocol):
    """What API keys used of their limits, counted by all processes together."""

    async def take(self, key_id: str, limits: Sequence[Limit]) -> Taken:
        """Take what a call asks for from every limit, or nothing from any."""
        ...

    async def give_back(self, key_id: str, taken: Taken) -> None:
        """Give back what a call took that was not accepted."""
        ...


class LiveTasks(Protocol):
    """Live state and the due queue. Raises IndexUnavailable while Valkey is away."""

    async def figures(self) -> QueueFigures:
        """Give the queue's figures."""
        ...

    async def enqueue(
        self, task: Task, due_ms: int, request: GenerationRequest | None = None
    ) -> None:
        """Index an accepted task and make it due, in one round trip.

        A ``request`` that is not long is handed to the first visit with the lease.
        """
        ...

    async def get(self, task_id: str) -> Task | None:
        """Give the live state, None when not indexed."""
        ...

    async def claim(self, limit: int, lease_ms: int) -> Sequence[Lease]:
        """Take due tasks for ``lease_ms``; a task is never leased twice at once."""
        ...

    async def seize(self, task_id: str, lease_ms: int) -> Lease | None:
        """Take one task out of turn; None while somebody else holds its lease."""
        ...

    async def save(self, lease: Lease, task: Task, due_ms: int | None) -> bool:
        """Write live state and end the lease: due again at ``due_ms``, or out of the queue.

        A terminal task is announced to waiters. False when the lease was lost meanwhile.
        """
        ...

    async def renew(self, leases: Sequence[Lease], lease_ms: int) -> None:
        """Extend leases still held."""
        ...

    async def release(self, leases: Sequence[Lease]) -> None:
        """Give leases back unused: their tasks are due at once."""
        ...

    async def missing(self, task_ids: Sequence[str]) -> Sequence[str]:
        """Give which of some unfinished tasks are not indexed."""
        ...

    async def add_missing(self, tasks: Sequence[Task], due_ms: int) -> int:
        """Index tasks that are not indexed (the sweeper); gives how many were added."""
        ...

    async def epoch_lost(self) -> bool:
        """Whether the index was flushed since the last ``mark_epoch``."""
        ...

    async def mark_epoch(self) -> None:
        """Say that the index is complete again."""
        ...

    async def wait_due(self, timeout_s: float) -> None:
        """Return when a task may have become due (an ``enqueue`` anywhere), or after the time."""
        ...

    async def wait(self, task_id: str, limit: asyncio.Timeout) -> Task | None:
        """Wait until a task is terminal; None when ``limit`` came first."""
        ...

    def events(self, task_id: str) -> AsyncIterator[Task]:
        """Give the task now and after every change, until terminal."""
        ...


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to visit a task until it expires; ``token`` proves it.

    ``request`` is the task's, if the index had it at hand.
    """

    task: Task
    token: str
    request: GenerationRequest | None = None


class HealthBoard(Protocol):
    """Circuit breakers shared by all processes, keyed by (upstream, model)."""

    async def circuits(self) -> Mapping[tuple[str, str], Circuit]:
        """Give all circuits that are not plainly closed (may be half a second old)."""
        ...

    async def observe(self, upstream: str, model: str, signal: Signal, at_ms: int) -> None:
        """Fold one outcome into the circuit; a success where nobody doubts it is folded in soon."""
        ...

    async def reset(self, upstream: str) -> None:
        """Close every circuit of an upstream: an operator says that it is well."""
        ...

    async def claim_trial(self, upstream: str, model: str, at_ms: int) -> bool:
        """Take the one trial a half-open circuit admits; True also when none is needed."""
        ...


class Tracks(Protocol):
    """How each (upstream, model) did lately, as all processes saw it."""

    async def tracks(self) -> Mapping[tuple[str, str], Track]:
        """Give the records known; others' news may be a second old."""
        ...

    def note(self, upstream: str, model: str, outcome: Outcome) -> None:
        """Note what became of one job."""
        ...


class Spending(Protocol):
    """What each upstream's jobs of today (UTC) cost, against its daily cap."""

    async def spent(self) -> Mapping[str, MicroUsd]:
        """Give what today's jobs cost at every upstream that has a cap."""
        ...

    async def reserve(self, upstream: str, cost: MicroUsd) -> bool:
        """Count a job that is about to be sent; False, counting nothing, past the cap."""
        ...

    async def correct(self, upstream: str, planned: MicroUsd, cost: MicroUsd, at_ms: int) -> None:
        """Count what a job that was sent at a time cost instead of what was planned."""
        ...


@dataclass(frozen=True, slots=True)
class PollLine:
    """The tasks that wait for a query of an upstream, and how long (ms) the first one is due."""

    waiting: int
    lag_ms: int


class Budgets(Protocol):
    """Token buckets and in-flight counts per upstream account."""

    async def take_submit(self, upstream: str, attempt_id: str) -> int:
        """Take the right to submit now: 0, or the milliseconds until one is free.

        Counts the attempt as in flight until ``finish``.
        """
        ...

    async def take_query(self, upstream: str, count: int = 1) -> int:
        """Take the right to query now: 0, or the milliseconds until one is free."""
        ...

    async def take_poll(self, upstream: str, task_id: str, likely_ms: int) -> int:
        """Take the right to poll a task that is probably done at a time (UTC ms).

        Gives 0, or the milliseconds after which to ask again. Where more tasks want a query
        than the rate allows, those likely done first are first.
        """
        ...

    async def poll_lines(self) -> Mapping[str, PollLine]:
        """Give the line at each upstream that limits queries. Raises IndexUnavailable."""
        ...

    async def finish(self, upstream: str, attempt_id: str) -> None:
        """The attempt no longer runs at the vendor."""
        ...

    async def in_flight(self) -> Mapping[str, int]:
        """Give how many attempts run at each upstream."""
        ...
