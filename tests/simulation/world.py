"""The product's own visits, routing and circuit breakers under a clock that a test turns.

Real: `Advance` and every step of a visit, `rank`, `decide`, `observe`, the health board with its
compare-and-set. Made up: the clock, the vendors, and dictionaries for Postgres and Valkey. Rates
are kept by the window that a process uses while Valkey is away: the same rule as its Lua script.
A call takes no virtual time.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, cast

import structlog

from gateway.app.advance import Advance
from gateway.app.outlook import Outlook
from gateway.app.poll_batches import PollBatches
from gateway.app.ports import Lease
from gateway.app.results import ResultKeeper
from gateway.app.retries import RetryBudget
from gateway.app.task_lists import TaskLists
from gateway.app.visit import Tools
from gateway.domain.errors import Blame, Sent, UpstreamError
from gateway.domain.health import CircuitState
from gateway.domain.task import Task
from gateway.domain.upstream import (
    Accepted,
    Delivered,
    Job,
    PollAnswer,
    Running,
    SubmitAnswer,
    UpstreamImage,
)
from gateway.domain.validation import normalize
from gateway.stores.valkey.health import ValkeyHealthBoard
from tests.simulation.scenario import (
    COSTS,
    START_MS,
    THROTTLED_PER_SECOND,
    Arrival,
    Scenario,
    Trouble,
)
from tests.simulation.stand_ins import (
    SUBMITS_PER_SECOND,
    DictHash,
    DictStore,
    DictTracks,
    NoCaps,
    NothingDrained,
    VirtualBudgets,
    VirtualClock,
)
from tests.support.catalogs import ask, catalog_of, model, upstream_toml

MODEL = "wan2.7-image"
ADAPTERS = {"bargain": "qingbo", "middle": "modelverse", "dashscope": "dashscope"}
RETRY_AFTER_S = 2.0
SAMPLE_MS = 1_000


@dataclass(slots=True)
class Vendor:
    """One vendor as the scenario lets it be; it remembers when it was asked."""

    name: str
    scenario: Scenario
    clock: VirtualClock
    asked_ms: list[int] = field(default_factory=list)
    taken_ms: list[int] = field(default_factory=list)
    _jobs: dict[str, tuple[int, bool, int]] = field(default_factory=dict)
    polls_max: int = 1

    async def submit(self, job: Job) -> SubmitAnswer:
        now_ms = self.clock.now_ms()
        trouble = self.scenario.trouble(self.name, now_ms)
        if trouble is Trouble.OUTAGE:
            raise self._down()
        recent = bisect_left(self.taken_ms, now_ms - 999)
        if trouble is Trouble.THROTTLE and len(self.taken_ms) - recent >= THROTTLED_PER_SECOND:
            raise UpstreamError(
                "HTTP 429", blame=Blame.RATE, code="rate_limited", retry_after_s=RETRY_AFTER_S
            )
        self.taken_ms.append(now_ms)
        task_id = job.request.prompt
        ready_ms = now_ms + self.scenario.latency_ms(self.name, task_id)
        fails = self.scenario.fails(self.name, task_id, now_ms)
        self._jobs[job.attempt_id] = (ready_ms, fails, job.request.n)
        return Accepted(job.attempt_id)

    async def poll(self, upstream_task_id: str) -> PollAnswer:
        now_ms = self.clock.now_ms()
        self.asked_ms.append(now_ms)
        if self.scenario.trouble(self.name, now_ms) is Trouble.OUTAGE:
            raise self._down()
        ready_ms, fails, n = self._jobs[upstream_task_id]
        if now_ms < ready_ms:
            return Running()
        if fails:
            raise UpstreamError("generation failed", blame=Blame.PROVIDER, code="failed")
        return Delivered((UpstreamImage(url="https://img.example.net/1.png"),) * n)

    def _down(self) -> UpstreamError:
        return UpstreamError("connection refused", blame=Blame.PROVIDER, sent=Sent.NO, code="down")


@dataclass(frozen=True, slots=True)
class Sample:
    """How things stood at the end of one second; counts are of that second."""

    at_ms: int
    circuits: Mapping[str, CircuitState]
    taken: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Run:
    """What came of a scenario."""

    scenario: Scenario
    tasks: Mapping[str, Task]
    vendors: Mapping[str, Vendor]
    samples: tuple[Sample, ...]

    def openings(self, upstream: str) -> list[int]:
        """When a closed circuit of an upstream opened for a bench, not for Retry-After alone."""
        found = []
        before = CircuitState.CLOSED
        for sample in self.samples:
            state = sample.circuits[upstream]
            if before is CircuitState.CLOSED and state is CircuitState.OPEN:
                found.append(sample.at_ms)
            before = state
        return found


class World:
    """One process with everything around it, run over a scenario."""

    def __init__(self, scenario: Scenario) -> None:
        self.clock = VirtualClock()
        self.scenario = scenario
        self.vendors = {name: Vendor(name, scenario, self.clock) for name in COSTS}
        self.store = DictStore()
        self.health = ValkeyHealthBoard(cast("Any", DictHash()))
        self._catalogs: dict[tuple[int, ...], Any] = {}
        self._due: list[tuple[int, int, str]] = []
        self._seq = 0
        self._advance = Advance(self._tools())

    def _tools(self) -> Tools:
        budgets = cast("Any", VirtualBudgets(self.clock))
        tracks, spending = DictTracks(), cast("Any", NoCaps())
        return Tools(
            catalog=self._catalog,
            adapters=lambda: cast("Any", self.vendors),
            tasks=cast("Any", self.store),
            live=cast("Any", self),
            health=self.health,
            budgets=budgets,
            tracks=tracks,
            spending=spending,
            retries=RetryBudget(),
            batches=PollBatches(budgets),
            lists=TaskLists(
                self._catalog, dict, budgets, cast("Any", None), cast("Any", self.clock)
            ),
            outlook=Outlook(self.health, budgets, NothingDrained(), tracks, spending),
            results=ResultKeeper(cast("Any", None), cast("Any", None), self.clock, False, 0),
            clock=self.clock,
            on_settled=lambda task: None,
        )

    def _catalog(self) -> Any:
        costs = self.scenario.costs(self.clock.now_ms())
        known = tuple(costs.values())
        if known not in self._catalogs:
            self._catalogs[known] = catalog_of(
                "".join(
                    upstream_toml(name, ADAPTERS[name], {MODEL: str(Decimal(cost) / 10**6)})
                    for name, cost in costs.items()
                )
            )
        return self._catalogs[known]

    async def save(self, lease: Lease, task: Task, due_ms: int | None) -> bool:
        """Take a visited task back into the queue: what the live index does."""
        self.store.tasks[task.id] = task
        if due_ms is not None:
            self._push(due_ms, task.id)
        return True

    async def run(self) -> Run:
        """Play the scenario until every task has ended."""
        samples: list[Sample] = []
        arrivals = deque(self.scenario.arrivals)
        next_ms = START_MS + SAMPLE_MS
        while arrivals or self._due:
            at_ms = min(
                arrivals[0].at_ms if arrivals else math.inf,
                self._due[0][0] if self._due else math.inf,
            )
            while next_ms <= at_ms:
                samples.append(await self._sample(next_ms, samples))
                next_ms += SAMPLE_MS
            if arrivals and arrivals[0].at_ms == at_ms:
                self._accept(arrivals.popleft())
            else:
                await self._visit()
        return Run(self.scenario, self.store.tasks, self.vendors, tuple(samples))

    async def _visit(self) -> None:
        due_ms, _, task_id = heapq.heappop(self._due)
        self.clock.at_ms = max(self.clock.at_ms, due_ms)
        with structlog.testing.capture_logs():
            await self._advance.visit(Lease(self.store.tasks[task_id], ""))

    def _accept(self, arrival: Arrival) -> None:
        request, _ = normalize(ask(MODEL, arrival.task_id, n=arrival.n), model(MODEL))
        self.store.requests[arrival.task_id] = request
        self.store.tasks[arrival.task_id] = Task(
            id=arrival.task_id,
            team_id="team",
            key_id="key",
            dialect="evolink",
            model=MODEL,
            requested_model=MODEL,
            n=arrival.n,
            tier="1K",
            unit_price=1,
            hold=arrival.n,
            created_ms=arrival.at_ms,
            deadline_ms=arrival.at_ms + 600_000,
        )
        self._push(arrival.at_ms, arrival.task_id)

    def _push(self, due_ms: int, task_id: str) -> None:
        self._seq += 1
        heapq.heappush(self._due, (due_ms, self._seq, task_id))

    async def _sample(self, at_ms: int, before: list[Sample]) -> Sample:
        circuits = await self.health.circuits()
        states = {}
        for name in self.vendors:
            circuit = circuits.get((name, MODEL))
            benched = circuit is not None and circuit.is_benched
            states[name] = circuit.state(at_ms) if benched else CircuitState.CLOSED
        since_ms = before[-1].at_ms if before else START_MS
        taken = {
            name: sum(1 for ms in vendor.taken_ms[-50:] if since_ms <= ms < at_ms)
            for name, vendor in self.vendors.items()
        }
        return Sample(at_ms, states, taken)


def clairvoyant_costs(scenario: Scenario) -> Mapping[str, int]:
    """What each task costs one who knows beforehand which vendor will deliver, in micro-USD.

    Task by task, on arrival, the cheapest vendor that takes and finishes it, within the same
    rates. A task that the gateway tries again later may meet a lower price than this.
    """
    taken: defaultdict[str, deque[int]] = defaultdict(deque)
    found = {}
    for arrival in scenario.arrivals:
        costs = scenario.costs(arrival.at_ms)
        name = min(
            (name for name in costs if _would_deliver(scenario, taken[name], name, arrival)),
            key=costs.__getitem__,
        )
        taken[name].append(arrival.at_ms)
        found[arrival.task_id] = costs[name] * arrival.n
    return found


def _would_deliver(scenario: Scenario, taken: deque[int], name: str, arrival: Arrival) -> bool:
    while taken and taken[0] <= arrival.at_ms - 1_000:
        taken.popleft()
    trouble = scenario.trouble(name, arrival.at_ms)
    rate = THROTTLED_PER_SECOND if trouble is Trouble.THROTTLE else SUBMITS_PER_SECOND
    fails = scenario.fails(name, arrival.task_id, arrival.at_ms)
    return trouble is not Trouble.OUTAGE and not fails and len(taken) < rate


def most_in_any_second(times_ms: list[int]) -> int:
    """The most calls in any one second."""
    window: deque[int] = deque()
    most = 0
    for at_ms in times_ms:
        window.append(at_ms)
        while window[0] <= at_ms - 1_000:
            window.popleft()
        most = max(most, len(window))
    return most
