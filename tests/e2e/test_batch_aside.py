"""A model without an upstream holds up its own lines of a batch and no others."""

from __future__ import annotations

import asyncio

from gateway.domain.administration import COMMAND_LINE
from tests.e2e.test_batches import kites, results, send, until
from tests.support.stack import Stack

OTHER = "wan2.7-image"


async def test_later_lines_of_other_models_go_on_and_every_line_is_bought_once(
    stack: Stack,
) -> None:
    team = await stack.team(credits=100)
    drains = stack.gateway.core.admin.drains
    await drains.drain("dear", COMMAND_LINE)
    held_up = [{"model": OTHER, "prompt": f"a lantern {no}"} for no in range(5)]
    lines = [*held_up, *kites(12), *held_up, *kites(8)]
    batch = (await send(stack, team, lines, "?concurrency=3")).json()

    async with asyncio.timeout(30):
        while True:
            body = (await stack.get(team, f"/v1/batches/{batch['id']}")).json()
            if body["lines"]["completed"] == 20:
                break
            await asyncio.sleep(0.05)

    assert (body["status"], body["lines"]["waiting"], body["lines"]["running"]) == (
        "running",
        10,
        0,
    )
    await drains.resume("dear", COMMAND_LINE)
    ended = await until(stack, team, batch["id"], "completed")
    assert ended["lines"]["completed"] == 30
    assert ended["credits_charged"] == "50"
    found = await results(stack, team, batch["id"])
    assert len({one["task_id"] for one in found}) == 30
    tasks = (await stack.get(team, "/v1/tasks?limit=100&page=1")).json()
    assert tasks["total"] == 30
    rows = await stack.gateway.database.read(
        "SELECT id FROM tasks WHERE model = $1 ORDER BY created_ms, id", OTHER
    )
    sent = [int(row["id"].rpartition("-")[2]) for row in rows]
    assert sent[0] == 1
    assert sorted(sent) == [1, 2, 3, 4, 5, 18, 19, 20, 21, 22]
