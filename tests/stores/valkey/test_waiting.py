from __future__ import annotations

import asyncio
import tracemalloc
from dataclasses import replace

from gateway.domain.task import Task, TaskStatus
from gateway.stores.valkey import announcements
from gateway.stores.valkey.connection import Valkey
from gateway.stores.valkey.live_tasks import ValkeyLiveTasks
from tests.stores.valkey.helpers import a_task, ended, polled, until, until_back

LEASE_MS = 10_000


async def finish(live: ValkeyLiveTasks, task: Task) -> None:
    """Take the task and settle it, as a worker does."""
    lease = await live.seize(task.id, LEASE_MS)
    assert lease is not None
    assert await live.save(lease, ended(task), None)


async def until_heard(live: ValkeyLiveTasks) -> None:
    """Start listening, and return once that is so."""
    await live.wait_due(0)
    with live._news.watching("any"):
        await until(lambda: live._news.hears and live._dues.hears)


async def asked(server: Valkey) -> int:
    """Give how often documents were read, this process's or another's."""
    lines = (await server.execute("INFO", "commandstats")).decode().splitlines()
    (calls,) = [line for line in lines if line.startswith("cmdstat_hget:")]
    return int(calls.partition("calls=")[2].partition(",")[0])


async def until_watched(live: ValkeyLiveTasks, count: int) -> None:
    await until(lambda: live._news.watched >= count)


async def test_a_waiter_gets_the_task_that_another_process_ends(redis_url, live, database, now):
    await live.enqueue(a_task(), now.ms)
    waiting = asyncio.create_task(live.wait(a_task().id, asyncio.timeout(20)))
    await until_heard(live)
    connection = Valkey(redis_url, clock=now)
    await finish(ValkeyLiveTasks(connection, database.get), a_task())
    assert await waiting == ended(a_task())
    await connection.aclose()


async def test_a_waiter_is_told_how_the_task_ended_and_need_not_ask(live, server, now):
    await live.enqueue(a_task(), now.ms)
    await until_heard(live)
    waiting = asyncio.create_task(live.wait(a_task().id, asyncio.timeout(20)))
    await until_watched(live, 1)
    await server.ping()
    lease = await live.seize(a_task().id, LEASE_MS)
    assert lease is not None
    before = await asked(server)
    await live.save(lease, ended(a_task()), None)
    assert await waiting == ended(a_task())
    assert await asked(server) == before


async def test_an_announcement_that_cannot_be_read_is_looked_up(live, server, now):
    await live.enqueue(a_task(), now.ms)
    await finish(live, a_task())
    await server.execute("HSET", f"igw:t:{a_task().id}", "doc", b"of a version to come")
    await until_heard(live)
    waiting = asyncio.create_task(live.wait(a_task().id, asyncio.timeout(20)))
    await until_watched(live, 1)
    live._fallback.__self__.tasks[a_task().id] = ended(a_task())
    await server.execute("DEL", f"igw:t:{a_task().id}")
    await server.execute("PUBLISH", "igw:changes", f"e{a_task().id}\nof a version to come")
    assert await waiting == ended(a_task())


async def test_a_task_that_ended_before_the_wait_is_given_at_once(live, now):
    await live.enqueue(a_task(), now.ms)
    await finish(live, a_task())
    assert await live.wait(a_task().id, asyncio.timeout(20)) == ended(a_task())


async def test_a_wait_that_begins_while_the_task_ends_never_hangs(monkeypatch, live, now):
    # Nobody looks twice unless woken, so a missed announcement would use the whole time.
    monkeypatch.setattr(announcements, "LOOK_AGAIN_S", 60.0)
    await until_heard(live)
    for no in range(100):
        await live.enqueue(a_task(no), now.ms)
        found, _ = await asyncio.gather(
            live.wait(a_task(no).id, asyncio.timeout(20)), finish(live, a_task(no))
        )
        assert found == ended(a_task(no))


async def test_a_wait_gives_none_when_its_time_is_over(live, now):
    await live.enqueue(a_task(), now.ms)
    assert await live.wait(a_task().id, asyncio.timeout(0.05)) is None
    assert live._news.watched == 0


async def test_a_cancelled_wait_leaves_nothing_behind(live, now):
    await live.enqueue(a_task(), now.ms)
    waiting = asyncio.create_task(live.wait(a_task().id, asyncio.timeout(20)))
    await until_watched(live, 1)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert live._news.watched == 0


async def test_a_waiter_of_a_task_that_only_postgres_knows_is_told(monkeypatch, live, database):
    monkeypatch.setattr(announcements, "LOOK_AGAIN_S", 0.02)
    monkeypatch.setattr(announcements, "LOOK_AGAIN_DEAF_S", 0.02)
    waiting = asyncio.create_task(live.wait(a_task().id, asyncio.timeout(20)))
    await until_watched(live, 1)
    database.tasks[a_task().id] = ended(a_task())
    assert await waiting == ended(a_task())


async def test_waiters_are_answered_from_postgres_while_valkey_is_away(
    monkeypatch, own_valkey, database
):
    monkeypatch.setattr(announcements, "LOOK_AGAIN_DEAF_S", 0.05)
    connection = Valkey(own_valkey.url)
    live = ValkeyLiveTasks(connection, database.get)
    await live.enqueue(a_task(), connection.now_ms())
    waiting = asyncio.create_task(live.wait(a_task().id, asyncio.timeout(20)))
    await until_heard(live)
    await asyncio.to_thread(own_valkey.kill)
    database.away = True
    late = asyncio.create_task(live.wait(a_task().id, asyncio.timeout(20)))
    await until_watched(live, 1)
    database.away = False
    database.tasks[a_task().id] = ended(a_task())
    assert await waiting == await late == ended(a_task())
    await live.aclose()
    await connection.aclose()


async def test_waiters_are_told_again_after_valkey_came_back(monkeypatch, own_valkey, database):
    monkeypatch.setattr(announcements, "LOOK_AGAIN_S", 60.0)
    monkeypatch.setattr(announcements, "LOOK_AGAIN_DEAF_S", 60.0)
    connection = Valkey(own_valkey.url)
    live = ValkeyLiveTasks(connection, database.get)
    waiting = asyncio.create_task(live.wait(a_task().id, asyncio.timeout(20)))
    await until_heard(live)
    await asyncio.to_thread(own_valkey.kill)
    await until(lambda: not live._news.hears)
    await asyncio.to_thread(own_valkey.restart)
    await until_heard(live)
    await until_back(connection)
    await live.enqueue(a_task(), connection.now_ms())
    await finish(live, a_task())
    assert await waiting == ended(a_task())
    await live.aclose()
    await connection.aclose()


async def test_events_give_each_visible_change_once_and_end_with_the_task(live, now):
    await live.enqueue(a_task(), now.ms)

    async def watch() -> list[Task]:
        return [task async for task in live.events(a_task().id)]

    watching = asyncio.create_task(watch())
    await until_heard(live)
    polled_again = replace(polled(a_task(), 40), route=("nothing a reader sees",))
    for state in (polled(a_task(), 40), polled_again, polled(a_task(), 80)):
        lease = await live.seize(a_task().id, LEASE_MS)
        await live.save(lease, state, now.ms)
        await asyncio.sleep(0.02)
    await finish(live, a_task())
    seen = await asyncio.wait_for(watching, 20)
    assert [(task.status, task.progress) for task in seen] == [
        (TaskStatus.PENDING, 0),
        (TaskStatus.PROCESSING, 40),
        (TaskStatus.PROCESSING, 80),
        (TaskStatus.COMPLETED, 100),
    ]


async def test_two_thousand_waiters_share_one_subscription_and_little_memory(live, now, server):
    tasks = [a_task(no) for no in range(2_000)]
    await live.add_missing(tasks, now.ms)
    await until_heard(live)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    waiting = [asyncio.create_task(live.wait(task.id, asyncio.timeout(60))) for task in tasks]
    await until_watched(live, 2_000)
    await server.ping()
    each = (tracemalloc.get_traced_memory()[0] - before) / 2_000
    tracemalloc.stop()
    assert each <= 15 * 1024
    subscribers = await server.execute("PUBSUB", "NUMSUB", "igw:changes", "igw:dues")
    assert subscribers[1::2] == [1, 1]
    for lease in await live.claim(2_000, LEASE_MS):
        assert await live.save(lease, ended(lease.task), None)
    found = await asyncio.gather(*waiting)
    assert [task.id for task in found if task] == [task.id for task in tasks]


async def test_idle_workers_are_woken_by_an_enqueue_anywhere(redis_url, live, database, now):
    await until_heard(live)
    await live.wait_due(0.01)
    idle = asyncio.create_task(live.wait_due(60))
    connection = Valkey(redis_url, clock=now)
    other = ValkeyLiveTasks(connection, database.get)
    await asyncio.sleep(0.02)
    assert not idle.done()
    await other.enqueue(a_task(), now.ms)
    await asyncio.wait_for(idle, 20)
    await connection.aclose()


async def test_an_idle_worker_wakes_when_the_next_task_it_saw_is_due(redis_url, database):
    connection = Valkey(redis_url)
    live = ValkeyLiveTasks(connection, database.get)
    await live.enqueue(a_task(), connection.now_ms() + 50)
    while not (leases := await live.claim(1, LEASE_MS)):
        await asyncio.wait_for(live.wait_due(60), 20)
    assert leases[0].task == a_task()
    await live.aclose()
    await connection.aclose()


async def test_waiting_for_due_work_does_not_spin_while_nothing_is_claimed(live, now):
    await live.enqueue(a_task(), now.ms)
    await live.claim(0, LEASE_MS)
    await until_heard(live)
    await live.wait_due(0.01)
    wakes = 0
    with_end = asyncio.get_running_loop().time() + 0.3
    while asyncio.get_running_loop().time() < with_end:
        await live.wait_due(0.1)
        wakes += 1
    assert wakes <= 5
