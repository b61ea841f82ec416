"""Holds per second on one hot team: coalesced into batches, against one statement each.

    python -m benchmarks.holds [--seconds 3] [--database-url postgresql://…]

Without a URL an embedded PostgreSQL with production's durability is started in a temporary
directory. Every figure is from a closed loop of callers, each of which accepts task after task.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from gateway.app.ports import NewTask
from gateway.domain.money import MICRO
from gateway.domain.request import GenerationRequest
from gateway.domain.task import Task
from gateway.embedded import EmbeddedPostgres
from gateway.stores.postgres import migrate
from gateway.stores.postgres.database import Database
from gateway.stores.postgres.ledger import PostgresLedger
from gateway.stores.postgres.tasks import PostgresTasks, encoded
from gateway.stores.postgres.vault import Vault

PROMPT = "A lighthouse on a cliff at dusk, oil painting, long shadows, warm light"
GRANT = 10**12 * MICRO // 1000


class WallClock:
    """Time as it is."""

    def now_ms(self) -> int:
        """Give UTC milliseconds."""
        return time.time_ns() // 1_000_000


def new_task(team_id: str, number: int) -> NewTask:
    """Give a plain request for one picture of 1.5 credits."""
    now_ms = time.time_ns() // 1_000_000
    task = Task(
        id=f"task-unified-{now_ms}-{number:08d}",
        team_id=team_id,
        key_id="key_benchmark",
        dialect="evolink",
        model="wan2.5-t2i-preview",
        requested_model="wan2.5-text-to-image",
        n=1,
        tier="1K",
        unit_price=1_500_000,
        hold=1_500_000,
        created_ms=now_ms,
        deadline_ms=now_ms + 600_000,
    )
    return NewTask(task, GenerationRequest(model=task.model, prompt=PROMPT))


async def measure(
    accept: Callable[[NewTask], Awaitable[None]], team_id: str, callers: int, seconds: float
) -> tuple[float, float, float]:
    """Give accepts per second, and the median and 99th percentile latency in ms."""
    numbers = itertools.count()
    latencies: list[float] = []
    stop_at = time.perf_counter() + seconds

    async def caller() -> None:
        while (started := time.perf_counter()) < stop_at:
            await accept(new_task(team_id, next(numbers)))
            latencies.append(time.perf_counter() - started)

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    took = time.perf_counter() - began
    latencies.sort()
    middle, slow = latencies[len(latencies) // 2], latencies[int(len(latencies) * 0.99)]
    return len(latencies) / took, middle * 1000, slow * 1000


async def run(url: str, seconds: float) -> None:
    """Print one line per way and number of callers."""
    database = Database(url, application_name="gateway benchmark")
    await database.connect()
    ledger = PostgresLedger(database, WallClock(), Vault("benchmark" * 4))
    tasks = PostgresTasks(database)

    async def alone(new: NewTask) -> None:
        (refused,) = await tasks.accept_batch([encoded(new)])
        if refused:
            raise refused

    print(f"{'way':12}{'callers':>8}{'holds/s':>10}{'p50 ms':>9}{'p99 ms':>9}")
    for callers in (1, 64, 256):
        for way, accept in (("one by one", alone), ("coalesced", tasks.accept)):
            team = await ledger.create_team(f"{way} {callers} {time.time_ns()}")
            await ledger.grant(team.id, GRANT, None)
            rate, middle, slow = await measure(accept, team.id, callers, seconds)
            print(f"{way:12}{callers:>8}{rate:>10.0f}{middle:>9.1f}{slow:>9.1f}", flush=True)
    report = await ledger.verify()
    print(f"{report.transfers} transfers, {len(report.violations)} violations")
    await tasks.close()
    await database.close()


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--database-url")
    options = parser.parse_args()
    if options.database_url:
        migrate.upgrade(options.database_url)
        uvloop.run(run(options.database_url, options.seconds))
        return
    with tempfile.TemporaryDirectory() as directory:
        server = EmbeddedPostgres(Path(directory))
        url = server.ensure()
        try:
            migrate.upgrade(url)
            uvloop.run(run(url, options.seconds))
        finally:
            server.release()


if __name__ == "__main__":
    main()
