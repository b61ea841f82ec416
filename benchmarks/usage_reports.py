"""Measure usage reports and statements over many ended tasks, on an embedded PostgreSQL.

    python -m benchmarks.usage_reports [--tasks 10000000] [--rounds 20] [--plans]

Ten million tasks take about 8 GB in the temporary directory (`TMPDIR`) while it runs. The rows are
made by SQL, 90 days of them: twenty teams with two keys each, a few models a team, four upstreams,
one task in twenty failed, one in twenty tried twice. `--plans` prints how each report is read.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.domain.statement import month_named
from gateway.domain.usage import DAY_MS, UsageQuery
from gateway.embedded import EmbeddedPostgres
from gateway.stores.postgres import migrate
from gateway.stores.postgres.database import Database
from gateway.stores.postgres.engine import make_engine
from gateway.stores.postgres.ledger import PostgresLedger
from gateway.stores.postgres.usage import PostgresUsage
from gateway.stores.postgres.vault import Vault

TASKS = 10_000_000
DAYS = 90
BEGIN_MS = 1_767_225_600_000  # 2026-01-01
END_MS = BEGIN_MS + DAYS * DAY_MS
NOW_MS = END_MS

PEOPLE = (
    """
    INSERT INTO teams (id, name, created_ms) SELECT 'team_' || n, 'team ' || n, 0
    FROM generate_series(0, 19) n
    """,
    """
    INSERT INTO accounts (team_id, balance) SELECT id, 1000000000000 FROM teams
    """,
    """
    INSERT INTO api_keys (id, limits_id, team_id, name, hash, last4, created_ms)
    SELECT 'key_' || n, 'key_' || n, 'team_' || n / 2, 'key ' || n, n::text::bytea, '0000', 0
    FROM generate_series(0, 39) n
    """,
)
# The first: $1 tasks, $2 when the first ended, $3 milliseconds from one to the next.
WORK = (
    """
    INSERT INTO usage (task_id, team_id, key_id, model, upstream, status, images, charged, cost,
        exposure, created_ms, finished_ms)
    SELECT 'task-' || lpad(n::text, 9, '0'), 'team_' || team, 'key_' || (team * 2 + h % 2),
        'model-' || (team + i % 3) % 12,
        CASE WHEN h % 20 > 0 THEN 'upstream-' || (team + i % 3) % 4 END,
        CASE WHEN h % 20 > 0 THEN 'completed' ELSE 'failed' END, least(h % 20, 1),
        least(h % 20, 1) * 1500000, least(h % 20, 1) * 22000, 0,
        at_ms - (2000 * exp(i::float8 / 400))::bigint, at_ms
    FROM (
        SELECT n, ($2::float8 + n * $3::float8)::bigint AS at_ms, hashint4(n) & 1023 AS h,
            (hashint4(n) >> 10) & 1023 AS i, width_bucket(random() ^ 2, 0, 1, 20) - 1 AS team
        FROM generate_series(0, $1::integer - 1) n
    ) spread
    """,
    """
    INSERT INTO attempts (id, task_id, no, upstream, adapter, upstream_model, started_ms,
        finished_ms, outcome, planned_cost, cost, exposure, polls, misses, retry_after_ms,
        idempotent, on_ambiguous, delivered)
    SELECT 'a' || no || task_id, task_id, no,
        CASE WHEN no = tries THEN coalesce(upstream, 'upstream-0') ELSE 'upstream-3' END, 'evolink',
        model, created_ms, finished_ms, CASE WHEN no = tries THEN 'delivered' ELSE 'refused' END,
        22000, CASE WHEN no = tries THEN cost ELSE 0 END, 0, 3, 0, 0, true, 'failover',
        CASE WHEN no = tries THEN images ELSE 0 END
    FROM (SELECT *, 1 + (finished_ms % 20 = 0)::integer AS tries FROM usage) u
    CROSS JOIN LATERAL generate_series(1, tries) no
    """,
    """
    INSERT INTO transfers (id, kind, team_id, amount, hold_id, task_id, created_ms)
    SELECT substr(md5(task_id), 1, 32)::uuid, 'capture', team_id, charged,
        substr(md5('h' || task_id), 1, 32)::uuid, task_id, finished_ms
    FROM usage WHERE charged > 0
    """,
    """
    INSERT INTO usage_days (day_ms, team_id, key_id, model, upstream, status, latency, tasks,
        images, charged, cost, exposure, waste)
    SELECT ended_ms - ended_ms % 86400000, team_id, key_id, model, upstream, status, latency,
        sum(tasks), sum(images), sum(charged), sum(cost), sum(exposure), sum(waste)
    FROM usage_lines GROUP BY 1, 2, 3, 4, 5, 6, 7
    """,
)
SIZES = """
SELECT relname AS name, reltuples::bigint AS rows, pg_total_relation_size(oid) / 1048576 AS mib
FROM pg_class WHERE relname IN ('usage', 'attempts', 'transfers', 'usage_days') ORDER BY 3 DESC
"""


@dataclass(frozen=True, slots=True)
class Report:
    """What is measured: how it is called, and one run of it, which gives its rows."""

    name: str
    run: Callable[[], Awaitable[int]]


@dataclass(frozen=True, slots=True)
class Clock:
    """The end of the fixture."""

    def now_ms(self) -> int:
        """Give it."""
        return NOW_MS


async def fill(url: str, tasks: int) -> None:
    """Write the rows; triggers and foreign keys are off, what they would do is done at once."""
    connection = await asyncpg.connect(url)
    settings = (
        "session_replication_role = replica",
        "synchronous_commit = off",
        "work_mem = '128MB'",
    )
    for setting in settings:
        await connection.execute(f"SET {setting}")
    for statement in PEOPLE:
        await connection.execute(statement)
    step = DAYS * DAY_MS / tasks
    await connection.execute(WORK[0], tasks, float(BEGIN_MS), step, timeout=3600)
    for statement in WORK[1:]:
        await connection.execute(statement, timeout=3600)
    await connection.execute("VACUUM ANALYZE", timeout=3600)
    await connection.close()


def usage_reports(usage: PostgresUsage) -> list[Report]:
    """Give the reports that people ask for, over all 90 days, a month, a week, and hours."""
    everything, month, week = BEGIN_MS, END_MS - 30 * DAY_MS, END_MS - 7 * DAY_MS
    asked = [
        ("by team, 90 days", UsageQuery(("team",), everything, END_MS, True)),
        ("by day and model, 90 days", UsageQuery(("day", "model"), everything, END_MS, True)),
        ("by every group, 90 days", UsageQuery(
            ("day", "team", "key", "model", "upstream", "status"), everything, END_MS, True
        )),
        ("by upstream, 30 days", UsageQuery(("upstream",), month, END_MS, True)),
        ("by team, a week", UsageQuery(("team",), week, END_MS, True)),
        ("one team by day and key, 30 days", UsageQuery(
            ("day", "key"), month, END_MS, True, team="team 3"
        )),
        ("one team by model and status, 30 days", UsageQuery(
            ("model", "status"), month, END_MS, True, team="team 3"
        )),
        ("one team by hour, a week", UsageQuery(("hour",), week, END_MS, True, team="team 3")),
        ("by hour, a day", UsageQuery(("hour",), END_MS - DAY_MS, END_MS, True)),
        ("by hour and upstream, a week", UsageQuery(("hour", "upstream"), week, END_MS, True)),
    ]  # fmt: skip

    def run_of(query: UsageQuery) -> Callable[[], Awaitable[int]]:
        async def run() -> int:
            return len([row async for row in usage.rows(query)])

        return run

    return [Report(name, run_of(query)) for name, query in asked]


@asynccontextmanager
async def measured(url: str) -> AsyncIterator[tuple[Database, Sequence[Report], AsyncEngine]]:
    """Give the reports over a database."""
    database = Database(url)
    await database.connect()
    engine = make_engine(url)
    usage = PostgresUsage(engine)
    ledger = PostgresLedger(database, Clock(), Vault("x" * 40))

    async def statement() -> int:
        found = await ledger.statement("team_3", month_named("2026-03", NOW_MS))
        return len(found.lines)

    async def oldest() -> int:
        found = await ledger.statement("team_3", month_named("2026-01", NOW_MS))
        return len(found.lines)

    reports = [
        *usage_reports(usage),
        Report("statement of the last month", statement),
        Report("statement of the first month", oldest),
    ]
    yield database, reports, engine
    await engine.dispose()
    await database.close()


async def measure(url: str, tasks: int, rounds: int, *, plans: bool) -> list[str]:
    """Fill the database, run every report, and give the lines of a table."""
    began = time.monotonic()
    await fill(url, tasks)
    lines = [f"{tasks} tasks, filled in {time.monotonic() - began:.0f} s"]
    async with measured(url) as (database, reports, engine):
        sizes = await database.read(SIZES)
        lines += [f"{row['name']}: {row['rows']} rows, {row['mib']} MiB" for row in sizes]
        lines += ["", "| Report | Rows | p50 ms | p95 ms |", "|---|---|---|---|"]
        for report in reports:
            times, rows = [], 0
            for _ in range(rounds):
                start = time.monotonic()
                rows = await report.run()
                times.append((time.monotonic() - start) * 1000)
            times.sort()
            p95 = times[min(len(times) - 1, round(0.95 * len(times)))]
            lines.append(f"| {report.name} | {rows} | {times[len(times) // 2]:.0f} | {p95:.0f} |")
        if plans:
            lines += await _plans(engine, reports)
    return lines


async def _plans(engine: AsyncEngine, reports: Sequence[Report]) -> list[str]:
    lines: list[str] = []
    seen: list[tuple[str, Any]] = []

    def note(_c: Any, _k: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.lstrip().startswith("WITH cell"):
            seen.append((statement, parameters))

    event.listen(engine.sync_engine, "before_cursor_execute", note)
    for report in reports[:-2]:
        await report.run()
        statement, parameters = seen[-1]
        async with engine.connect() as connection:
            explained = await connection.exec_driver_sql(
                f"EXPLAIN (COSTS OFF) {statement}", parameters
            )
            lines += ["", report.name, *(row[0] for row in explained)]
    return lines


def main() -> None:
    """Parse the arguments, start an engine, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=TASKS)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--plans", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="usage-reports-") as folder:
        engine = EmbeddedPostgres(Path(folder))
        url = engine.ensure()
        try:
            migrate.upgrade(url)
            work = measure(url, given.tasks, given.rounds, plans=given.plans)
            print("\n".join(asyncio.run(work)))
        finally:
            engine.release()


if __name__ == "__main__":
    main()
