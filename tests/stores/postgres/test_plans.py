"""A plan made while the tables are empty is kept while they grow: it must look up by index."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from gateway.embedded import EmbeddedPostgres
from gateway.stores.postgres import batch_feed, task_sql
from tests.support.engines import cloned_database


@pytest.fixture
def database_url(postgres: EmbeddedPostgres, migrated_template: str) -> Iterator[str]:
    """A database of its own: tables that other tests filled and emptied are planned otherwise."""
    with cloned_database(postgres, migrated_template) as url:
        yield url


@pytest.mark.parametrize("analyzed", [False, True])
@pytest.mark.parametrize("name", ["ACCEPT", "SAVE", "SETTLE", "GET", "REQUESTS"])
async def test_a_plan_for_empty_tables_scans_none_of_them(database, name, analyzed):
    statement = getattr(task_sql, name)
    count = max(int(number) for number in re.findall(r"\$(\d+)", statement))
    nulls = ", ".join(["NULL"] * count)
    async with database.connection() as connection:
        if analyzed:
            await connection.execute("ANALYZE")
        await connection.execute("SET plan_cache_mode = force_generic_plan")
        await connection.execute(f"PREPARE hot AS {statement}")
        rows = await connection.fetch(f"EXPLAIN (COSTS OFF) EXECUTE hot({nulls})")
    plan = "\n".join(row[0] for row in rows)
    # By the key, one row at a time or a few of them gathered.
    assert re.search(r"Index Scan (?:using|on) tasks_pkey\b", plan)
    assert set(re.findall(r"Bitmap Index Scan on (tasks\w*)", plan)) <= {"tasks_pkey"}
    assert "Index Only Scan" not in plan
    assert re.findall(r"Seq Scan on (?:tasks|accounts|attempts)\b", plan) == []
    assert re.findall(r"Bitmap Heap Scan on (?:accounts|attempts)\b", plan) == []


@pytest.mark.parametrize("analyzed", [False, True])
@pytest.mark.parametrize("name", ["WAITING", "MARK", "DROP", "COLLECT"])
async def test_feeding_a_batch_scans_neither_tasks_nor_its_lines(database, name, analyzed):
    statement = getattr(batch_feed, name)
    count = max(int(number) for number in re.findall(r"\$(\d+)", statement))
    nulls = ", ".join(["NULL"] * count)
    async with database.connection() as connection:
        if analyzed:
            await connection.execute("ANALYZE")
        await connection.execute("SET plan_cache_mode = force_generic_plan")
        await connection.execute(f"PREPARE fed AS {statement}")
        rows = await connection.fetch(f"EXPLAIN (COSTS OFF) EXECUTE fed({nulls})")
    plan = "\n".join(row[0] for row in rows)
    assert re.findall(r"Seq Scan on (?:tasks|usage|batch_lines)\b", plan) == []
    assert set(re.findall(r"Scan (?:using|on) ((?:tasks|usage)_\w+)", plan)) <= {
        "tasks_pkey",
        "usage_pkey",
    }
    # A subquery that is hashed reads its whole table.
    assert "SubPlan" not in plan
    if name == "WAITING":
        assert re.search(r"Index (?:Only )?Scan using batch_lines_open", plan)
