"""Valkey is emptied while 30,000 tasks are under way: how long until all of them are due again."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from gateway.embedded import EmbeddedPostgres, EmbeddedValkey
from gateway.stores.postgres.migrate import upgrade
from tests.stores.postgres.building import CREDIT, new_task
from tests.support.stack import running_stack

TASKS = 30_000
AT_ONCE = 500

pytestmark = pytest.mark.soak


async def test_thirty_thousand_tasks_are_indexed_again(
    tmp_path: Path, own_postgres: EmbeddedPostgres, own_valkey: EmbeddedValkey
) -> None:
    upgrade(own_postgres.url)
    async with running_stack(tmp_path, own_postgres.url, own_valkey.url, workers=0) as stack:
        gateway = stack.gateway
        team = await stack.team(credits=TASKS)
        far_ms = int(time.time() * 1000) + 3_600_000
        for first in range(0, TASKS, AT_ONCE):
            await asyncio.gather(
                *(
                    gateway.tasks.accept(new_task(team.id, created_ms=far_ms, task_id=f"task-{no}"))
                    for no in range(first, first + AT_ONCE)
                )
            )
        await gateway.valkey.execute("FLUSHALL")
        assert await gateway.live.epoch_lost()
        began = time.monotonic()
        added = await gateway.sweep.run()
        seconds = time.monotonic() - began
        print(f"{added} tasks indexed again in {seconds:.1f} s")
        assert added == TASKS
        assert (await gateway.live.figures()).tasks == TASKS
        assert not await gateway.live.epoch_lost()
        held = await gateway.ledger.team(team.id)
        assert held is not None
        assert held.held == TASKS * CREDIT
