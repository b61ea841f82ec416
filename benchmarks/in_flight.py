"""What a task costs by how many are in flight: the worker's time, the engines' bytes, lateness.

    python -m benchmarks.in_flight [--sizes 300,1000,3000,10000,30000] [--rate 100] [--seconds 30]

So many tasks are at a vendor that never ends one and allows few queries a second, each of which is
used; the others wait for their turn. Beside them, tasks of another vendor arrive and end at a rate
that is the same at every size, each ready four seconds after its submit. So the polls a second and
the polls of one task are the same at every size, and what differs is how many wait.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import asyncpg
from redis import Redis

from benchmarks import plots, subjects
from benchmarks.ours import Ours, ours
from benchmarks.subjects import Call
from benchmarks.targets import Target, target_table
from gateway.cli.load import cpu_seconds, load, memory_mib, request_bytes
from gateway.stores.valkey import keys

SIZES = "300,1000,3000,10000,30000"
JOB_MS = 4_000
SLOW_QUERIES = 50
WARM_S = 10.0
SAMPLE_EVERY_S = 0.1
PRELOAD_CONNECTIONS = 32
ARRIVAL_CONNECTIONS = 8
TIMEOUT_S = 600.0
LOOKED_AT = 50


@dataclass(frozen=True, slots=True)
class Found:
    """One size: tasks ended a second, ms of the worker's processor and polls for each, polls a
    second of the waiting ones; bytes of one waiting task; how late (ms) the oldest due visit was.
    """

    size: int
    per_second: float
    cpu_ms: float
    polls: float
    slow_polls: float
    valkey_bytes: float
    postgres_bytes: float
    rss_mib: float
    lag_p50_ms: float
    lag_p99_ms: float


class Engines:
    """Reads how full the engines of a gateway are."""

    def __init__(self, gateway: Ours) -> None:
        """Take the gateway, whose processes may run or not."""
        environment = gateway.box.environment
        self._postgres = environment["GATEWAY_DATABASE_URL"]
        self._valkey: Any = Redis.from_url(environment["GATEWAY_REDIS_URL"])

    def bytes_used(self) -> tuple[int, int]:
        """Give the bytes in Valkey and in Postgres."""
        return int(self._valkey.info("memory")["used_memory"]), asyncio.run(self._database_bytes())

    async def _database_bytes(self) -> int:
        connection = await asyncpg.connect(self._postgres)
        try:
            size: int = await connection.fetchval("SELECT pg_database_size(current_database())")
            return size
        finally:
            await connection.close()

    def lag_ms(self) -> float:
        """Give for how long the oldest visit of a submitted task has been due."""
        now_ms = time.time() * 1000
        late = self._valkey.zrangebyscore(keys.DUE, "-inf", now_ms, 0, LOOKED_AT, withscores=True)
        for task_id, due_ms in late:
            if int(self._valkey.hget(keys.task(task_id.decode()), "fence") or 0):
                return max(0.0, now_ms - float(due_ms))
        return 0.0


def measure(size: int, *, rate: float, seconds: float) -> Found:
    """Measure one size."""
    with ours(job_ms=JOB_MS, queries=SLOW_QUERIES) as gateway:
        engines = Engines(gateway)
        gateway.box.start_api()
        worker = gateway.box.start("worker").pid
        before = engines.bytes_used()
        _accept(gateway.endless(), calls=size)
        _until_submitted(gateway, size)
        after = engines.bytes_used()
        with ThreadPoolExecutor(1) as pool:
            arriving = pool.submit(_accept, gateway.accept(), rate=rate, seconds=WARM_S + seconds)
            time.sleep(WARM_S)
            first, spent_s, began_s = _counts(gateway), cpu_seconds(worker), time.monotonic()
            lags = list[float]()
            while time.monotonic() < began_s + seconds:
                lags.append(engines.lag_ms())
                time.sleep(SAMPLE_EVERY_S)
            last, spent_s = _counts(gateway), cpu_seconds(worker) - spent_s
            took_s, rss_mib = time.monotonic() - began_s, memory_mib(worker)[0]
            arriving.result()
        ended = max(1, last["ended"] - first["ended"])
        return Found(
            size=size,
            per_second=ended / took_s,
            cpu_ms=spent_s * 1000 / ended,
            polls=(last["queries"] - first["queries"]) / ended,
            slow_polls=(last["slow_queries"] - first["slow_queries"]) / took_s,
            valkey_bytes=(after[0] - before[0]) / size,
            postgres_bytes=(after[1] - before[1]) / size,
            rss_mib=rss_mib,
            lag_p50_ms=_at(sorted(lags), 0.5),
            lag_p99_ms=_at(sorted(lags), 0.99),
        )


def _accept(
    call: Call,
    *,
    calls: int | None = None,
    rate: float | None = None,
    seconds: float = TIMEOUT_S,
) -> None:
    request = request_bytes(call.method, call.url, call.key, json.dumps(call.body).encode())
    connections = ARRIVAL_CONNECTIONS if rate else PRELOAD_CONNECTIONS
    done = asyncio.run(
        load(
            call.url,
            lambda: request,
            connections=connections,
            seconds=seconds,
            calls=calls,
            rate=rate,
        )
    )
    if done.errors:
        raise RuntimeError(f"{done.errors} calls failed: {done.answers[0]!r}")


def _counts(gateway: Ours) -> Any:
    return subjects.send(Call("GET", f"{gateway.vendor}/counts"))


def _until_submitted(gateway: Ours, size: int) -> None:
    ends = time.monotonic() + TIMEOUT_S
    while (there := _counts(gateway)["slow"]) < size:
        if time.monotonic() > ends:
            raise TimeoutError(f"only {there} of {size} tasks were submitted")
        time.sleep(0.5)


def _at(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def targets(found: Sequence[Found]) -> list[Target]:
    """Judge the sizes of one run; bytes, memory and lateness at the largest."""
    most = found[-1]
    costs = [one.cpu_ms for one in found]
    spread = (max(costs) - min(costs)) / (max(costs) + min(costs)) * 100
    return [
        Target("cost of a task, off the middle", spread, 10, at_least=False, unit="%"),
        Target("poll lag p99", most.lag_p99_ms / 1000, 1, at_least=False, unit="s"),
        Target("worker, resident", most.rss_mib, 300, at_least=False, unit="MiB"),
        Target("Valkey, a task", most.valkey_bytes / 1024, 2, at_least=False, unit="KiB"),
        Target("Postgres, a task", most.postgres_bytes / 1024, 4, at_least=False, unit="KiB"),
    ]


def table(found: Sequence[Found]) -> str:
    """Give the sizes as a Markdown table."""
    heads = ["waiting", "tasks a second", "worker, a task", "polls, a task"]
    heads += ["polls of the waiting, a second", "Valkey, a task", "Postgres, a task"]
    heads += ["worker RSS", "visit late p50, p99"]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    lines += [
        f"| {one.size:,} | {one.per_second:.0f} | {one.cpu_ms:.2f} ms | {one.polls:.1f} "
        f"| {one.slow_polls:.0f} | {one.valkey_bytes / 1024:.2f} KiB "
        f"| {one.postgres_bytes / 1024:.2f} KiB "
        f"| {one.rss_mib:.0f} MiB | {one.lag_p50_ms:.0f} ms, {one.lag_p99_ms:.0f} ms |"
        for one in found
    ]
    return "\n".join([*lines, ""])


def drawing(found: Sequence[Found]) -> str:
    """Draw what a task costs by how many are in flight, as SVG."""
    floor = 0.1
    figures = {
        "worker, ms a task": [(one.size, one.cpu_ms) for one in found],
        "Valkey, KiB a task": [(one.size, one.valkey_bytes / 1024) for one in found],
        "Postgres, KiB a task": [(one.size, one.postgres_bytes / 1024) for one in found],
        "worker RSS, MiB": [(one.size, one.rss_mib) for one in found],
        "visit late, p99 ms": [(one.size, one.lag_p99_ms) for one in found],
    }
    raised = {
        name: [(float(x), max(floor, y)) for x, y in points] for name, points in figures.items()
    }
    return plots.lines("What a task costs, by tasks in flight", raised)


def main() -> None:
    """Read the arguments, measure, print and draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", default=SIZES, help="tasks in flight, rising")
    parser.add_argument("--rate", type=float, default=100, help="tasks that arrive a second")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--plot", type=Path, help="where to draw them")
    options = parser.parse_args()
    found: list[Found] = []
    for size in map(int, options.sizes.split(",")):
        found.append(measure(size, rate=options.rate, seconds=options.seconds))
        print(table(found[-1:]).splitlines()[-1], flush=True)
    print(f"\n### {options.rate:g} tasks a second\n\n{table(found)}")
    print(target_table(targets(found)))
    if options.json:
        options.json.write_text(json.dumps([asdict(one) for one in found], indent=1))
    if options.plot:
        options.plot.write_text(drawing(found), encoding="utf-8")


if __name__ == "__main__":
    main()
