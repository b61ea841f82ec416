"""The engine every vendor shares: tasks, their phases computed from the clock, limits, bill.

Nothing runs between requests. A task's phase follows from the time at which it is looked at;
finished tasks are billed the next time anybody accepts a task or asks for the bill.
"""

from __future__ import annotations

import heapq
import itertools
import random
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from gateway.simulator.billing import Bill, BillBook, BillRecord, price_of
from gateway.simulator.config import DAY_MS, Limits, SimulatorConfig, VendorConfig
from gateway.simulator.faults import Refused
from gateway.simulator.scripts import Script, ScriptBook

NEVER_MS = 1 << 62
QUEUE_MS_MAX = 1_000
RETAIN_MS = 7 * DAY_MS
"""The longest any vendor's result links live."""

SECOND_MS = 1_000


class Clock:
    """Wall clock in milliseconds since the epoch, which can be moved forward."""

    def __init__(self) -> None:
        self._ahead_ms = 0

    def now_ms(self) -> int:
        """The simulated time."""
        return int(time.time() * 1000) + self._ahead_ms

    def advance(self, by_ms: int) -> None:
        """Move the time forward for everybody."""
        if by_ms < 0:
            raise ValueError("time only moves forward")
        self._ahead_ms += by_ms


class Phase(StrEnum):
    """Where a task stands."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """Whether nothing changes any more."""
        return self not in (Phase.PENDING, Phase.RUNNING)


@dataclass(slots=True, kw_only=True)
class Order:
    """What a caller asked a vendor for, after validation. ``traits`` are the vendor's own notes on
    it.
    """

    model: str
    prompt: str
    n: int
    width: int
    height: int
    seed: int | None = None
    format: str = "png"
    key: str | None = None
    digest: bytes = b""
    traits: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class SimTask:
    """One accepted order and what will become of it. Times are milliseconds since the epoch."""

    id: str
    order: Order
    accepted_ms: int
    start_ms: int
    finish_ms: int
    end: Phase
    delivered: int
    price_usd_micros: int
    failure: str | None = None
    visible_ms: int = 0
    links: str | None = None
    cancelled_ms: int | None = None
    noticed_ms: int | None = None
    settled: bool = False

    @property
    def amount_usd_micros(self) -> int:
        """What the finished task costs."""
        return self.price_usd_micros * self.delivered

    def phase(self, now_ms: int) -> Phase:
        """The phase at a time."""
        if self.cancelled_ms is not None:
            return Phase.CANCELLED
        if now_ms < self.start_ms:
            return Phase.PENDING
        return Phase.RUNNING if now_ms < self.finish_ms else self.end

    def progress(self, now_ms: int) -> int:
        """Percent done, 0 to 100."""
        phase = self.phase(now_ms)
        if phase is Phase.SUCCEEDED:
            return 100
        if phase is not Phase.RUNNING:
            return 0
        if self.finish_ms >= NEVER_MS:
            return 50
        return 5 + 90 * (now_ms - self.start_ms) // max(1, self.finish_ms - self.start_ms)

    def ended_ms(self) -> int:
        """When it ended or will end."""
        return self.finish_ms if self.cancelled_ms is None else self.cancelled_ms


class Meter:
    """Counts events in a sliding second, enforces a limit and remembers the peak."""

    def __init__(self) -> None:
        self._seen: deque[int] = deque()
        self._passed: deque[int] = deque()
        self.peak = 0

    def passes(self, now_ms: int, limit: int | None) -> bool:
        """Count one event; False when the limit was already used up in the second before it."""
        self._slide(self._seen, now_ms)
        self._seen.append(now_ms)
        self.peak = max(self.peak, len(self._seen))
        if limit is None:
            return True
        self._slide(self._passed, now_ms)
        if len(self._passed) >= limit:
            return False
        self._passed.append(now_ms)
        return True

    @staticmethod
    def _slide(events: deque[int], now_ms: int) -> None:
        while events and events[0] <= now_ms - SECOND_MS:
            events.popleft()


class Engine:
    """State of one vendor."""

    def __init__(
        self, name: str, vendor: VendorConfig, simulator: SimulatorConfig, clock: Clock
    ) -> None:
        self.name = name
        self.vendor = vendor
        self.simulator = simulator
        self.clock = clock
        self.prices = vendor.price_table()
        self.limits = vendor.limits
        self.reset()

    def reset(self) -> None:
        """Forget tasks, scripts, bill and counters; limits return to the configuration's."""
        self.chance = random.Random(f"{self.simulator.seed}/{self.name}")  # noqa: S311 - repeatable
        self.scripts = ScriptBook(self.chance)
        self.limits = self.vendor.limits
        self.counts: Counter[str] = Counter()
        self.submits = Meter()
        self.queries = Meter()
        self._by_model: dict[str, Meter] = {}
        self._tasks: dict[str, SimTask] = {}
        self._by_key: dict[str, SimTask] = {}
        self._due: list[tuple[int, int, SimTask]] = []
        self._order = itertools.count()
        self._running: Counter[str] = Counter()
        self._in_flight = 0
        self.peak_in_flight = 0
        self._pending_images = 0
        self._pending_usd_micros = 0
        self._book = BillBook()
        self._last_id: str | None = None

    def set_limits(self, limits: Limits) -> None:
        """Put other limits in force until the next reset."""
        self.limits = limits

    def latency_ms(self, script: Script) -> int:
        """How long an answer is held back."""
        if script.latency_ms is not None:
            return script.latency_ms
        own = self.vendor.latency_ms
        return self.simulator.latency_ms if own is None else own

    def draft(self, order: Order, script: Script, task_id: str) -> SimTask:
        """Plan a task that would be accepted now, without accepting it."""
        now_ms = self.clock.now_ms()
        work_ms = self._work_ms(script)
        delivered = order.n if script.deliver is None else min(script.deliver, order.n)
        end = Phase.SUCCEEDED
        if script.cancelled:
            end = Phase.CANCELLED
        elif script.fail is not None:
            end = Phase.FAILED
        start_ms = now_ms + self._queue_ms(script, work_ms)
        price = price_of(self.prices[order.model], order.width, order.height)
        if script.duplicate_id and self._last_id is not None:
            task_id = self._last_id
        return SimTask(
            id=task_id,
            order=order,
            accepted_ms=now_ms,
            start_ms=start_ms,
            finish_ms=NEVER_MS if script.stuck else max(start_ms, now_ms + work_ms),
            end=end,
            delivered=delivered if end is Phase.SUCCEEDED else 0,
            price_usd_micros=price,
            failure=script.fail,
            visible_ms=now_ms + script.unknown_ms,
            links=script.links,
        )

    def admit(self, task: SimTask) -> None:
        """Accept a planned task: from now on it is known, runs and will be billed."""
        self.settle()
        self._purge(task.accepted_ms)
        self._tasks[task.id] = task
        self._last_id = task.id
        if task.order.key is not None:
            self._by_key[task.order.key] = task
        heapq.heappush(self._due, (task.finish_ms, next(self._order), task))
        self._running[task.order.model] += 1
        self._in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self._in_flight)
        if task.finish_ms < NEVER_MS:
            self._pending_images += task.delivered
            self._pending_usd_micros += task.amount_usd_micros
        self.counts["accepted"] += 1

    def replay(self, order: Order) -> SimTask | None:
        """The task already accepted under the order's idempotency key; Refused when the body
        differs.
        """
        if order.key is None:
            return None
        task = self._by_key.get(order.key)
        if task is None or task.accepted_ms + self.simulator.task_ttl_ms <= self.clock.now_ms():
            return None
        if task.order.digest != order.digest:
            raise Refused("idempotency_conflict")
        self.counts["replayed"] += 1
        return task

    def check_submit(self, model: str) -> None:
        """Count a submit; Refused with ``rate`` over any limit of the account or the model."""
        now_ms = self.clock.now_ms()
        self.settle()
        per_second, at_once = self.limits.models.get(model, (None, None))
        meter = self._by_model.setdefault(model, Meter())
        passed = self.submits.passes(now_ms, self.limits.submit_per_second)
        passed = meter.passes(now_ms, per_second) and passed
        most = self.limits.in_flight
        if most is not None and self._in_flight >= most:
            passed = False
        if at_once is not None and self._running[model] >= at_once:
            passed = False
        if not passed:
            raise Refused("rate")

    def check_query(self) -> None:
        """Count a query; Refused with ``rate`` over the account's limit."""
        if not self.queries.passes(self.clock.now_ms(), self.limits.query_per_second):
            raise Refused("rate")

    def find(self, task_id: str) -> SimTask | None:
        """A task that is known, visible and not yet forgotten."""
        task = self._tasks.get(task_id)
        now_ms = self.clock.now_ms()
        if task is None or now_ms < task.visible_ms:
            return None
        return None if task.accepted_ms + self.simulator.task_ttl_ms <= now_ms else task

    def cancel(self, task: SimTask) -> None:
        """End a task as cancelled; nothing is billed."""
        task.cancelled_ms = self.clock.now_ms()
        self._leave(task)

    def remembered(self, task_id: str) -> SimTask | None:
        """A task still in memory, whatever queries say of it."""
        return self._tasks.get(task_id)

    def newest(self) -> Iterator[SimTask]:
        """The known tasks, newest first."""
        now_ms = self.clock.now_ms()
        for task in reversed(self._tasks.values()):
            if task.accepted_ms + self.simulator.task_ttl_ms > now_ms >= task.visible_ms:
                yield task

    def all_tasks(self) -> list[SimTask]:
        """Every task in memory, oldest first."""
        return list(self._tasks.values())

    @property
    def in_flight(self) -> int:
        """Accepted jobs that have not ended."""
        self.settle()
        return self._in_flight

    def settle(self) -> None:
        """Bill what has finished by now."""
        now_ms = self.clock.now_ms()
        while self._due and self._due[0][0] <= now_ms:
            task = heapq.heappop(self._due)[2]
            if task.settled:
                continue
            self._leave(task)
            if task.delivered:
                self._book.add(_record(task))

    def bill(self) -> Bill:
        """The account as it stands now."""
        self.settle()
        return self._book.bill(self.name, self._pending_images, self._pending_usd_micros)

    def _leave(self, task: SimTask) -> None:
        if task.settled:
            return
        task.settled = True
        self._running[task.order.model] -= 1
        self._in_flight -= 1
        if task.finish_ms < NEVER_MS:
            self._pending_images -= task.delivered
            self._pending_usd_micros -= task.amount_usd_micros

    def _work_ms(self, script: Script) -> int:
        if script.work_ms is not None:
            return script.work_ms
        shortest, longest = self.vendor.work_ms or self.simulator.work_ms
        return self.chance.randint(shortest, longest)

    def _queue_ms(self, script: Script, work_ms: int) -> int:
        for choice in (script.queue_ms, self.vendor.queue_ms, self.simulator.queue_ms):
            if choice is not None:
                return choice
        return min(QUEUE_MS_MAX, work_ms // 5)

    def _purge(self, now_ms: int) -> None:
        while self._tasks:
            oldest = next(iter(self._tasks.values()))
            expired = oldest.accepted_ms + RETAIN_MS <= now_ms
            if not expired and len(self._tasks) < self.simulator.max_tasks:
                return
            del self._tasks[oldest.id]
            if oldest.order.key is not None and self._by_key.get(oldest.order.key) is oldest:
                del self._by_key[oldest.order.key]
            if oldest.finish_ms >= NEVER_MS:
                self._leave(oldest)


def _record(task: SimTask) -> BillRecord:
    return BillRecord(
        task_id=task.id,
        model=task.order.model,
        images=task.delivered,
        amount_usd_micros=task.amount_usd_micros,
        accepted_ms=task.accepted_ms,
        billed_ms=task.finish_ms,
        idempotency_key=task.order.key,
    )
