"""What a partial delivery lacks is made by the next upstream, where the operator wants it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.simulator import Script
from tests.support.stack import CONFIGURATION, MODEL, running_stack

TOPPED_UP = CONFIGURATION.replace(
    '[models."wan2.5-t2i-preview"]', '[models."wan2.5-t2i-preview"]\ntop_up = true'
)


@pytest.mark.parametrize(
    ("configuration", "images", "balance", "upstreams"),
    [
        (TOPPED_UP, 4, "94", ["cheap", "dear"]),
        (CONFIGURATION, 1, "98.5", ["cheap"]),
    ],
)
async def test_four_pictures_of_which_the_cheapest_makes_one(
    tmp_path: Path,
    database_url: str,
    redis_url: str,
    configuration: str,
    images: int,
    balance: str,
    upstreams: list[str],
) -> None:
    async with running_stack(
        tmp_path, database_url, redis_url, configuration=configuration
    ) as stack:
        team = await stack.team()
        stack.simulator.script("evolink", Script(deliver=1))
        created = await stack.post(team, {"model": MODEL, "prompt": "a kite", "n": 4})
        body = await stack.ended(team, created.json()["id"])
        assert (body["status"], len(set(body["results"]))) == ("completed", images)
        assert (await stack.credits(team))[0] == balance
        task = await stack.task(created.json()["id"])
        assert [attempt.upstream for attempt in task.attempts] == upstreams
        bills = [stack.simulator.bill(name) for name in ("evolink", "dashscope")]
        assert sum(bill.images for bill in bills) == images
        assert sum(r.amount_usd_micros for bill in bills for r in bill.records) == task.cost
        assert (await stack.gateway.ledger.verify()).violations == ()
