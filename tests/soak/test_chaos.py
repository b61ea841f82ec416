"""A thousand tasks over vendors that fail in every way at once: the books must still be exact."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.domain.task import TaskStatus
from gateway.simulator import Script
from tests.support.stack import MODEL, Stack, Team, running_stack

TASKS = 1_000
AT_ONCE = 50

pytestmark = pytest.mark.soak

FAULTS = {
    "evolink": (
        Script(error="server_error", share=0.05),
        Script(fail="service_error", share=0.05),
        Script(accept_then="reset", share=0.03),
        Script(answer="garbage", share=0.02),
        Script(deliver=1, share=0.05),
        Script(work_ms=1_500, share=0.05),
        Script(on="query", error="server_error", share=0.05),
    ),
    "dashscope": (
        Script(error="rate", retry_after_s=1, share=0.05),
        Script(fail="content_policy", share=0.02),
        Script(reset=True, share=0.05),
        Script(answer="html", share=0.03),
        Script(on="query", answer="truncated", share=0.05),
    ),
}


async def one(stack: Stack, team: Team, number: int) -> str:
    body = {"model": MODEL, "prompt": f"kite {number}", "n": 1 + number % 4}
    answer = await stack.post(team, body)
    assert answer.status_code == 200, answer.text
    ended = await stack.ended(team, answer.json()["id"], timeout_s=300)
    task_id: str = ended["id"]
    return task_id


async def test_every_task_ends_and_every_credit_is_accounted_for(
    tmp_path: Path, database_url: str, redis_url: str
) -> None:
    async with running_stack(tmp_path, database_url, redis_url, workers=2) as stack:
        for vendor, scripts in FAULTS.items():
            stack.simulator.script(vendor, *scripts)
        team = await stack.team(credits=20_000)
        gate = asyncio.Semaphore(AT_ONCE)

        async def limited(number: int) -> str:
            async with gate:
                if number % 250 == 249:
                    await stack.gateway.valkey.execute("FLUSHALL")
                return await one(stack, team, number)

        ids = await asyncio.gather(*(limited(number) for number in range(TASKS)))
        tasks = [await stack.task(task_id) for task_id in ids]

        assert all(task.status.is_terminal for task in tasks)
        completed = [task for task in tasks if task.status is TaskStatus.COMPLETED]
        assert len(completed) > TASKS * 0.9
        charged = sum(task.charged for task in tasks)
        assert charged == sum(task.unit_price * len(task.images) for task in completed)
        final = await stack.gateway.ledger.team(team.id)
        assert final is not None
        assert (final.held, final.balance) == (0, 20_000 * 1_000_000 - charged)
        billed = sum(stack.simulator.bill(vendor).amount_usd_micros for vendor in FAULTS)
        cost = sum(task.cost for task in tasks)
        exposure = sum(task.exposure for task in tasks)
        assert cost <= billed <= cost + exposure
        await stack.assert_ledger_is_clean()
