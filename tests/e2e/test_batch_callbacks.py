"""The end of a batch is told once, signed like any callback, with the body of a query."""

from __future__ import annotations

import json
from pathlib import Path

from gateway.domain.administration import COMMAND_LINE
from tests.e2e.test_batches import kites, send, until
from tests.e2e.test_callbacks import listening, received, verified
from tests.support.receivers import reply


async def test_the_end_is_told_once_and_lines_call_back_too(
    tmp_path: Path, database_url: str, redis_url: str
) -> None:
    async with listening(tmp_path, database_url, redis_url, reply(204)) as (stack, hook, url):
        team = await stack.team()
        lines = [*kites(2), *kites(1, callback_url=f"{url}/line")]
        batch = (await send(stack, team, lines, f"?callback_url={url}/batch")).json()
        ended = await until(stack, team, batch["id"], "completed")

        requests = await received(hook, 2)

        told = {request.path: json.loads(request.body) for request in requests}
        assert told["/hook/batch"] == ended
        assert told["/hook/line"]["id"] == f"task-{batch['id']}-3"
        assert all(verified(team, request) for request in requests)
        (logged,) = [
            one
            for one in (
                await stack.gateway.outbox.callback_page(9, None, state=None, team_id=team.id)
            ).items
            if one.task_id is None
        ]
        assert (logged.event, logged.url) == ("batch.completed", f"{url}/batch")


async def test_a_team_is_told_each_time_a_batch_of_it_is_paused(
    tmp_path: Path, database_url: str, redis_url: str
) -> None:
    async with listening(tmp_path, database_url, redis_url, reply(204)) as (stack, hook, url):
        team = await stack.team(credits=3)
        ledger = stack.gateway.ledger
        await ledger.update_team(team.id, {"alert_url": f"{url}/alerts"}, COMMAND_LINE)
        batch = (await send(stack, team, kites(4), "?name=spring")).json()
        paused = await until(stack, team, batch["id"], "paused")
        (first,) = await received(hook, 1)
        told = json.loads(first.body)

        assert (told["type"], first.path) == ("team.batch_paused", "/hook/alerts")
        assert told["data"] == {
            "team_id": team.id,
            "team": team.name,
            "batch_id": batch["id"],
            "name": "spring",
            **paused["reason"],
        }
        assert verified(team, first)
        await stack.post(team, None, f"/v1/batches/{batch['id']}/resume")
        again = (await received(hook, 2))[1]
        assert json.loads(again.body)["data"] == told["data"]
        assert again.headers["webhook-id"] != first.headers["webhook-id"]
