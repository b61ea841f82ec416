"""What goes wrong around a batch: a lost lease, a broken turn, a database away, a cancel."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.app import batch_feeding
from gateway.simulator import Script
from gateway.stores.postgres.batch_feed import PostgresBatchFeed
from gateway.stores.postgres.failures import ConnectionLost
from tests.e2e.test_batches import kites, results, send, until
from tests.support.stack import Stack, Team

FAR_AWAY = 2**62
TAKE_AWAY = "UPDATE batch_leases SET runner = 'somebody', lease_until_ms = $1"


async def lines_of(stack: Stack, team: Team, batch_id: str) -> dict[str, int]:
    body: dict[str, Any] = (await stack.get(team, f"/v1/batches/{batch_id}")).json()
    found: dict[str, int] = body["lines"]
    return found


async def test_who_lost_a_team_stops_feeding_it_and_takes_it_again(stack: Stack) -> None:
    team = await stack.team(credits=1000)
    batch = (await send(stack, team, kites(200), "?concurrency=2")).json()
    async with asyncio.timeout(10):
        while not (await lines_of(stack, team, batch["id"]))["completed"]:
            await asyncio.sleep(0.05)

    await stack.gateway.database.write(TAKE_AWAY, FAR_AWAY)
    await asyncio.sleep(2 * batch_feeding.LOOK_S)
    lost = await lines_of(stack, team, batch["id"])
    await asyncio.sleep(1)
    assert await lines_of(stack, team, batch["id"]) == lost
    assert lost["waiting"] > 0

    await stack.gateway.database.write(TAKE_AWAY, 0)
    await stack.post(team, None, f"/v1/batches/{batch['id']}/cancel")
    ended = await until(stack, team, batch["id"], "cancelled")
    assert ended["lines"]["completed"] >= lost["completed"]
    # What was sent and not noted is noted now: every task is a line's.
    found = await results(stack, team, batch["id"])
    tasks = (await stack.get(team, "/v1/tasks?limit=100&page=1")).json()
    assert tasks["total"] == len([one for one in found if one["task_id"]])


async def test_an_old_lease_sends_nothing(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_feeding, "LEASE_TRUST_S", -1.0)
    team = await stack.team()
    batch = (await send(stack, team, kites(2))).json()
    await asyncio.sleep(2)
    assert (await lines_of(stack, team, batch["id"]))["waiting"] == 2
    monkeypatch.undo()
    await until(stack, team, batch["id"], "completed")


async def test_a_broken_turn_is_logged_and_tried_again(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(batch_feeding, "BROKEN_S", 0.1)
    errors = [RuntimeError("a fault"), ConnectionLost("away")]
    sound = PostgresBatchFeed.collect

    async def collect(self: PostgresBatchFeed, runner: str, team_id: str) -> Any:
        if errors:
            raise errors.pop(0)
        return await sound(self, runner, team_id)

    monkeypatch.setattr(PostgresBatchFeed, "collect", collect)
    team = await stack.team()
    batch = (await send(stack, team, kites(2))).json()

    await until(stack, team, batch["id"], "completed")

    said = capsys.readouterr().out
    assert "batch_turn_failed" in said
    assert "batches_wait" in said


@pytest.mark.parametrize("key", [None, "spring"])
async def test_a_database_that_goes_away_says_whether_to_send_again(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    async def create(*_: object) -> bool:
        raise ConnectionLost("away")

    monkeypatch.setattr(stack.gateway.core.batches.store, "create", create)
    headers = {} if key is None else {"idempotency-key": key}
    answer = await send(stack, await stack.team(), kites(1), **headers)

    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "store_unavailable")
    assert ("send the batch again" in answer.text) == (key is not None)
    assert answer.headers.get("x-should-retry") == (None if key else "false")


async def test_a_cancel_reaches_tasks_that_no_vendor_works_on(stack: Stack) -> None:
    for vendor in ("evolink", "dashscope"):
        stack.simulator.script(vendor, Script(error="rate", retry_after_s=60))
    team = await stack.team()
    batch = (await send(stack, team, kites(5), "?concurrency=3")).json()
    async with asyncio.timeout(10):
        while (await lines_of(stack, team, batch["id"]))["running"] < 3:
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.5)

    await stack.post(team, None, f"/v1/batches/{batch['id']}/cancel")
    ended = await until(stack, team, batch["id"], "cancelled")

    assert ended["lines"]["cancelled"] == 5
    found = await results(stack, team, batch["id"])
    assert [one["task_id"] is not None for one in found] == [True, True, True, False, False]
    assert await stack.credits(team) == ("100", "0", "100")
