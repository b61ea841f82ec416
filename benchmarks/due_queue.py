"""Measure the due queue on an embedded Valkey: enqueue, claim, save, wait, rebuild after a flush.

    python -m benchmarks.due_queue [--tasks 30000]

One process and its server share the machine: read the figures as ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import tempfile
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import uvloop

from gateway.app.ports import Lease
from gateway.domain.task import Attempt, Ending, Image, Outcome, Task, TaskStatus
from gateway.embedded import EmbeddedValkey
from gateway.stores.valkey import keys
from gateway.stores.valkey.budgets import UpstreamLimits, ValkeyBudgets
from gateway.stores.valkey.connection import Valkey
from gateway.stores.valkey.live_tasks import ValkeyLiveTasks

LEASE_MS = 10_000
UPSTREAM = "dashscope-beijing"


def a_task(no: int) -> Task:
    """Give a task at a vendor, as the queue mostly holds them."""
    now_ms = time.time_ns() // 1_000_000
    attempt = Attempt(
        id=f"0190f5a2-7c1e-7b3e-8a51-{no:012d}",
        no=1,
        upstream=UPSTREAM,
        adapter="dashscope",
        upstream_model="wan2.5-t2i-preview",
        started_ms=now_ms,
        planned_cost=29_000,
        outcome=Outcome.ACCEPTED,
        upstream_task_id=f"0385dc79-5ff8-4d82-bcb6-{no:012d}",
        polls=3,
    )
    return Task(
        id=f"task-unified-1757165031-{no:08d}",
        team_id="0190f5a2-7c1e-7b3e-8a51-7a2b6d7f4e10",
        key_id="0190f5a2-7c1e-7b3e-8a51-7a2b6d7f4e11",
        dialect="evolink",
        model="wan2.5-t2i-preview",
        requested_model="gpt-image-1",
        n=1,
        tier="1K",
        unit_price=1_500_000,
        hold=1_500_000,
        created_ms=now_ms,
        deadline_ms=now_ms + 600_000,
        status=TaskStatus.PROCESSING,
        progress=40,
        fence=2,
        attempts=(attempt,),
        echo={"type": "image"},
    )


async def unknown(_task_id: str) -> Task | None:
    """Give nothing: no Postgres takes part."""
    return None


@asynccontextmanager
async def timed(label: str, count: int) -> AsyncIterator[None]:
    """Print how many of something happened per second, and the processor time of each."""
    began, processor = time.perf_counter(), time.process_time()
    yield
    took, used = time.perf_counter() - began, time.process_time() - processor
    each_us = used / count * 1e6
    print(f"{label:<46} {count / took:>10,.0f} /s {each_us:>8.0f} µs CPU each  ({took:.2f} s)")


async def concurrently(calls: int, workers: int, call: Callable[[int], Awaitable[object]]) -> None:
    """Make calls 0 … n-1, so many at once."""
    numbers = iter(range(calls))

    async def work() -> None:
        for no in numbers:
            await call(no)

    await asyncio.gather(*(work() for _ in range(workers)))


async def claim_all(live: ValkeyLiveTasks, limit: int) -> list[Lease]:
    """Claim until nothing is due."""
    leases: list[Lease] = []
    while found := await live.claim(limit, LEASE_MS):
        leases += found
    return leases


async def measure(url: str, count: int) -> None:
    """Run every measurement."""
    server = Valkey(url)
    live = ValkeyLiveTasks(server, unknown)
    tasks = [a_task(no) for no in range(count)]
    await measure_memory(server, live, tasks[0])
    await measure_latency(server, live)
    await measure_visits(server, live, tasks)
    await measure_rebuild(server, live, tasks)
    await measure_waiters(live, tasks[:2_000])
    await measure_budgets(server)
    await live.aclose()
    await server.aclose()


async def measure_memory(server: Valkey, live: ValkeyLiveTasks, task: Task) -> None:
    """Print what one task takes in the server."""
    await live.enqueue(task, 0)
    (lease,) = await live.claim(1, LEASE_MS)
    await live.save(lease, task, 0)
    used = await server.execute("MEMORY", "USAGE", keys.task(task.id), "SAMPLES", 0)
    print(f"{'memory of one task':<46} {used:>10,} bytes")
    await server.execute("FLUSHALL")


async def measure_latency(server: Valkey, live: ValkeyLiveTasks) -> None:
    """Print how long one call takes when nothing else happens."""
    took = []
    for no in range(500):
        began = time.perf_counter()
        await live.enqueue(a_task(no), 0)
        took.append(time.perf_counter() - began)
    took.sort()
    print(
        f"{'one enqueue, idle: p50 / p99':<46} {took[250] * 1e6:>6.0f} / {took[495] * 1e6:.0f} µs"
    )
    await server.execute("FLUSHALL")


async def measure_visits(server: Valkey, live: ValkeyLiveTasks, tasks: Sequence[Task]) -> None:
    """Print the rates of the three calls of a task's life, and of a whole poll."""
    count = len(tasks)
    async with timed("enqueue, 64 at once", count):
        await concurrently(count, 64, lambda no: live.enqueue(tasks[no], 0))
    async with timed("claim, 200 a call", count):
        leases = await claim_all(live, 200)
    async with timed("get, 64 at once", count):
        await concurrently(count, 64, lambda no: live.get(tasks[no].id))
    async with timed("save and re-arm, 64 at once", count):
        await concurrently(count, 64, lambda no: live.save(leases[no], leases[no].task, 0))
    async with timed("claim + save (a poll's share), 200 at once", count):
        while leases := list(await live.claim(200, LEASE_MS)):
            await asyncio.gather(*(live.save(one, one.task, 2**50) for one in leases))
    await server.execute("FLUSHALL")


async def measure_rebuild(server: Valkey, live: ValkeyLiveTasks, tasks: Sequence[Task]) -> None:
    """Print how long a flushed index takes to be whole, and all of it claimed."""
    async with timed("rebuild after a flush (add_missing, 1,000 a call)", len(tasks)):
        assert await live.epoch_lost()
        for first in range(0, len(tasks), 1_000):
            await live.add_missing(tasks[first : first + 1_000], 0)
        await live.mark_epoch()
    async with timed("sweep of a whole index (nothing missing)", len(tasks)):
        for first in range(0, len(tasks), 1_000):
            await live.add_missing(tasks[first : first + 1_000], 0)
    async with timed("first claim of everything after it", len(tasks)):
        await claim_all(live, 200)
    await server.execute("FLUSHALL")


async def measure_waiters(live: ValkeyLiveTasks, tasks: Sequence[Task]) -> None:
    """Print what synchronous callers cost: memory while they wait, time to tell them all."""
    await live.add_missing(tasks, 0)
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    waiting = [asyncio.create_task(live.wait(task.id, 600)) for task in tasks]
    await asyncio.sleep(0.5)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    print(f"{'memory of one waiter':<46} {grown / len(tasks):>10,.0f} bytes")
    leases = await claim_all(live, 200)
    async with timed("end tasks and wake their waiters", len(tasks)):
        await asyncio.gather(*(live.save(one, ended(one.task), None) for one in leases))
        await asyncio.gather(*waiting)


def ended(task: Task) -> Task:
    """Give the task completed."""
    ending = Ending(TaskStatus.COMPLETED, (Image("https://example.com/a.png"),))
    return replace(task, status=TaskStatus.COMPLETED, fence=3, ending=ending, progress=100)


async def measure_budgets(server: Valkey) -> None:
    """Print the rate of budget decisions, granted or not."""
    limits = {UPSTREAM: UpstreamLimits(5, Decimal(5), Decimal(20))}
    budgets = ValkeyBudgets(server, lambda: limits)
    async with timed("take_query, 64 at once", 20_000):
        await concurrently(20_000, 64, lambda _: budgets.take_query(UPSTREAM))


def main() -> None:
    """Start a Valkey of our own, measure, stop it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=30_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedValkey(Path(folder))
        url = server.ensure()
        try:
            uvloop.run(measure(url, arguments.tasks))
        finally:
            server.release()


if __name__ == "__main__":
    main()
