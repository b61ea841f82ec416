"""What was spent, where and on what: sums over ended tasks (port `Usage`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Select, case, cast, func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.app.ports import UsageRow, UsageSum
from gateway.domain.errors import InvalidRequest, Problem
from gateway.domain.task import TaskStatus
from gateway.stores.postgres.failures import away_as_unavailable
from gateway.stores.postgres.tables import api_keys, attempts, teams, usage

_DAY = func.to_char(
    func.timezone("UTC", func.to_timestamp(usage.c.finished_ms / 1000)), "YYYY-MM-DD"
)
_GROUPS: dict[str, ColumnElement[Any]] = {
    "team": teams.c.name,
    "key": func.coalesce(func.nullif(api_keys.c.name, ""), usage.c.key_id),
    "model": usage.c.model,
    "upstream": usage.c.upstream,
    "day": _DAY,
}


def _total(column: ColumnElement[int]) -> ColumnElement[int]:
    return cast(func.coalesce(func.sum(column), 0), BigInteger)


class PostgresUsage:
    """Usage reports through SQLAlchemy; ranges are half open and count by the time of the end."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Take the engine of reports, apart from the hot path's pool."""
        self._engine = engine

    async def of_team(self, team_id: str, since_ms: int, until_ms: int) -> Sequence[UsageRow]:
        """Give a team's usage by model and status, for tasks that ended in the range."""
        statement = (
            select(
                usage.c.model,
                usage.c.status,
                func.count().label("tasks"),
                _total(usage.c.images).label("images"),
                _total(usage.c.charged).label("credits_charged"),
            )
            .where(usage.c.team_id == team_id, *_ended_within(since_ms, until_ms))
            .group_by(usage.c.model, usage.c.status)
            .order_by(usage.c.model, usage.c.status)
        )
        return [UsageRow(**row) for row in await self._rows(statement)]

    async def sums(
        self, by: str, since_ms: int, until_ms: int, team_id: str | None = None
    ) -> Sequence[UsageSum]:
        """Give what was charged and what it cost by ``team``, ``key``, ``model``, ``upstream``
        or ``day``, for tasks that ended in the range, by name.

        By upstream, pictures and credits go to the upstream that delivered, costs to each
        upstream that was tried; tasks that none delivered are under the name ``""``. Raises
        InvalidRequest for another ``by``.
        """
        if by not in _GROUPS:
            raise InvalidRequest(Problem("by", "This is no grouping.", legal=", ".join(_GROUPS)))
        where = [*_ended_within(since_ms, until_ms)]
        if team_id is not None:
            where.append(usage.c.team_id == team_id)
        sums = [UsageSum(**row) for row in await self._rows(_sums(by, where))]
        if by == "upstream":
            costs = {row["name"]: row for row in await self._rows(_attempt_costs(where))}
            sums = _with_costs(sums, costs)
        return sums

    async def _rows(self, statement: Select[*tuple[Any, ...]]) -> Sequence[Any]:
        with away_as_unavailable():
            async with self._engine.connect() as connection:
                rows: Sequence[Any] = (await connection.execute(statement)).mappings().all()
                return rows


def _ended_within(since_ms: int, until_ms: int) -> tuple[ColumnElement[bool], ...]:
    return (usage.c.finished_ms >= since_ms, usage.c.finished_ms < until_ms)


def _sums(by: str, where: list[ColumnElement[bool]]) -> Select[*tuple[Any, ...]]:
    name = func.coalesce(_GROUPS[by], "").label("name")
    completed = case((usage.c.status == TaskStatus.COMPLETED.value, 1), else_=0)
    statement: Select[*tuple[Any, ...]] = (
        select(
            name,
            func.count().label("tasks"),
            _total(completed).label("completed"),
            _total(usage.c.images).label("images"),
            _total(usage.c.charged).label("charged"),
            _total(usage.c.cost).label("cost"),
            _total(usage.c.exposure).label("exposure"),
        )
        .where(*where)
        .group_by(name)
        .order_by(name)
    )
    if by == "team":
        return statement.join_from(usage, teams, teams.c.id == usage.c.team_id)
    if by == "key":
        return statement.join_from(usage, api_keys, api_keys.c.id == usage.c.key_id, isouter=True)
    return statement


def _attempt_costs(where: list[ColumnElement[bool]]) -> Select[*tuple[Any, ...]]:
    return (
        select(
            attempts.c.upstream.label("name"),
            _total(attempts.c.cost).label("cost"),
            _total(attempts.c.exposure).label("exposure"),
        )
        .join_from(attempts, usage, usage.c.task_id == attempts.c.task_id)
        .where(*where)
        .group_by(attempts.c.upstream)
    )


def _with_costs(sums: Sequence[UsageSum], costs: dict[str, Any]) -> list[UsageSum]:
    """Give the sums with each upstream's own costs instead of its tasks' whole costs."""
    delivered = {row.name: row for row in sums}
    return [
        replace(
            delivered.get(name, UsageSum(name)),
            cost=costs[name]["cost"] if name in costs else 0,
            exposure=costs[name]["exposure"] if name in costs else 0,
        )
        for name in sorted(delivered.keys() | costs.keys())
    ]
