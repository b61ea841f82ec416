"""Budgets of teams and their alerts: exact over processes, durable with the charge they tell of."""

from __future__ import annotations

import asyncio
import json

import pytest

from gateway.domain.administration import COMMAND_LINE
from gateway.domain.budgets import BudgetReached
from gateway.domain.callback import TryResult
from gateway.domain.errors import InvalidRequest
from tests.stores.postgres.building import CREDIT, START_MS, delivered, failed, new_task

MONTH_MS = 31 * 86_400_000
URL = "https://ops.example.com/credits"


async def outcomes(*calls) -> list[type | None]:
    results = await asyncio.gather(*calls, return_exceptions=True)
    return [None if result is None else type(result) for result in results]


async def change(ledger, team, **fields):
    return await ledger.update_team(team.id, fields, COMMAND_LINE)


async def spend(tasks, team, credits: int, at_ms: int = START_MS) -> None:
    new = new_task(team.id, hold=credits * CREDIT, created_ms=at_ms)
    await tasks.accept(new)
    await tasks.settle(delivered(new.task, at_ms=at_ms))


async def told(database, event: str) -> list[dict]:
    rows = await database.read(
        "SELECT body FROM callbacks WHERE event = $1 ORDER BY next_at_ms, length(body), body",
        event,
    )
    return [json.loads(row["body"])["data"] for row in rows]


async def test_of_many_calls_in_two_processes_exactly_the_budgets_pass(
    tasks, other_process, ledger, team
):
    await ledger.grant(team.id, 990 * CREDIT, None)
    await change(ledger, team, monthly_budget=60 * CREDIT)
    calls = [(tasks, other_process)[i % 2].accept(new_task(team.id)) for i in range(300)]
    results = await outcomes(*calls)
    assert results.count(None) == 60
    assert results.count(BudgetReached) == 240
    assert (await ledger.verify()).violations == ()


async def test_a_budget_is_whole_again_in_the_next_month(tasks, ledger, team, clock):
    await change(ledger, team, monthly_budget=2 * CREDIT)
    await spend(tasks, team, 1)
    running = new_task(team.id)
    await tasks.accept(running)
    with pytest.raises(BudgetReached, match="budget of 2 a month 0 are left"):
        await tasks.accept(new_task(team.id))
    await tasks.settle(failed(running.task))
    await spend(tasks, team, 1)
    assert (await ledger.team(team.id)).month_spent == 2 * CREDIT
    clock.turn(MONTH_MS)
    assert (await ledger.team(team.id)).month_spent == 0
    later = START_MS + MONTH_MS
    with pytest.raises(BudgetReached):
        await tasks.accept(new_task(team.id, hold=3 * CREDIT, created_ms=later))
    await spend(tasks, team, 2, later)
    assert (await ledger.team(team.id)).month_spent == 2 * CREDIT
    assert (await ledger.verify()).violations == ()


async def test_what_a_batch_cannot_have_whole_it_has_in_order_of_arrival(tasks, ledger, team):
    await change(ledger, team, monthly_budget=5 * CREDIT)
    calls = [tasks.accept(new_task(team.id, hold=hold * CREDIT)) for hold in (3, 3, 2, 1)]
    assert await outcomes(*calls) == [None, BudgetReached, None, BudgetReached]


async def test_a_budget_that_only_tells_refuses_nothing(tasks, ledger, database, team):
    await change(ledger, team, monthly_budget=CREDIT, budget_mode="alert", alert_url=URL)
    for _ in range(3):
        await spend(tasks, team, 1)
    (alert,) = await told(database, "budget")
    assert alert == {
        "team_id": team.id,
        "team": "studio",
        "month": "2027-01",
        "percent": 100,
        "spent": "1",
        "monthly_budget": "1",
    }


async def test_each_percent_is_told_once_a_month_and_budget(tasks, ledger, database, team):
    await ledger.grant(team.id, 90 * CREDIT, None)
    alerts = {"budget_alerts": (50, 80, 90), "budget_mode": "alert", "alert_url": URL}
    await change(ledger, team, monthly_budget=10 * CREDIT, **alerts)
    seen = []
    for charge in (4, 1, 1, 3, 1, 1):
        await spend(tasks, team, charge)
        seen.append([one["percent"] for one in await told(database, "budget")])
    assert seen == [[], [50], [50], [50, 90], [50, 90], [50, 90]]
    await spend(tasks, team, 8, START_MS + MONTH_MS)
    assert len(await told(database, "budget")) == 3
    await change(ledger, team, monthly_budget=9 * CREDIT)
    await spend(tasks, team, 1, START_MS + MONTH_MS)
    spent = {one["monthly_budget"]: one["spent"] for one in (await told(database, "budget"))[2:]}
    assert spent == {"10": "8", "9": "9"}


async def test_charges_at_once_in_two_processes_tell_of_a_crossing_once(
    tasks, other_process, ledger, database, team
):
    await ledger.grant(team.id, 90 * CREDIT, None)
    await change(ledger, team, monthly_budget=50 * CREDIT, low_balance=60 * CREDIT, alert_url=URL)
    several = [new_task(team.id) for _ in range(50)]
    await asyncio.gather(*(tasks.accept(new) for new in several))
    settling = [
        (tasks, other_process)[i % 2].settle(delivered(new.task)) for i, new in enumerate(several)
    ]
    await asyncio.gather(*settling)
    percents = [one["percent"] for one in await told(database, "budget")]
    assert percents in ([80, 100], [100])
    assert len(await told(database, "low_balance")) == 1
    assert (await ledger.verify()).violations == ()


async def test_a_low_balance_is_told_once_until_it_is_lifted(tasks, ledger, database, team):
    await change(ledger, team, low_balance=8_500_000, alert_url=URL)
    counts = []
    for step in (1, 1, 1):
        await spend(tasks, team, step)
        counts.append(len(await told(database, "low_balance")))
    await ledger.grant(team.id, CREDIT, None)
    await spend(tasks, team, 1)
    counts.append(len(await told(database, "low_balance")))
    await ledger.grant(team.id, 2 * CREDIT, None)
    await ledger.adjust(team.id, -CREDIT, "twice")
    counts.append(len(await told(database, "low_balance")))
    assert counts == [0, 1, 1, 1, 2]
    first = (await told(database, "low_balance"))[0]
    assert (first["balance"], first["low_balance"]) == ("8", "8.5")


async def test_a_team_without_an_address_is_told_when_it_has_one(tasks, ledger, database, team):
    await change(ledger, team, low_balance=10 * CREDIT, monthly_budget=2 * CREDIT)
    await spend(tasks, team, 1)
    await spend(tasks, team, 1)
    assert await told(database, "low_balance") == await told(database, "budget") == []
    await change(ledger, team, alert_url=URL, budget_mode="alert")
    await spend(tasks, team, 1)
    assert len(await told(database, "low_balance")) == len(await told(database, "budget")) == 1


async def test_an_alert_is_a_callback_like_others(tasks, ledger, outbox, team):
    await change(ledger, team, low_balance=10 * CREDIT, alert_url=URL)
    await spend(tasks, team, 1)
    (claimed,) = await outbox.claim(10, 1_000)
    assert (claimed.task_id, claimed.url, claimed.event) == (None, URL, "low_balance")
    assert claimed.secrets == (team.webhook_secret,)
    assert json.loads(claimed.body)["type"] == "team.low_balance"
    assert json.loads(claimed.body)["timestamp"] == "2027-01-15T08:00:00.000Z"
    (logged,) = (await outbox.callback_page(10, None, state="pending", team_id=team.id)).items
    assert (logged.id, logged.task_id) == (claimed.id, None)


async def test_a_task_that_is_charged_nothing_tells_nothing(tasks, ledger, database, team):
    await change(ledger, team, low_balance=10 * CREDIT, alert_url=URL)
    new = new_task(team.id)
    await tasks.accept(new)
    await tasks.settle(failed(new.task))
    assert await told(database, "low_balance") == []


async def test_bad_budgets_are_named_and_nothing_is_changed(ledger, database, team):
    with pytest.raises(InvalidRequest):
        await change(ledger, team, monthly_budget=CREDIT, budget_mode="shout")
    assert (await ledger.team(team.id)).budget.monthly_budget is None
    await change(ledger, team, monthly_budget=2_500_000)
    rows = await database.read("SELECT after FROM audit WHERE action = 'team.update'")
    assert [json.loads(row["after"])["monthly_budget"] for row in rows] == ["2.5"]


async def test_old_alerts_are_forgotten_with_old_tasks_unless_they_wait(
    tasks, ledger, outbox, database, team
):
    await change(ledger, team, low_balance=9_500_000, monthly_budget=CREDIT, alert_url=URL)
    await spend(tasks, team, 1)
    claimed = await outbox.claim(10, 1_000)
    low = next(one for one in claimed if one.event == "low_balance")
    await outbox.record(low, TryResult(200, None, START_MS, 5), None)
    await tasks.forget(START_MS, 10)
    assert len(await told(database, "low_balance")) == 1
    await tasks.forget(START_MS + 1, 10)
    assert await told(database, "low_balance") == []
    assert len(await told(database, "budget")) == 1
