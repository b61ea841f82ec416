"""Accepted tasks are indexed behind their answers, and what Valkey does not take is no error."""

from __future__ import annotations

import asyncio

import structlog

from gateway.app.indexing import Indexing
from gateway.stores.valkey.connection import Valkey
from gateway.stores.valkey.live_tasks import ValkeyLiveTasks
from tests.stores.valkey.helpers import a_task

LEASE_MS = 10_000


async def test_what_one_turn_accepts_goes_in_one_call_and_is_due(live, monkeypatch):
    calls = []
    add = live.add_missing

    async def counted(tasks, due_ms):
        calls.append(len(tasks))
        return await add(tasks, due_ms)

    monkeypatch.setattr(live, "add_missing", counted)
    indexing = Indexing(live)
    for no in range(3):
        indexing.soon(a_task(no))
    await asyncio.sleep(0)
    indexing.soon(a_task(3))
    await indexing.aclose()
    assert calls == [3, 1]
    leases = await live.claim(10, LEASE_MS)
    assert {lease.task.id for lease in leases} == {a_task(no).id for no in range(4)}


async def test_a_task_that_is_indexed_already_is_left_alone(live, now):
    await live.enqueue(a_task(), now.ms)
    (lease,) = await live.claim(1, LEASE_MS)
    assert await live.save(lease, a_task(), now.ms + 60_000)
    indexing = Indexing(live)
    indexing.soon(a_task())
    await indexing.aclose()
    assert await live.claim(1, LEASE_MS) == []


async def test_what_valkey_does_not_take_is_left_to_the_sweeper(own_valkey, database):
    connection = Valkey(own_valkey.url)
    live = ValkeyLiveTasks(connection, database.get)
    await asyncio.to_thread(own_valkey.kill)
    indexing = Indexing(live)
    with structlog.testing.capture_logs() as logged:
        indexing.soon(a_task())
        await indexing.aclose()
    await asyncio.to_thread(own_valkey.restart)
    told = [line["task_ids"] for line in logged if line["event"] == "enqueue_failed"]
    assert told == [[a_task().id]]
    await live.aclose()
    await connection.aclose()
