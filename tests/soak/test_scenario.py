"""A scenario of `tests/simulation` in real time: real processes, real engines, vendors over HTTP.

Troubles and prices change by the scenario's clock: a vendor's port is closed, its jobs fail, it
takes one a second, or `gateway.toml` is written anew and every process told to reload it.
`SCENARIO_SEED` and `SCENARIO_MINUTES` choose another one.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.domain.administration import COMMAND_LINE
from gateway.domain.task import Task, TaskStatus
from gateway.embedded import EmbeddedPostgres, EmbeddedValkey
from gateway.simulator import Limits, Script
from gateway.stores.valkey.connection import Valkey
from gateway.wiring.reloads import announce
from tests.crash.books import assert_books_are_sound
from tests.crash.site import Site, running_site
from tests.simulation.scenario import (
    COSTS,
    FAILING_SHARE,
    START_MS,
    THROTTLED_PER_SECOND,
    Arrival,
    Scenario,
    Spell,
    Trouble,
    drawn,
)
from tests.simulation.stand_ins import QUERIES_PER_SECOND, SUBMITS_PER_SECOND
from tests.simulation.world import (
    ADAPTERS,
    MODEL,
    clairvoyant_costs,
)

SEED = int(os.environ.get("SCENARIO_SEED", "11"))
MINUTES = int(os.environ.get("SCENARIO_MINUTES", "10"))
PER_SECOND = 2.5
WORK_MS = (5_000, 11_000)
# What a brown-out spoils fails so much later, and is noticed at the next look.
LATE_MS = WORK_MS[1] + 10_000
OPENINGS_MAX = 2
# Rights to query never exceed the rate; what a busy machine sends late may meet those of the next
# second on its way.
BUNCHED_MAX = QUERIES_PER_SECOND * 5 // 4
# What is chosen for the first seconds of a trouble, before it shows, costs more here than in
# virtual time: several processes, and jobs whose length is not that of the scenario.
DEARER_MAX = Decimal("1.03")
BREAKER = re.compile(r'igw_breaker_state\{model="([^"]+)",upstream="([^"]+)"\} ([0-9.]+)')

pytestmark = pytest.mark.soak


def configuration(costs: Mapping[str, int]) -> str:
    """Give the operator's file at these costs, with the vendors' addresses left open."""
    accounts = "".join(
        f"""
[upstreams.{name}]
adapter = "{adapter}"
base_url = "{{{adapter}}}"
api_key = "key-of-{name}"
allow_private = true
max_in_flight = 0
submit_per_second = {SUBMITS_PER_SECOND}
query_per_second = {QUERIES_PER_SECOND}
offers = [{{{{ model = "{MODEL}", cost_usd = "{Decimal(costs[name]).scaleb(-6)}" }}}}]
"""
        for name, adapter in ADAPTERS.items()
    )
    return f'{accounts}\n[models."{MODEL}"]\nprice_credits = "3"\n'


class Player:
    """Lets the scenario happen to a site, second by second."""

    def __init__(self, site: Site, scenario: Scenario) -> None:
        self.site = site
        self.scenario = scenario
        self.began_s = time.time()
        self.openings: dict[str, list[int]] = defaultdict(list)
        self._urls = {adapter: site.simulator.base_url(adapter) for adapter in ADAPTERS.values()}
        self._costs = dict(COSTS)
        self._in_trouble: dict[str, Trouble | None] = dict.fromkeys(COSTS)
        self._open: set[str] = set()

    @property
    def at_ms(self) -> int:
        """The scenario's time."""
        return START_MS + int((time.time() - self.began_s) * 1000)

    async def happen(self) -> None:
        """Bring troubles and prices about, and watch the circuits, until the scenario ends."""
        while self.at_ms < self.scenario.end_ms:
            for name, adapter in ADAPTERS.items():
                trouble = self.scenario.trouble(name, self.at_ms)
                if trouble is not self._in_trouble[name]:
                    await self._change(adapter, self._in_trouble[name], trouble)
                    self._in_trouble[name] = trouble
            costs = self.scenario.costs(self.at_ms)
            if costs != self._costs:
                self._costs = costs
                await self._reload()
            await self._watch()
            await asyncio.sleep(0.2)

    async def _change(self, adapter: str, was: Trouble | None, now: Trouble | None) -> None:
        simulator = self.site.simulator
        if was is Trouble.OUTAGE:
            await simulator.up(adapter)
        simulator.clear(adapter)
        simulator.limit(adapter, Limits())
        if now is Trouble.OUTAGE:
            await simulator.down(adapter)
        elif now is Trouble.BROWN_OUT:
            simulator.script(adapter, Script(fail="server_error", share=FAILING_SHARE))
        elif now is Trouble.THROTTLE:
            simulator.limit(adapter, Limits(submit_per_second=THROTTLED_PER_SECOND))

    async def _reload(self) -> None:
        text = configuration(self._costs).format(**self._urls)
        (self.site.folder / "gateway.toml").write_text(text, encoding="utf-8")
        valkey = Valkey(self.site.valkey.url)
        async with self.site.books() as books:
            await announce(books.changes, valkey, sorted(COSTS), COMMAND_LINE)
        await valkey.aclose()

    async def _watch(self) -> None:
        """Note when a circuit opens."""
        text = (await self.site.client.get("/metrics")).text
        is_open = {
            upstream
            for model, upstream, state in BREAKER.findall(text)
            if model == MODEL and float(state) == 2.0
        }
        for upstream in is_open - self._open:
            self.openings[upstream].append(self.at_ms)
        self._open = is_open

    async def arrive(self, arrival: Arrival) -> tuple[str, str]:
        """Send a task at its time; gives its name in the scenario, and its id."""
        await asyncio.sleep((arrival.at_ms - self.at_ms) / 1000)
        return arrival.task_id, await self.site.generate({"model": MODEL, "n": arrival.n})


async def test_ten_minutes_of_trouble_in_real_time(
    tmp_path: Path, own_postgres: EmbeddedPostgres, own_valkey: EmbeddedValkey
) -> None:
    scenario = drawn(SEED, MINUTES, PER_SECOND)
    async with running_site(
        tmp_path, own_postgres, own_valkey, work_ms=WORK_MS, configuration=configuration(COSTS)
    ) as site:
        for adapter in ADAPTERS.values():
            site.simulator.limit(adapter, Limits())
        await site.generate({"model": MODEL})
        player = Player(site, scenario)
        happening = asyncio.create_task(player.happen())
        names = dict(await asyncio.gather(*(player.arrive(one) for one in scenario.arrivals)))
        await happening
        tasks = {task.id: task for task in await assert_books_are_sound(site)}
        peaks = {
            name: site.simulator.counts(adapter)["peak_query_per_second"]
            for name, adapter in ADAPTERS.items()
        }
    report(scenario, names, tasks, player, peaks)
    arrived = [tasks[task_id] for task_id in names.values()]
    assert len(arrived) == len(scenario.arrivals)
    completed = sum(task.status is TaskStatus.COMPLETED for task in arrived)
    assert completed >= 0.999 * len(arrived)
    least = sum(clairvoyant_costs(scenario).values())
    assert sum(task.cost for task in arrived) <= DEARER_MAX * least
    assert max(peaks.values()) <= BUNCHED_MAX
    for upstream, opened in player.openings.items():
        for spell, count in Counter(cause(scenario, upstream, at_ms) for at_ms in opened).items():
            assert spell is not None, f"{upstream} was benched while it was well"
            if spell.trouble is Trouble.THROTTLE:
                # Its circuit waits out every Retry-After.
                continue
            assert count <= OPENINGS_MAX, f"{upstream} flapped in {spell}"


def cause(scenario: Scenario, upstream: str, at_ms: int) -> Spell | None:
    """Give the trouble that explains why a circuit opened."""
    for spell in scenario.spells:
        if spell.upstream == upstream and spell.start_ms <= at_ms <= spell.end_ms + LATE_MS:
            return spell
    return None


def report(
    scenario: Scenario,
    names: Mapping[str, str],
    tasks: Mapping[str, Task],
    player: Player,
    peaks: Mapping[str, int],
) -> None:
    """Print the figures, for docs/routing.md."""
    arrived = [tasks[task_id] for task_id in names.values()]
    least = sum(clairvoyant_costs(scenario).values())
    paid = sum(task.cost for task in arrived)
    endings = Counter(task.status.value for task in arrived)
    elsewhere = sum(len(task.attempts) > 1 for task in arrived)
    dearer = Decimal(paid * 100) / least - 100
    print(
        f"seed {scenario.seed}, {MINUTES} min: {len(arrived)} tasks {dict(endings)}; {elsewhere} "
        f"were tried again; cost {dearer:.2f} % above the clairvoyant choice; queries in a second "
        f"{dict(peaks)}; circuits opened { ({k: len(v) for k, v in player.openings.items()}) }; "
        f"troubles {[(s.upstream, s.trouble.value) for s in scenario.spells]}"
    )
