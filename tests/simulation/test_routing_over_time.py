"""Outages, brown-outs, throttling and price changes over virtual time: what routing makes of them.

`python -m tests.simulation.plots` draws one of these runs for docs/routing.md.
"""

from __future__ import annotations

import asyncio

import pytest

from gateway.domain.task import TaskStatus
from tests.simulation.scenario import Spell, Trouble, drawn
from tests.simulation.stand_ins import QUERIES_PER_SECOND
from tests.simulation.world import (
    Run,
    World,
    clairvoyant_costs,
    most_in_any_second,
)

# Jobs taken at the end of a brown-out fail so much later.
SLOWEST_JOB_MS = 40_000
OPENINGS_MAX = 2


def check(run: Run) -> None:
    tasks = run.tasks.values()
    completed = sum(task.status is TaskStatus.COMPLETED for task in tasks)
    assert len(tasks) == len(run.scenario.arrivals)
    assert completed >= 0.999 * len(tasks)
    assert all(task.status.is_terminal for task in tasks)

    assert sum(task.cost for task in tasks) <= 1.02 * sum(clairvoyant_costs(run.scenario).values())

    for vendor in run.vendors.values():
        assert most_in_any_second(vendor.asked_ms) <= QUERIES_PER_SECOND
        for spell, openings in openings_by_spell(run, vendor.name):
            assert spell is not None, f"{vendor.name} was benched at {openings} while it was well"
            assert len(openings) <= OPENINGS_MAX, f"{vendor.name} flapped in {spell}"


def openings_by_spell(run: Run, upstream: str) -> list[tuple[Spell | None, list[int]]]:
    """When the circuit of an upstream opened, by the trouble that explains it."""
    spells = [
        spell
        for spell in run.scenario.spells
        if spell.upstream == upstream and spell.trouble is not Trouble.THROTTLE
    ]
    found: dict[Spell | None, list[int]] = {}
    for at_ms in run.openings(upstream):
        causes = (s for s in spells if s.start_ms <= at_ms <= s.end_ms + SLOWEST_JOB_MS)
        found.setdefault(next(causes, None), []).append(at_ms)
    return list(found.items())


@pytest.mark.parametrize("seed", [11, 14])
def test_twenty_five_minutes_of_trouble(seed):
    run = asyncio.run(World(drawn(seed, minutes=25, per_second=2.5)).run())

    check(run)
    assert run.openings("bargain"), "nothing happened in this scenario"


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10))
def test_an_hour_of_trouble(seed):
    check(asyncio.run(World(drawn(seed, minutes=60, per_second=3)).run()))


def test_the_same_seed_gives_the_same_run():
    first, second = (asyncio.run(World(drawn(7, minutes=3, per_second=1)).run()) for _ in "ab")

    assert first.samples == second.samples
    assert [t.cost for t in first.tasks.values()] == [t.cost for t in second.tasks.values()]
