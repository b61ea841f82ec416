"""A batch whose workers are killed: each line is answered once, and bought once."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest

from gateway.crashpoints import CrashPoint
from gateway.embedded import EmbeddedPostgres, EmbeddedValkey
from tests.crash.books import assert_books_are_exact
from tests.crash.site import Site, running_site

RUNNER = "SELECT runner FROM batch_leases"
TOGETHER = 100
# A lease of six seconds, found over by a look a second; and a machine that has other things to do.
TAKEN_OVER_WITHIN_S = 20.0


async def runner_of(site: Site) -> str:
    async with site.books() as books:
        rows = await books.database.read(RUNNER)
    return str(rows[0]["runner"])


async def completed(site: Site, batch_id: str, count: int) -> None:
    """Wait until so many lines are completed."""
    headers = {"authorization": f"Bearer {site.key}"}
    async with asyncio.timeout(300):
        while True:
            answer = await site.client.get(f"/v1/batches/{batch_id}", headers=headers)
            if answer.json()["lines"]["completed"] >= count:
                return
            await asyncio.sleep(0.05)


async def kill_the_feeder(site: Site) -> float:
    """Kill -9 the worker that has just sent lines and noted none; gives when another one feeds."""
    before = await runner_of(site)
    site.arm(CrashPoint.BATCH_SENT)
    pid = await site.held(CrashPoint.BATCH_SENT)
    at = time.monotonic()
    await site.kill("worker", pid)
    site.release(CrashPoint.BATCH_SENT, pid)
    async with asyncio.timeout(TAKEN_OVER_WITHIN_S):
        while await runner_of(site) == before:
            await asyncio.sleep(0.1)
    return time.monotonic() - at


async def survive(
    folder: Path, postgres: EmbeddedPostgres, valkey: EmbeddedValkey, lines: int, kills: int
) -> None:
    began = time.monotonic()
    async with running_site(folder, postgres, valkey) as site:
        batch_id = await site.batch(lines, TOGETHER, callback_url=None)
        taken_in_s = time.monotonic() - began
        over_s = []
        for number in range(1, kills + 1):
            await completed(site, batch_id, lines * number // (kills + 2))
            over_s.append(await kill_the_feeder(site))
        ended = await site.batch_ended(batch_id)
        ended_s = time.monotonic() - began
        headers = {"authorization": f"Bearer {site.key}"}
        answer = await site.client.get(f"/v1/batches/{batch_id}/results", headers=headers)
        results = [json.loads(line) for line in answer.text.splitlines()]
        # Task by task, with what vendors billed: each line is one task, bought once.
        figures = await assert_books_are_exact(site)

    assert ended["status"] == "completed"
    assert [one["line"] for one in results] == list(range(1, lines + 1))
    done = [one for one in results if one["status"] == "completed"]
    assert len(done) == ended["lines"]["completed"] == ended["images"]
    assert all(len(one["data"]) == 1 for one in done)
    assert ended["lines"]["completed"] + ended["lines"]["failed"] == lines
    assert figures.tasks == lines
    # The end of the batch was told under one id.
    heard = site.callbacks_heard()
    assert (list(heard), len(heard[batch_id])) == ([batch_id], 1)
    print(f"{lines} lines taken in after {taken_in_s:.1f} s, ended after {ended_s:.0f} s")
    print(f"{kills} workers killed, taken over after {[round(s, 1) for s in over_s]} s; {figures}")


async def test_a_batch_survives_its_worker_with_each_line_answered_once(
    tmp_path: Path, own_postgres: EmbeddedPostgres, own_valkey: EmbeddedValkey
) -> None:
    await survive(tmp_path, own_postgres, own_valkey, lines=500, kills=1)


@pytest.mark.soak
async def test_five_thousand_lines_survive_five_workers(
    tmp_path: Path, own_postgres: EmbeddedPostgres, own_valkey: EmbeddedValkey
) -> None:
    await survive(tmp_path, own_postgres, own_valkey, lines=5_000, kills=5)
