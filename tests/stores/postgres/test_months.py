"""The months that budgets and caps count by, as PostgreSQL works them out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EDGES = [
    int((datetime(year, month, 1, tzinfo=UTC) - EPOCH) / timedelta(milliseconds=1)) + off
    for year in (1969, 1970, 1999, 2000, 2024, 2026, 2100)
    for month in (1, 2, 3, 12)
    for off in (-1, 0, 1)
]


def month(ms: int) -> int:
    at = EPOCH + timedelta(milliseconds=ms)
    return at.year * 12 + at.month


async def test_a_month_begins_and_ends_to_the_millisecond(database):
    rows = await database.read("SELECT month_of(ms) AS month FROM unnest($1::bigint[]) ms", EDGES)
    assert [row["month"] for row in rows] == [month(ms) for ms in EDGES]


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(times=st.lists(st.integers(-(10**12), 4 * 10**12), min_size=1, max_size=200))
async def test_the_month_of_any_time_is_pythons(database, times):
    rows = await database.read("SELECT month_of(ms) AS month FROM unnest($1::bigint[]) ms", times)
    assert [row["month"] for row in rows] == [month(ms) for ms in times]


async def test_the_month_is_worked_out_in_line_and_not_by_a_call(database):
    """A call takes six times as long, and each hold and each charge makes several."""
    rows = await database.read("EXPLAIN (VERBOSE) SELECT month_of(created_ms) FROM transfers")
    assert "month_of(" not in "\n".join(row[0] for row in rows)
