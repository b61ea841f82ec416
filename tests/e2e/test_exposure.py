"""What may have been billed unseen: found out, or said by an operator; never charged to a team."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.domain.task import Attempt, Outcome
from gateway.simulator import Script
from tests.support.stack import CONFIGURATION, MODEL, Stack, Team, running_stack

ADMIN = {"authorization": "Bearer the-admin-key"}
HASTY = CONFIGURATION.replace(
    'price_credits = "1.5"\n', 'price_credits = "1.5"\ndeadline_seconds = 1\n', 1
)
COST = 22_000


@pytest.fixture
async def stack(tmp_path: Path, database_url: str, redis_url: str) -> AsyncIterator[Stack]:
    """A gateway that gives a task up after a second, and lets nothing go elsewhere."""
    async with running_stack(
        tmp_path, database_url, redis_url, configuration=HASTY, admin_key="the-admin-key"
    ) as running:
        yield running


async def given_up(stack: Stack, team: Team, **script: Any) -> Attempt:
    """Let the deadline pass while the vendor works on a task; gives the attempt."""
    stack.simulator.script("evolink", Script(times=1, **script))
    body = {"model": MODEL, "prompt": "a late kite", "n": 2, "provider": {"only": ["cheap"]}}
    created = await stack.post(team, body)
    await stack.ended(team, created.json()["id"])
    return (await stack.task(created.json()["id"])).attempts[-1]


async def admin(stack: Stack, method: str, path: str, body: Any = None) -> httpx.Response:
    return await stack.client.request(method, f"/admin/v1{path}", json=body, headers=ADMIN)


async def open_exposures(stack: Stack) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await admin(stack, "GET", "/exposure")).json()["data"]
    return found


async def test_a_late_success_is_waste_and_never_charged(stack: Stack) -> None:
    team = await stack.team(credits=10)
    attempt = await given_up(stack, team, work_ms=2_500)
    assert (attempt.outcome, attempt.exposure) == (Outcome.ABANDONED, 2 * COST)
    (shown,) = await open_exposures(stack)
    assert (shown["id"], shown["exposure_usd"]) == (attempt.id, "0.044")

    async with asyncio.timeout(20):
        while await open_exposures(stack):
            stack.gateway.reconcile._asked.clear()
            await stack.gateway.reconcile.run()
            await asyncio.sleep(0.2)

    task = await stack.task(shown["task_id"])
    (late,) = task.attempts
    assert (late.outcome, late.cost, late.exposure) == (Outcome.ABANDONED, 2 * COST, 0)
    assert late.resolution == "billed"
    assert stack.simulator.bill("evolink").amount_usd_micros == task.cost
    assert await stack.credits(team) == ("10", "0", "10")
    rows = await stack.gateway.database.read("SELECT cost, exposure, charged FROM usage")
    assert [tuple(row) for row in rows] == [(2 * COST, 0, 0)]
    await stack.assert_ledger_is_clean()
    log = (await admin(stack, "GET", f"/audit?subject={late.id}")).json()["data"]
    assert [(entry["action"], entry["actor"]) for entry in log] == [
        ("exposure.resolve", "reconciliation")
    ]


async def test_a_vendor_that_failed_it_later_bills_nothing(stack: Stack) -> None:
    team = await stack.team(credits=10)
    attempt = await given_up(stack, team, work_ms=2_500, fail="service_error")
    async with asyncio.timeout(20):
        while await open_exposures(stack):
            stack.gateway.reconcile._asked.clear()
            await stack.gateway.reconcile.run()
            await asyncio.sleep(0.2)
    (later,) = (await stack.task(await _task_of(stack, attempt))).attempts
    assert (later.cost, later.exposure, later.resolution) == (0, 0, "free")


async def _task_of(stack: Stack, attempt: Attempt) -> str:
    statement = "SELECT task_id FROM attempts WHERE id = $1"
    task_id: str = (await stack.gateway.database.read(statement, attempt.id))[0]["task_id"]
    return task_id


async def test_what_the_vendor_does_not_say_is_asked_less_and_less_often(stack: Stack) -> None:
    team = await stack.team(credits=10)
    await given_up(stack, team, stuck=True)
    assert await stack.gateway.reconcile.run() == 0
    ((_, pause_ms),) = stack.gateway.reconcile._asked.values()
    assert pause_ms == 120_000
    assert len(await open_exposures(stack)) == 1


async def test_an_operator_says_what_the_invoice_says(stack: Stack) -> None:
    team = await stack.team(credits=10)
    attempt = await given_up(stack, team, stuck=True)
    path = f"/exposure/{attempt.id}/resolve"
    wrong = [
        ({}, "resolution", "missing"),
        ({"resolution": "perhaps"}, "resolution", "billed, free"),
        ({"resolution": "billed", "cost_usd": "much"}, "cost_usd", "decimal"),
        ({"resolution": "billed", "cost_usd": "0.05"}, "cost_usd", "0 to 0.044"),
        ({"resolution": "free", "cost_usd": "0.01"}, "cost_usd", "only with billed"),
    ]
    for body, field, words in wrong:
        refused = await admin(stack, "POST", path, body)
        assert refused.status_code == 400, refused.text
        assert refused.json()["error"]["param"] == field
        assert words in refused.json()["error"]["message"]

    body = {"resolution": "billed", "cost_usd": "0.03"}
    done = await admin(stack, "POST", path, body)
    assert done.json() | {"id": None} == {
        "id": None,
        "upstream": "cheap",
        "resolution": "billed",
        "cost_usd": "0.03",
        "exposure_usd": "0",
    }
    again = await admin(stack, "POST", path, {"resolution": "free"})
    assert again.json() == done.json()
    assert await open_exposures(stack) == []
    unknown = await admin(stack, "POST", "/exposure/nobody/resolve", {"resolution": "free"})
    assert unknown.status_code == 404
    await stack.assert_ledger_is_clean()


async def test_a_task_under_way_is_left_to_itself(stack: Stack) -> None:
    team = await stack.team(credits=10)
    stack.simulator.script("evolink", Script(times=1, work_ms=5_000))
    await stack.post(team, {"model": MODEL, "prompt": "a kite", "provider": {"only": ["cheap"]}})
    async with asyncio.timeout(10):
        while not (rows := await stack.gateway.database.read("SELECT id FROM attempts")):
            await asyncio.sleep(0.02)
    refused = await admin(
        stack, "POST", f"/exposure/{rows[0]['id']}/resolve", {"resolution": "free"}
    )
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "in_use")


async def test_metrics_show_what_is_open_and_when_the_books_were_proven(stack: Stack) -> None:
    team = await stack.team(credits=10)
    await given_up(stack, team, stuck=True)
    await stack.gateway.ledger.verify()
    text = (await stack.client.get("/metrics")).text
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(lines["igw_exposure_usd"]) == 0.044
    assert float(lines["igw_exposure_attempts"]) == 1
    assert float(lines["igw_ledger_violations"]) == 0
    assert float(lines["igw_ledger_checked_timestamp_seconds"]) > 1.7e9
    assert {float(lines[f"igw_callbacks_{state}"]) for state in ("pending", "dead")} == {0}
    assert float(lines["igw_queue_tasks"]) == 0
