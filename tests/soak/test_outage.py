"""An outage of the cheapest vendor under load, in real time, by real processes over HTTP.

The same promise that `tests/simulation` proves in virtual time: no task is lost, the share moves to
the next vendor within two seconds, and comes back after the recovery. `OUTAGE_RATE` tasks arrive
per second.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from gateway.domain.task import Outcome, Task, TaskStatus
from gateway.embedded import EmbeddedPostgres, EmbeddedValkey
from gateway.simulator import Limits, Script
from tests.crash.books import assert_books_are_sound
from tests.crash.site import Site, running_site
from tests.support.stack import CONFIGURATION, MODEL

RATE = int(os.environ.get("OUTAGE_RATE", "50"))
CALM_S, OUTAGE_S, AFTER_S = 10, 20, 30
MOVED_WITHIN_MS = 2_000
BACK_WITHIN_MS = 20_000

pytestmark = pytest.mark.soak

# A second vendor that has room for all.
ROOMY = CONFIGURATION.replace(
    'api_key = "key-of-dear"',
    'api_key = "key-of-dear"\nmax_in_flight = 0\nsubmit_per_second = 0\nquery_per_second = 0',
)

OUTAGES = {
    "it answers 500": (Script(error="server_error"), Script(on="query", error="server_error")),
    "it hangs up": (Script(reset=True), Script(on="query", reset=True)),
}


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def arrivals(site: Site, seconds: int) -> None:
    """Send tasks at an even pace, whatever becomes of the ones before."""
    began, calls = time.monotonic(), []
    for number in range(seconds * RATE):
        await asyncio.sleep(max(0, began + number / RATE - time.monotonic()))
        calls.append(asyncio.create_task(site.generate({"model": MODEL})))
    await asyncio.gather(*calls)


@pytest.mark.parametrize("kind", OUTAGES)
async def test_an_outage_of_the_cheapest_loses_no_task_and_its_share_moves_and_returns(
    kind: str, tmp_path: Path, own_postgres: EmbeddedPostgres, own_valkey: EmbeddedValkey
) -> None:
    async with running_site(
        tmp_path, own_postgres, own_valkey, work_ms=(1_000, 2_000), configuration=ROOMY
    ) as site:
        site.simulator.limit("dashscope", Limits())
        await site.generate({"model": MODEL})
        coming = asyncio.create_task(arrivals(site, CALM_S + OUTAGE_S + AFTER_S))
        await asyncio.sleep(CALM_S)
        out_ms = now_ms()
        site.simulator.script("evolink", *OUTAGES[kind])
        await asyncio.sleep(OUTAGE_S)
        site.simulator.clear("evolink")
        well_ms = now_ms()
        await coming
        tasks = await assert_books_are_sound(site)

    assert Counter(task.status for task in tasks) == {TaskStatus.COMPLETED: len(tasks)}
    assert len(tasks) == (CALM_S + OUTAGE_S + AFTER_S) * RATE + 1
    assert [task for task in tasks if not explains_its_route(task)] == []

    before = [task for task in tasks if task.created_ms < out_ms - MOVED_WITHIN_MS]
    assert share_of_cheap(before) == 1.0
    gone = [t for t in tasks if out_ms + MOVED_WITHIN_MS <= t.created_ms < well_ms]
    assert share_of_cheap(gone) == 0.0
    trials = [a.started_ms for t in gone for a in t.attempts if a.upstream == "cheap"]
    assert len(trials) <= 2
    back_ms = returned_ms(tasks, well_ms)
    assert back_ms is not None
    assert back_ms <= BACK_WITHIN_MS
    report(kind, tasks, out_ms, well_ms)


def share_of_cheap(tasks: Sequence[Task]) -> float:
    """Give the share of the tasks whose pictures the cheapest made."""
    return sum(task.attempts[-1].upstream == "cheap" for task in tasks) / len(tasks)


def explains_its_route(task: Task) -> bool:
    """Whether a task that went elsewhere says why: it was refused there, or left it out."""
    if task.attempts[-1].upstream == "cheap":
        return task.route[0].startswith("1. cheap")
    refused = any(a.upstream == "cheap" and a.reason for a in task.attempts[:-1])
    return refused or any(words.startswith("not cheap: ") for words in task.route)


def returned_ms(tasks: Sequence[Task], well_ms: int) -> int | None:
    """Give how long after the recovery new tasks went to the cheapest again, all of them."""
    elsewhere = [
        task.created_ms
        for task in tasks
        if task.created_ms >= well_ms and task.attempts[-1].upstream != "cheap"
    ]
    last_ms = max(elsewhere, default=well_ms)
    later = [task for task in tasks if task.created_ms > last_ms]
    return last_ms - well_ms if later else None


def report(kind: str, tasks: Sequence[Task], out_ms: int, well_ms: int) -> None:
    """Print the figures, for docs/routing.md."""
    tries = [a for t in tasks for a in t.attempts if a.upstream == "cheap"]
    bad = [a for a in tries if a.outcome in (Outcome.REFUSED, Outcome.NOT_SENT, Outcome.UNKNOWN)]
    last_bad = max((a.started_ms for a in bad if a.started_ms < out_ms + 5_000), default=out_ms)
    failovers = sum(len(task.attempts) > 1 for task in tasks)
    longest = max((task.finished_ms or 0) - task.created_ms for task in tasks)
    print(
        f"{kind}: {len(tasks)} tasks at {RATE}/s, all completed; {len(bad)} submits met the "
        f"outage, the last {last_bad - out_ms} ms after it began; {failovers} failovers; all back "
        f"{returned_ms(tasks, well_ms)} ms after recovery; the longest task took {longest} ms"
    )
