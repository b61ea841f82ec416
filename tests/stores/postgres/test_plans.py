"""A plan made while the tables are empty is kept while they grow: it must look up by index."""

from __future__ import annotations

import re

import pytest

from gateway.stores.postgres import task_sql


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
    assert "Index Scan using tasks_pkey" in plan
    assert "Index Only Scan" not in plan
    assert re.findall(r"(?:Seq|Bitmap Heap) Scan on (?:tasks|accounts|attempts)\b", plan) == []
