"""Caps of keys: counted by the transactions that hold and settle, exact over processes."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from alembic import command

from gateway.app.ports import NewTask
from gateway.domain.access import KeyRules
from gateway.domain.caps import CapReached, Counts
from gateway.domain.errors import InsufficientCredits, RateLimited, TaskIdTaken
from gateway.stores.postgres import migrate
from gateway.stores.postgres.database import Database
from gateway.stores.postgres.keys import PostgresKeys
from gateway.stores.postgres.ledger import PostgresLedger
from gateway.stores.postgres.tasks import PostgresTasks
from tests.stores.postgres.building import (
    CREDIT,
    START_MS,
    cancelled,
    delivered,
    failed,
    new_task,
)
from tests.support.engines import execute

MONTH_MS = 31 * 86_400_000


def of_key(team, key_id: str, **options) -> NewTask:
    return new_task(team.id, key_id=key_id, **options)


async def outcomes(*calls) -> list[type | None]:
    results = await asyncio.gather(*calls, return_exceptions=True)
    return [None if result is None else type(result) for result in results]


async def capped(keys, team, **rules) -> str:
    key, _ = await keys.create(team.id, rules=KeyRules(**rules))
    return key.id


async def test_a_task_counts_from_its_acceptance_until_it_ends(keys, tasks, team):
    key = await capped(keys, team, concurrent_tasks=2)
    first, second, third = [of_key(team, key) for _ in range(3)]
    await tasks.accept(first)
    await tasks.accept(second)
    with pytest.raises(RateLimited, match="2 tasks under way at once") as refused:
        await tasks.accept(third)
    assert refused.value.retry_after_s == 7.5
    assert (await keys.key(key)).counts == Counts(running=2, held=2 * CREDIT)
    await tasks.settle(failed(first.task))
    await tasks.accept(third)
    await tasks.settle(delivered(second.task))
    await tasks.settle(cancelled(third.task))
    counts = (await keys.key(key)).counts
    assert counts == Counts(running=0, held=0, spent=CREDIT, month_spent=CREDIT)


async def test_of_five_hundred_calls_in_two_processes_exactly_the_affordable_pass(
    keys, tasks, other_process, ledger, team
):
    await ledger.grant(team.id, 1_000 * CREDIT, None)
    capped_key = await capped(keys, team, credit_cap=70 * CREDIT)
    busy_key = await capped(keys, team, concurrent_tasks=30)
    free_key = await capped(keys, team)
    order = [(capped_key, busy_key, free_key)[i % 3] for i in range(501)]
    calls = [(tasks, other_process)[i % 2].accept(of_key(team, key)) for i, key in enumerate(order)]
    found = Counter(zip(order, await outcomes(*calls), strict=True))
    assert found == {
        (capped_key, None): 70,
        (capped_key, CapReached): 97,
        (busy_key, None): 30,
        (busy_key, RateLimited): 137,
        (free_key, None): 167,
    }
    assert (await ledger.verify()).violations == ()


async def test_what_a_batch_cannot_have_whole_it_has_in_order_of_arrival(keys, tasks, team):
    key = await capped(keys, team, credit_cap=5 * CREDIT)
    other = await capped(keys, team)
    holds = [(key, 3), (other, 1), (key, 3), (key, 2), (other, 1), (key, 1)]
    calls = [tasks.accept(of_key(team, which, hold=hold * CREDIT)) for which, hold in holds]
    assert await outcomes(*calls) == [None, None, CapReached, None, None, CapReached]


async def test_the_team_pays_for_all_its_keys_whatever_their_caps(keys, tasks, team):
    key = await capped(keys, team, credit_cap=100 * CREDIT)
    calls = [tasks.accept(of_key(team, key, hold=6 * CREDIT)) for _ in range(2)]
    assert await outcomes(*calls) == [None, InsufficientCredits]


async def test_what_is_not_charged_can_be_spent_again(keys, tasks, team):
    key = await capped(keys, team, credit_cap=4 * CREDIT)
    first = of_key(team, key, hold=4 * CREDIT, n=4)
    await tasks.accept(first)
    assert await outcomes(tasks.accept(of_key(team, key))) == [CapReached]
    await tasks.settle(delivered(first.task, 1))
    assert await outcomes(*(tasks.accept(of_key(team, key)) for _ in range(4))) == [
        None,
        None,
        None,
        CapReached,
    ]


async def test_a_monthly_cap_is_whole_again_in_the_next_month(keys, tasks, team, clock):
    key = await capped(keys, team, monthly_credit_cap=2 * CREDIT, credit_cap=3 * CREDIT)
    for _ in range(2):
        new = of_key(team, key)
        await tasks.accept(new)
        await tasks.settle(delivered(new.task))
    with pytest.raises(CapReached, match=r"monthly_credit_cap\) of this key 0 are left"):
        await tasks.accept(of_key(team, key))
    later = START_MS + MONTH_MS
    clock.turn(MONTH_MS)
    assert (await keys.key(key)).counts == Counts(spent=2 * CREDIT)
    new = of_key(team, key, created_ms=later)
    await tasks.accept(new)
    await tasks.settle(delivered(new.task, at_ms=later))
    assert (await keys.key(key)).counts == Counts(spent=3 * CREDIT, month_spent=CREDIT)
    with pytest.raises(CapReached, match=r"\(credit_cap\)"):
        await tasks.accept(of_key(team, key, created_ms=later))


async def test_charges_of_two_months_in_one_batch_count_for_their_own(
    keys, tasks, ledger, team, clock
):
    key = await capped(keys, team)
    several = [of_key(team, key, hold=hold * CREDIT) for hold in (1, 2, 3)]
    await asyncio.gather(*(tasks.accept(new) for new in several))
    times = (START_MS, START_MS + MONTH_MS, START_MS + 1)
    endings = [delivered(new.task, at_ms=at_ms) for new, at_ms in zip(several, times, strict=True)]
    await asyncio.gather(*(tasks.settle(ending) for ending in endings))
    clock.turn(MONTH_MS)
    assert (await keys.key(key)).counts == Counts(spent=6 * CREDIT, month_spent=2 * CREDIT)
    late = of_key(team, key)
    await tasks.accept(late)
    await tasks.settle(delivered(late.task, at_ms=START_MS))
    assert (await keys.key(key)).counts == Counts(spent=7 * CREDIT, month_spent=2 * CREDIT)
    assert (await ledger.verify()).violations == ()


async def test_a_rotated_key_and_the_new_one_share_their_caps(keys, tasks, team):
    old = await capped(keys, team, concurrent_tasks=2)
    new = (await keys.rotate(old, 60_000))[0].id
    newest = (await keys.rotate(new, 60_000))[0].id
    calls = [tasks.accept(of_key(team, key)) for key in (old, new, newest)]
    assert await outcomes(*calls) == [None, None, RateLimited]
    assert [(await keys.key(key)).counts.running for key in (old, new, newest)] == [2, 2, 2]


async def test_keys_that_share_counts_are_each_judged_by_their_own_cap(keys, tasks, team):
    old = await capped(keys, team, concurrent_tasks=1)
    new = (await keys.rotate(old, 60_000))[0].id
    await keys.update(new, {"concurrent_tasks": 3})
    calls = [tasks.accept(of_key(team, key)) for key in (new, old, new, new)]
    assert await outcomes(*calls) == [None, RateLimited, None, None]


async def test_a_call_that_was_accepted_before_counts_once(keys, tasks, team):
    key = await capped(keys, team, concurrent_tasks=1)
    first = of_key(team, key)
    await tasks.accept(first)
    assert await outcomes(tasks.accept(first)) == [TaskIdTaken]
    assert (await keys.key(key)).counts.running == 1


async def test_many_keys_of_many_teams_in_two_processes_do_not_deadlock(
    keys, tasks, other_process, ledger
):
    teams = [await ledger.create_team(f"team {i}") for i in range(4)]
    made = []
    for team in teams:
        await ledger.grant(team.id, 100 * CREDIT, None)
        made += [(team, await capped(keys, team, concurrent_tasks=5)) for _ in range(4)]
    order = [*made, *reversed(made)] * 10

    async def life(number: int, team, key: str) -> bool:
        store, new = (tasks, other_process)[number % 2], of_key(team, key)
        try:
            await store.accept(new)
        except RateLimited:
            return False
        await asyncio.sleep(0)
        await (other_process, tasks)[number % 2].settle(delivered(new.task))
        return True

    done = await asyncio.gather(*(life(i, *one) for i, one in enumerate(order)))
    assert sum(done) >= 5 * len(made)
    assert (await ledger.verify()).violations == ()


async def test_the_audit_log_tells_caps_as_credits(keys, database, team):
    key = await capped(keys, team, credit_cap=2_500_000)
    await keys.update(key, {"credit_cap": None, "concurrent_tasks": 7})
    rows = await database.read("SELECT after FROM audit WHERE subject = $1 ORDER BY id", key)
    assert '"credit_cap": "2.5"' in rows[0]["after"]
    assert '"credit_cap": null' in rows[1]["after"]


async def test_the_revision_counts_what_is_there_already(postgres, vault, clock):
    execute(postgres, "CREATE DATABASE counted")
    url = postgres.url_of("counted")
    await asyncio.to_thread(migrate.upgrade, url)
    database = Database(url)
    await database.connect()
    ledger, tasks = PostgresLedger(database, clock, vault), PostgresTasks(database, vault)
    keys = PostgresKeys(database, clock, vault)
    team = await ledger.create_team("studio")
    await ledger.grant(team.id, 10 * CREDIT, None)
    key, _ = await keys.create(team.id)
    several = [of_key(team, key.id) for _ in range(3)]
    await asyncio.gather(*(tasks.accept(new) for new in several))
    await tasks.settle(delivered(several[0].task))
    before = (await keys.key(key.id)).counts

    def undo_and_redo(connection) -> None:
        settings = migrate.config()
        settings.attributes["connection"] = connection
        command.downgrade(settings, "0012")
        command.upgrade(settings, "head")

    await asyncio.to_thread(migrate.on_connection, url, undo_and_redo)
    after = (await keys.key(key.id)).counts
    assert (after.running, after.held, after.spent) == (before.running, before.held, before.spent)
    assert (await ledger.verify()).violations == ()
    await tasks.close()
    await database.close()
