"""The measurement of reports runs, on a small fixture whose figures are known."""

from __future__ import annotations

from benchmarks.usage_reports import measure
from gateway.stores.postgres.database import Database
from gateway.stores.postgres.verify import RULES


async def test_every_report_gives_rows_over_a_fixture_whose_days_are_its_usage(
    database_url: str,
) -> None:
    lines = await measure(database_url, 2_000, 1, plans=True)
    table = [line.split(" | ") for line in lines if line.startswith("| ")][1:]
    assert len(table) == 12
    assert all(int(cells[1]) > 0 for cells in table)
    assert any("usage_days" in line for line in lines)
    database = Database(database_url)
    await database.connect()
    assert await database.read(RULES["days_are_the_usage"]) == []
    await database.close()
