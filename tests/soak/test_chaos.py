"""Fifteen minutes of everything at once: the books must still be exact.

Real processes on engines of their own. Vendors are slow, partial, rate-limiting, duplicating,
lying and cut off; processes and engines are killed at random; callers wait, cancel and repeat.
`CHAOS_TASKS`, `CHAOS_SECONDS` and `CHAOS_SEED` choose a smaller or another run.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from pathlib import Path

import pytest

from gateway.domain.task import Outcome, Task, TaskStatus
from gateway.embedded import EmbeddedPostgres, EmbeddedValkey
from gateway.simulator import Script
from tests.crash.books import assert_books_are_sound, figures_of
from tests.crash.site import Site, running_site
from tests.support.stack import CONFIGURATION, MODEL

TASKS = int(os.environ.get("CHAOS_TASKS", "5000"))
SECONDS = int(os.environ.get("CHAOS_SECONDS", "720"))
SEED = int(os.environ.get("CHAOS_SEED", "1"))
PAUSE_S = (10.0, 25.0)

pytestmark = pytest.mark.soak

PATIENT = CONFIGURATION.replace(
    'price_credits = "1.5"\n', 'price_credits = "1.5"\ndeadline_seconds = 120\n', 1
)

FAULTS = {
    "evolink": (
        Script(error="server_error", share=0.05),
        Script(fail="service_error", share=0.05),
        Script(accept_then="reset", share=0.03),
        Script(accept_then="timeout", share=0.002),
        Script(answer="garbage", share=0.02),
        Script(answer="wrong_types", share=0.01),
        Script(deliver=1, share=0.05),
        Script(work_ms=1_500, share=0.05),
        Script(stuck=True, share=0.004),
        Script(cancelled=True, share=0.01),
        Script(unknown_ms=1_500, share=0.03),
        Script(links="missing", share=0.01),
        Script(on="query", error="server_error", share=0.05),
        Script(on="query", answer="slow", share=0.01),
    ),
    "dashscope": (
        Script(error="rate", retry_after_s=1, share=0.05),
        Script(fail="content_policy", share=0.02),
        Script(reset=True, share=0.05),
        Script(answer="html", share=0.03),
        Script(answer="empty", share=0.02),
        Script(deliver=2, share=0.05),
        Script(work_ms=4_000, share=0.05),
        Script(on="query", answer="truncated", share=0.05),
        Script(on="query", error="rate", retry_after_s=1, share=0.02),
    ),
}


async def call(site: Site, number: int, chance: random.Random) -> None:
    """Be one caller: mostly patient, sometimes waiting for the answer, sometimes cancelling."""
    kind = chance.choices(("task", "wait", "cancel"), (80, 15, 5))[0]
    headers = {"prefer": "wait=20"} if kind == "wait" else {}
    slow = " [sim:work_ms=4000]" if kind == "cancel" else ""
    body = {"model": MODEL, "prompt": f"kite {number}{slow}", "n": chance.randint(1, 4)}
    task_id = await site.generate(body, **headers)
    if kind == "cancel":
        await asyncio.sleep(chance.random() * 3)
        await site.cancel(task_id)


async def disasters(site: Site, chance: random.Random, seen: Counter[str]) -> None:
    """Strike every now and then, until cancelled."""

    async def flush() -> None:
        site.flush()

    kinds = {
        "kill -9 worker": lambda: site.kill("worker"),
        "kill -9 api": lambda: site.kill("api"),
        "drain worker": lambda: site.drain("worker"),
        "Valkey flush": flush,
        "Valkey kill": site.restart_valkey,
        "Postgres kill": site.restart_postgres,
    }
    while True:
        await asyncio.sleep(chance.uniform(*PAUSE_S))
        kind = chance.choice(tuple(kinds))
        if kind.endswith("worker") and len(site.of("worker")) < 2:
            continue
        seen[kind] += 1
        await kinds[kind]()


async def test_every_task_ends_and_every_credit_is_accounted_for(
    tmp_path: Path, own_postgres: EmbeddedPostgres, own_valkey: EmbeddedValkey
) -> None:
    chance, seen, began = random.Random(SEED), Counter[str](), time.monotonic()
    async with running_site(
        tmp_path, own_postgres, own_valkey, work_ms=(300, 1_200), configuration=PATIENT
    ) as site:
        for vendor, scripts in FAULTS.items():
            site.simulator.script(vendor, *scripts)
        striking = asyncio.create_task(disasters(site, random.Random(SEED + 1), seen))
        calls = []
        for number in range(TASKS):
            behind_s = began + number * SECONDS / TASKS - time.monotonic()
            await asyncio.sleep(max(0, behind_s))
            calls.append(asyncio.create_task(call(site, number, chance)))
        await asyncio.gather(*calls)
        calm_s = time.monotonic() - began
        striking.cancel()
        await asyncio.gather(striking, return_exceptions=True)
        tasks = await assert_books_are_sound(site)
        figures = figures_of(site, tasks)
    assert striking.cancelled()
    report(tasks, seen)
    print(f"chaos {calm_s:.0f} s, all ended after {time.monotonic() - began:.0f} s: {figures}")
    assert len(tasks) == TASKS
    endings = Counter(task.status for task in tasks)
    assert endings[TaskStatus.COMPLETED] > TASKS * 0.85
    assert all(task.charged == 0 for task in tasks if task.status is not TaskStatus.COMPLETED)


def report(tasks: list[Task], seen: Counter[str]) -> None:
    """Print what happened, for docs/reliability.md."""
    print(f"seed {SEED}: {sum(seen.values())} disasters {dict(seen)}")
    print(f"tasks {dict(Counter(task.status.value for task in tasks))}")
    reasons = Counter(task.error.code for task in tasks if task.error)
    print(f"failed because {dict(reasons)}")
    outcomes = Counter(attempt.outcome for task in tasks for attempt in task.attempts)
    print(f"attempts { ({outcome.value: outcomes[outcome] for outcome in Outcome}) }")
    partial = sum(0 < len(task.images) < task.n for task in tasks)
    print(f"partial deliveries {partial}, pictures {sum(len(task.images) for task in tasks)}")
