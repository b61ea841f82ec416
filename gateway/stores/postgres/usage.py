"""What was used, charged and paid, summed over ended tasks (port `Usage`)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway.domain.errors import InvalidRequest, Problem
from gateway.domain.usage import DAY_MS, HOUR_MS, UsageQuery, UsageSum
from gateway.stores.postgres.engine import drivers_errors
from gateway.stores.postgres.failures import away_as_unavailable

# The expression of a group over usage lines or days, in which ``at_ms`` is a moment of the day.
_GROUPS = {
    "day": f"at_ms - at_ms % {DAY_MS}",
    "hour": f"at_ms - at_ms % {HOUR_MS}",
    "team": "team_id",
    "key": "key_id",
    "model": "model",
    "upstream": "upstream",
    "status": "status",
}
_SUMS = ("tasks", "images", "charged", "cost", "exposure", "waste")
_FILTERS = ("team_id", "key_id", "model", "upstream", "status")
_NAMES = {
    "team": ("team_name", "(SELECT name FROM teams WHERE id = g_team)"),
    "key": ("key_name", "(SELECT name FROM api_keys WHERE id = g_key)"),
}
_FORMATS: dict[str, Callable[[int], str]] = {
    "day": lambda ms: _utc(ms).strftime("%Y-%m-%d"),
    "hour": lambda ms: _utc(ms).strftime("%Y-%m-%dT%H:00:00Z"),
}
_IDS = {
    "team": text("SELECT id FROM teams WHERE id = :text OR name = :text"),
    "key": text(
        "SELECT id FROM api_keys WHERE (id = :text OR name = :text)"
        " AND (CAST(:teams AS text[]) IS NULL OR team_id = ANY(:teams))"
    ),
}
TIMEOUT = text("SET LOCAL statement_timeout = '60s'")


class PostgresUsage:
    """Usage reports through SQLAlchemy, from the rollup of days or, for finer ranges, the tasks."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Take the engine of reports, apart from the hot path's pool."""
        self._engine = engine

    async def rows(self, query: UsageQuery) -> AsyncGenerator[UsageSum]:
        """Stream one sum for each group, in the order of the groups.

        Raises InvalidRequest for a team or key there is none of.
        """
        with away_as_unavailable(), drivers_errors():
            async with self._engine.connect() as connection:
                await connection.execute(TIMEOUT)
                teams = await _ids(connection, "team", query.team)
                given: dict[str, Any] = {
                    "team_id": teams,
                    "key_id": await _ids(connection, "key", query.key, teams),
                    "model": query.model,
                    "upstream": query.upstream,
                    "status": query.status,
                }
                given = {name: value for name, value in given.items() if value is not None}
                span = {"since": query.since_ms, "until": query.until_ms}
                statement = text(sums_statement(query, frozenset(given)))
                async with connection.stream(statement, {**given, **span}) as result:
                    async for row in result.mappings():
                        yield _sum(query.by, row)


def sums_statement(query: UsageQuery, given: frozenset[str]) -> str:
    """Give the statement of a report; ``given`` are the columns it filters.

    Latency is kept in classes, four to an octave; a class is told by its geometric middle.
    """
    days = query.whole_days and "hour" not in query.by
    source, moment = ("usage_days", "day_ms") if days else ("usage_lines", "ended_ms")
    where = [f"{moment} >= :since", f"{moment} < :until"]
    where += [
        f"{name} = ANY(:{name})" if name in ("team_id", "key_id") else f"{name} = :{name}"
        for name in _FILTERS
        if name in given
    ]
    keys = ", ".join(f"g_{name}" for name in query.by)
    groups = ", ".join(f"{_GROUPS[name]} AS g_{name}" for name in query.by)
    names = [f"{_NAMES[name][1]} AS {_NAMES[name][0]}" for name in query.by if name in _NAMES]
    order = [_NAMES[name][0] if name in _NAMES else f"g_{name}" for name in query.by]
    return f"""
    WITH cell AS (
        SELECT {groups}, latency, {", ".join(f"sum({name}) AS {name}" for name in _SUMS)},
            coalesce(sum(tasks) FILTER (WHERE status = 'completed'), 0) AS completed
        FROM (SELECT *, {moment} AS at_ms FROM {source} WHERE {" AND ".join(where)}) line
        GROUP BY {keys}, latency
    ), ranked AS (
        SELECT *, sum(completed) OVER (PARTITION BY {keys} ORDER BY latency) AS upto,
            sum(completed) OVER (PARTITION BY {keys}) AS every
        FROM cell
    ), summed AS (
        SELECT {keys}, {", ".join(f"sum({name})::bigint AS {name}" for name in _SUMS)},
            sum(completed)::bigint AS completed,
            min(latency) FILTER (WHERE completed > 0 AND upto * 2 >= every) AS p50,
            min(latency) FILTER (WHERE completed > 0 AND upto * 20 >= every * 19) AS p95
        FROM ranked GROUP BY {keys}
    )
    SELECT {", ".join([keys, *names])}, {", ".join(_SUMS)}, completed,
        round(power(2, (p50 + 0.5) / 4))::bigint AS p50_ms,
        round(power(2, (p95 + 0.5) / 4))::bigint AS p95_ms
    FROM summed ORDER BY {", ".join([*order, keys])}
    """


async def _ids(
    connection: AsyncConnection, field: str, name: str | None, teams: list[str] | None = None
) -> list[str] | None:
    """Give the ids a team or key goes by; names of keys need not be unique.

    Keys are looked for among those of ``teams``: whoever asks about one team hears of no other's.
    """
    if name is None:
        return None
    given = {"text": name} if field == "team" else {"text": name, "teams": teams}
    found = [row.id for row in await connection.execute(_IDS[field], given)]
    if not found:
        raise InvalidRequest(Problem(field, f"There is no {field} {name[:80]!r}."))
    return found


def _sum(by: tuple[str, ...], row: Any) -> UsageSum:
    group: dict[str, str] = {}
    for name in by:
        value = row[f"g_{name}"]
        if name in _NAMES:
            group |= {name: row[_NAMES[name][0]] or value, f"{name}_id": value}
        else:
            group[name] = _FORMATS[name](value) if name in _FORMATS else value
    amounts = {name: row[name] for name in (*_SUMS, "completed", "p50_ms", "p95_ms")}
    return UsageSum(group, **amounts)


def _utc(ms: int) -> datetime:
    return datetime.fromtimestamp(ms // 1000, UTC)
