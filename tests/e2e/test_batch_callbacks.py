"""The end of a batch is told once, signed like any callback, with the body of a query."""

from __future__ import annotations

import json
from pathlib import Path

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
