from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.domain.administration import COMMAND_LINE
from gateway.domain.errors import InvalidRequest, StoreUnavailable
from gateway.domain.task import Outcome
from gateway.domain.usage import GROUPS, UsageQuery, UsageSum
from gateway.stores.postgres.engine import make_engine
from gateway.stores.postgres.exposure import PostgresExposures
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
ALWAYS = (0, DAY_MS * 100_000)


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


async def rows(usage, *by, span=ALWAYS, whole_days=True, **filters):
    """The sums without latencies, which have a test of their own."""
    query = UsageQuery(by, span[0], span[1], whole_days, **filters)
    return [replace(row, p50_ms=None, p95_ms=None) async for row in usage.rows(query)]


def one(name, value, *amounts, **more):
    return UsageSum({name: value, **more}, *amounts)


async def test_a_team_sees_its_usage_by_model_and_status(usage, spent):
    assert await rows(usage, "model", "status", team=spent.id) == [
        one("model", "qwen", 1, status="failed"),
        one("model", "wan", 2, 2, 3, 3 * CREDIT, 80_000, 40_000, status="completed"),
    ]


async def test_a_range_takes_its_first_moment_and_not_its_last(usage, spent):
    async def tasks_in(*span):
        found = await rows(usage, "team", span=span, whole_days=False, team="studio")
        return sum(row.tasks for row in found)

    assert await tasks_in(START_MS, START_MS + 1) == 3
    assert await tasks_in(START_MS - 10, START_MS) == 0
    assert await tasks_in(START_MS + 1, TOMORROW_MS) == 0


@pytest.mark.parametrize("whole_days", [True, False])
@pytest.mark.parametrize(
    ("by", "sums"),
    [
        ("team", [
            ("archive", 1, 1, 2, 2 * CREDIT, 40_000, 0),
            ("studio", 3, 2, 3, 3 * CREDIT, 80_000, 40_000),
        ]),
        ("key", [
            ("build server", 3, 2, 3, 3 * CREDIT, 80_000, 40_000),
            ("key_1", 1, 1, 2, 2 * CREDIT, 40_000, 0),
        ]),
        ("model", [
            ("qwen", 1, 0, 0, 0, 0, 0),
            ("wan", 3, 3, 5, 5 * CREDIT, 120_000, 40_000),
        ]),
        ("upstream", [
            ("", 1, 0, 0, 0, 0, 0),
            ("cheap", 2, 2, 4, 4 * CREDIT, 80_000, 40_000),
            ("dear", 1, 1, 1, 1 * CREDIT, 40_000, 0),
        ]),
        ("day", [
            ("2027-01-15", 3, 2, 3, 3 * CREDIT, 80_000, 40_000),
            ("2027-01-16", 1, 1, 2, 2 * CREDIT, 40_000, 0),
        ]),
        ("hour", [
            ("2027-01-15T08:00:00Z", 3, 2, 3, 3 * CREDIT, 80_000, 40_000),
            ("2027-01-16T08:00:00Z", 1, 1, 2, 2 * CREDIT, 40_000, 0),
        ]),
        ("status", [
            ("completed", 3, 3, 5, 5 * CREDIT, 120_000, 40_000),
            ("failed", 1, 0, 0, 0, 0, 0),
        ]),
    ],
)  # fmt: skip
async def test_an_operator_sees_sums_by(usage, spent, by, sums, whole_days):
    found = await rows(usage, by, whole_days=whole_days)
    assert found == [UsageSum(row.group, *sum_[1:]) for row, sum_ in zip(found, sums, strict=True)]
    assert [row.group[by] for row in found] == [sum_[0] for sum_ in sums]


async def test_groups_combine_and_filters_narrow(usage, spent):
    found = await rows(usage, "day", "team", "upstream", status="completed", model="wan")
    assert [(*row.group.values(), row.images) for row in found] == [
        ("2027-01-15", "studio", spent.id, "cheap", 2),
        ("2027-01-15", "studio", spent.id, "dear", 1),
        ("2027-01-16", "archive", found[-1].group["team_id"], "cheap", 2),
    ]
    (only,) = await rows(usage, "team", upstream="dear", key="build server")
    assert (only.group["team"], only.charged, only.cost) == ("studio", CREDIT, 40_000)


async def test_a_team_or_key_there_is_none_of_is_named(usage, team):
    for field in ("team", "key"):
        with pytest.raises(InvalidRequest) as refused:
            await rows(usage, "day", **{field: "stduio"})
        assert refused.value.problems[0].field == field


async def test_latencies_are_told_within_a_tenth(usage, tasks, team):
    for seconds in (*range(1, 20), 100):
        new = new_task(team.id, hold=1000)
        await tasks.accept(new)
        await tasks.settle(delivered(new.task, at_ms=START_MS + seconds * 1000))
    slow = new_task(team.id, hold=1000)
    await tasks.accept(slow)
    await tasks.settle(failed(slow.task, at_ms=START_MS + 900_000))
    for whole_days in (True, False):
        (row,) = [r async for r in usage.rows(UsageQuery(("team",), *ALWAYS, whole_days))]
        assert row.p50_ms == pytest.approx(10_000, rel=0.1)
        assert row.p95_ms == pytest.approx(19_000, rel=0.1)


async def test_a_database_that_is_away_is_named_as_such():
    reports = PostgresUsage(make_engine("postgresql://x@/d?host=/no/such/dir"))
    with pytest.raises(StoreUnavailable):
        await rows(reports, "team")


async def test_usage_is_counted_once_a_task_has_ended(usage, tasks, team):
    await accepted(tasks, team.id)
    assert await rows(usage, "team") == []


async def test_a_resolved_exposure_is_waste_of_its_day(usage, spent, database, clock, vault):
    exposures = PostgresExposures(database, clock, vault)
    (doubt,) = (await exposures.exposure_page(10, None)).items
    await exposures.resolve(doubt.id, 30_000, COMMAND_LINE)
    for whole_days in (True, False):
        (row,) = await rows(
            usage, "upstream", upstream="cheap", team="studio", whole_days=whole_days
        )
        assert (row.cost, row.exposure, row.waste) == (70_000, 0, 30_000)


async def test_settlements_of_many_teams_at_once_are_all_counted(
    usage, tasks, other_process, ledger
):
    """Two processes settle batches of the same teams: the days' rows neither deadlock nor slip."""
    teams = [(await ledger.create_team(f"team {n}")).id for n in range(6)]
    for team_id in teams:
        await ledger.grant(team_id, 100 * CREDIT, None)
    made = [await accepted(tasks, teams[n % 6]) for n in range(120)]
    settles = [
        (tasks if n % 2 else other_process).settle(
            delivered(with_attempts(task, success_at("cheap" if n % 3 else "dear")))
        )
        for n, task in enumerate(made)
    ]
    await asyncio.gather(*settles)
    found = await rows(usage, "team")
    assert [(row.tasks, row.charged, row.cost) for row in found] == [(20, 20 * CREDIT, 400_000)] * 6


TRIES = st.lists(
    st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 3), st.integers(0, 10**6)), max_size=3
)


@given(
    ended=st.lists(
        st.tuples(st.sampled_from(["x", "y"]), st.integers(0, 2), TRIES, st.integers(0, 5)),
        min_size=1,
        max_size=8,
    )
)
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_days_say_what_the_tasks_say(usage, tasks, ledger, ended):
    """The rollup and the tasks it was made of agree on every grouping, whatever came before."""
    team = await ledger.create_team(f"team {id(ended)} {asyncio.get_running_loop().time()}")
    await ledger.grant(team.id, 100 * CREDIT, None)
    for model, images, tries, halves in ended:
        new = new_task(team.id, hold=2 * CREDIT, n=2, model=model)
        await tasks.accept(new)
        attempts = [
            attempt(
                upstream=name,
                outcome=Outcome.DELIVERED if share else Outcome.UNKNOWN,
                cost=amount if share else 0,
                exposure=0 if share else amount,
                delivered=share,
            )
            for name, share, amount in tries
        ]
        end = delivered(new.task, images) if images else failed(new.task)
        task = with_attempts(new.task, *attempts)
        at_ms = START_MS + halves * DAY_MS // 2
        await tasks.settle(replace(end, task=task, at_ms=at_ms))
    for by in (*((name,) for name in GROUPS if name != "hour"), ("day", "upstream", "status")):
        fine = await rows(usage, *by, whole_days=False, team=team.id)
        assert await rows(usage, *by, team=team.id) == fine
