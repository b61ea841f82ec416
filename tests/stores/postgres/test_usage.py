from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.app.ports import UsageRow, UsageSum
from gateway.domain.errors import InvalidRequest, StoreUnavailable
from gateway.domain.task import Outcome
from gateway.stores.postgres.engine import make_engine
from gateway.stores.postgres.usage import PostgresUsage
from tests.stores.postgres.building import (
    CREDIT,
    START_MS,
    accepted,
    attempt,
    delivered,
    failed,
    new_task,
    success_at,
    with_attempts,
)

DAY_MS = 86_400_000
TOMORROW_MS = START_MS + DAY_MS
ALWAYS = (0, 2**62)


@pytest.fixture
async def usage(database_url):
    engine = make_engine(database_url)
    yield PostgresUsage(engine)
    await engine.dispose()


@pytest.fixture
async def spent(tasks, ledger, keys, team):
    """Two teams' tasks on two days, two models and two upstreams; one failed, one doubtful."""
    other = await ledger.create_team("archive")
    await ledger.grant(other.id, 100 * CREDIT, None)
    key, _ = await keys.create(team.id, "build server")

    async def run(team_id, upstream, end, *, model="wan", at_ms=START_MS, before=()):
        new = new_task(team_id, hold=2 * CREDIT, n=2, model=model)
        if team_id == team.id:
            new = replace(new, task=replace(new.task, key_id=key.id))
        await tasks.accept(new)
        tries = (*before, success_at(upstream, 40_000)) if upstream else before
        await tasks.settle(end(with_attempts(new.task, *tries), at_ms))

    doubtful = attempt(upstream="cheap", outcome=Outcome.UNKNOWN, exposure=40_000)
    await run(team.id, "cheap", lambda task, at: delivered(task, 2, at_ms=at))
    await run(team.id, "dear", lambda task, at: delivered(task, 1, at_ms=at), before=(doubtful,))
    await run(team.id, None, lambda task, at: failed(task, at_ms=at), model="qwen")
    await run(other.id, "cheap", lambda task, at: delivered(task, 2, at_ms=at), at_ms=TOMORROW_MS)
    return team


async def test_a_team_sees_its_usage_by_model_and_status(usage, spent):
    assert await usage.of_team(spent.id, *ALWAYS) == [
        UsageRow("qwen", "failed", 1, 0, 0),
        UsageRow("wan", "completed", 2, 3, 3 * CREDIT),
    ]


async def test_a_range_takes_its_first_moment_and_not_its_last(usage, spent):
    assert len(await usage.of_team(spent.id, START_MS, START_MS + 1)) == 2
    assert await usage.of_team(spent.id, START_MS - 10, START_MS) == []
    assert await usage.of_team(spent.id, START_MS + 1, TOMORROW_MS) == []


@pytest.mark.parametrize(
    ("by", "sums"),
    [
        ("team", [
            UsageSum("archive", 1, 1, 2, 2 * CREDIT, 40_000, 0),
            UsageSum("studio", 3, 2, 3, 3 * CREDIT, 80_000, 40_000),
        ]),
        ("key", [
            UsageSum("build server", 3, 2, 3, 3 * CREDIT, 80_000, 40_000),
            UsageSum("key_1", 1, 1, 2, 2 * CREDIT, 40_000, 0),
        ]),
        ("model", [
            UsageSum("qwen", 1, 0, 0, 0, 0, 0),
            UsageSum("wan", 3, 3, 5, 5 * CREDIT, 120_000, 40_000),
        ]),
        ("upstream", [
            UsageSum("", 1, 0, 0, 0, 0, 0),
            UsageSum("cheap", 2, 2, 4, 4 * CREDIT, 80_000, 40_000),
            UsageSum("dear", 1, 1, 1, 1 * CREDIT, 40_000, 0),
        ]),
        ("day", [
            UsageSum("2027-01-15", 3, 2, 3, 3 * CREDIT, 80_000, 40_000),
            UsageSum("2027-01-16", 1, 1, 2, 2 * CREDIT, 40_000, 0),
        ]),
    ],
)  # fmt: skip
async def test_an_operator_sees_sums_by(usage, spent, by, sums):
    assert await usage.sums(by, *ALWAYS) == sums


async def test_sums_can_be_one_team_s(usage, spent):
    (only,) = await usage.sums("team", *ALWAYS, spent.id)
    assert only.name == "studio"
    assert [row.name for row in await usage.sums("upstream", *ALWAYS, spent.id)] == [
        "", "cheap", "dear",
    ]  # fmt: skip


async def test_another_grouping_is_refused(usage):
    with pytest.raises(InvalidRequest):
        await usage.sums("moon phase", *ALWAYS)


async def test_a_database_that_is_away_is_named_as_such():
    reports = PostgresUsage(make_engine("postgresql://x@/d?host=/no/such/dir"))
    with pytest.raises(StoreUnavailable):
        await reports.of_team("team", *ALWAYS)


async def test_usage_is_counted_once_a_task_has_ended(usage, tasks, team):
    await accepted(tasks, team.id)
    assert await usage.of_team(team.id, *ALWAYS) == []
