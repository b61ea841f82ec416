from __future__ import annotations

import asyncio
from itertools import chain

import pytest

from gateway.domain.request import GenerationRequest, Size
from gateway.domain.task import Task
from gateway.stores.valkey import keys
from gateway.stores.valkey.connection import Valkey
from gateway.stores.valkey.live_tasks import ValkeyLiveTasks
from tests.stores.valkey.helpers import a_task, ended, polled

LEASE_MS = 10_000


async def index(live: ValkeyLiveTasks, *tasks: Task) -> None:
    """Make tasks due at once."""
    await asyncio.gather(*(live.enqueue(task, 0) for task in tasks))


async def test_an_enqueued_task_reads_back_as_it_was(live):
    task = polled(a_task(ignored=("quality",), echo={"size": "1:1", "nested": {"a": [1, None]}}))
    await index(live, task)
    assert await live.get(task.id) == task
    assert await live.get("task-unknown") is None


async def test_only_the_first_visit_has_the_request_at_hand(live, server, now):
    request = GenerationRequest(
        model="wan2.5-t2i-preview", prompt="a lighthouse", size=Size(1024, 1024)
    )
    await live.enqueue(a_task(), now.ms, request)
    (lease,) = await live.claim(10, LEASE_MS)
    assert lease.request == request
    now.ms += LEASE_MS
    (after_a_crash,) = await live.claim(10, LEASE_MS)
    assert after_a_crash.request == request
    await live.save(after_a_crash, polled(a_task()), now.ms)
    (again,) = await live.claim(10, LEASE_MS)
    assert again.request is None
    assert await server.execute("HGET", keys.task(a_task().id), "request") is None


@pytest.mark.parametrize("prompt", ["long" * 1024, "half a pair: \ud800"])
async def test_a_request_that_is_long_or_unwritable_is_not_kept(live, now, prompt):
    await live.enqueue(a_task(), now.ms, GenerationRequest(model="any", prompt=prompt))
    (lease,) = await live.claim(10, LEASE_MS)
    assert lease.request is None


async def test_a_request_that_another_version_wrote_is_left_to_the_database(live, server, now):
    request = GenerationRequest(model="any", prompt="a lighthouse")
    await live.enqueue(a_task(), now.ms, request)
    await server.execute("HSET", keys.task(a_task().id), "request", b"of a version to come")
    (lease,) = await live.claim(10, LEASE_MS)
    assert (lease.task, lease.request) == (a_task(), None)


async def test_a_text_that_utf8_cannot_hold_is_kept_readable(live):
    await index(live, a_task(route=("vendor said \ud800 and 中文",)))
    assert (await live.get(a_task().id)).route == ("vendor said ? and 中文",)


async def test_a_plain_task_takes_at_most_two_kibibytes_of_the_server(live, server, now):
    task = polled(a_task())
    await index(live, task)
    (lease,) = await live.claim(1, LEASE_MS)
    await live.save(lease, task, now.ms + 1_000)
    used = await server.execute("MEMORY", "USAGE", keys.task(task.id), "SAMPLES", 0)
    assert used <= 2048


async def test_enqueueing_again_changes_nothing(live):
    await index(live, a_task())
    (lease,) = await live.claim(10, LEASE_MS)
    await index(live, a_task())
    assert await live.claim(10, LEASE_MS) == []
    assert await live.save(lease, polled(a_task()), None)


async def test_a_task_is_claimed_only_when_due_and_earliest_first(live, now):
    for no, delay_ms in ((1, -10), (2, -30), (3, 60_000), (4, -20)):
        await live.enqueue(a_task(no), now.ms + delay_ms)
    leases = await live.claim(2, LEASE_MS)
    assert [lease.task for lease in leases] == [a_task(2), a_task(4)]
    assert [lease.task for lease in await live.claim(10, LEASE_MS)] == [a_task(1)]


async def test_twenty_concurrent_claimers_never_share_a_task(redis_url, live, database, now):
    tasks = [a_task(no) for no in range(300)]
    assert await live.add_missing(tasks, now.ms) == 300

    async def claim_all() -> list[str]:
        connection = Valkey(redis_url, clock=now)
        claimer = ValkeyLiveTasks(connection, database.get)
        taken: list[str] = []
        while leases := await claimer.claim(7, LEASE_MS):
            taken += [lease.task.id for lease in leases]
        await connection.aclose()
        return taken

    taken = await asyncio.gather(*(claim_all() for _ in range(20)))
    assert sorted(chain.from_iterable(taken)) == sorted(task.id for task in tasks)


async def test_an_expired_lease_is_delivered_again_and_the_old_one_cannot_save(live, now):
    await index(live, a_task())
    (old,) = await live.claim(1, LEASE_MS)
    assert await live.claim(1, LEASE_MS) == []
    now.ms += LEASE_MS
    (new,) = await live.claim(1, LEASE_MS)
    assert not await live.save(old, polled(a_task(), 99), None)
    assert await live.get(a_task().id) == a_task()
    assert await live.save(new, polled(a_task(), 50), None)
    assert (await live.get(a_task().id)).progress == 50


async def test_an_expired_lease_that_nobody_took_may_still_save(live, now):
    await index(live, a_task())
    (lease,) = await live.claim(1, LEASE_MS)
    now.ms += LEASE_MS
    assert await live.save(lease, polled(a_task()), now.ms + 1_000)


async def test_a_lease_saves_once(live, now):
    await index(live, a_task())
    (lease,) = await live.claim(1, LEASE_MS)
    assert await live.save(lease, polled(a_task()), now.ms)
    assert not await live.save(lease, polled(a_task()), now.ms + 60_000)
    assert len(await live.claim(1, LEASE_MS)) == 1


async def test_an_older_fence_never_overwrites_a_newer_document(live, now):
    await index(live, a_task(fence=5))
    (lease,) = await live.claim(1, LEASE_MS)
    assert not await live.save(lease, a_task(fence=4, progress=10), now.ms)
    assert (await live.get(a_task().id)).fence == 5
    assert await live.save(lease, a_task(fence=5, progress=10), now.ms)


async def test_a_settled_task_is_kept_even_when_its_lease_was_lost(live, now):
    await index(live, a_task())
    (slow,) = await live.claim(1, LEASE_MS)
    now.ms += LEASE_MS
    (other,) = await live.claim(1, LEASE_MS)
    assert not await live.save(slow, ended(a_task()), None)
    assert await live.get(a_task().id) == ended(a_task())
    assert not await live.save(other, polled(a_task()), now.ms)
    assert await live.get(a_task().id) == ended(a_task())


async def test_an_ended_task_leaves_the_queue_and_expires_an_hour_after_its_ttl(
    server, database, now
):
    live = ValkeyLiveTasks(server, database.get, task_ttl_hours=2)
    await index(live, a_task())
    (lease,) = await live.claim(1, LEASE_MS)
    assert await live.save(lease, ended(a_task()), None)
    assert (await live.figures()).tasks == 0
    left_ms = await server.execute("PTTL", keys.task(a_task().id))
    assert 3 * 3_600_000 - 60_000 < left_ms <= 3 * 3_600_000
    assert await live.seize(a_task().id, LEASE_MS) is None
    assert await live.add_missing([a_task()], now.ms) == 0
    assert await live.get(a_task().id) == ended(a_task())


async def test_seizing_takes_a_free_task_out_of_turn(live, now):
    await live.enqueue(a_task(), now.ms + 60_000)
    lease = await live.seize(a_task().id, LEASE_MS)
    assert lease.task == a_task()
    assert await live.seize(a_task().id, LEASE_MS) is None
    now.ms += LEASE_MS
    again = await live.seize(a_task().id, LEASE_MS)
    assert not await live.save(lease, polled(a_task()), None)
    assert await live.save(again, polled(a_task()), now.ms)
    assert await live.seize("task-unknown", LEASE_MS) is None


async def test_a_renewed_lease_outlives_its_first_term(live, now):
    await index(live, a_task(1), a_task(2))
    leases = await live.claim(2, LEASE_MS)
    now.ms += LEASE_MS - 1
    await live.renew(leases, LEASE_MS)
    now.ms += LEASE_MS - 1
    assert await live.claim(2, LEASE_MS) == []


async def test_a_lost_or_ended_lease_cannot_be_renewed(live, now):
    await index(live, a_task(1), a_task(2))
    lost, _ = await live.claim(2, LEASE_MS)
    now.ms += LEASE_MS
    leases = {lease.task.id: lease for lease in await live.claim(2, LEASE_MS)}
    await live.save(leases[a_task(2).id], polled(a_task(2)), now.ms)
    await live.renew([lost, leases[a_task(2).id]], 60_000)
    assert [lease.task.id for lease in await live.claim(2, LEASE_MS)] == [a_task(2).id]
    assert await live.save(leases[lost.task.id], polled(lost.task), None)


async def test_released_tasks_are_due_at_once_for_others(live, now):
    await index(live, a_task(1), a_task(2))
    leases = await live.claim(2, LEASE_MS)
    await live.save(leases[0], polled(leases[0].task), now.ms + 60_000)
    await live.release(leases)
    (again,) = await live.claim(2, LEASE_MS)
    assert again.task == leases[1].task
    assert not await live.save(leases[1], polled(leases[1].task), None)


async def test_an_id_without_a_task_is_dropped_from_the_queue(live, server):
    await index(live, a_task(1), a_task(2))
    await server.execute("DEL", keys.task(a_task(1).id))
    assert [lease.task for lease in await live.claim(2, LEASE_MS)] == [a_task(2)]
    assert (await live.figures()).tasks == 1


async def test_an_unreadable_document_is_forgotten_and_indexed_afresh(live, server, now):
    await index(live, a_task(1), a_task(2))
    await server.execute("HSET", keys.task(a_task(1).id), "doc", b"\xc1")
    assert await live.get(a_task(1).id) is None
    assert [lease.task for lease in await live.claim(2, LEASE_MS)] == [a_task(2)]
    assert await live.add_missing([a_task(1)], now.ms) == 1
    assert await live.get(a_task(1).id) == a_task(1)


async def test_a_task_that_fell_out_of_the_queue_is_put_back_with_its_newer_state(live, now):
    await index(live, a_task())
    (lease,) = await live.claim(1, LEASE_MS)
    await live.save(lease, polled(a_task()), None)
    assert await live.add_missing([a_task()], now.ms) == 1
    (lease,) = await live.claim(1, LEASE_MS)
    assert lease.task == polled(a_task())


async def test_the_sweeper_hears_which_tasks_are_missing(live, now):
    tasks = [a_task(no) for no in range(450)]
    await index(live, *tasks[:447])
    leases = {lease.task.id: lease for lease in await live.claim(2, LEASE_MS)}
    fell_out, ended_one = (lease.task for lease in leases.values())
    await live.save(leases[fell_out.id], polled(fell_out), None)
    await live.save(leases[ended_one.id], ended(ended_one), None)
    missing = await live.missing([task.id for task in tasks])
    assert sorted(missing) == sorted([fell_out.id, *(task.id for task in tasks[447:])])
    assert await live.missing([]) == []


async def test_a_document_with_fields_of_a_later_version_is_read(live, server):
    await index(live, a_task())
    import msgspec

    document = msgspec.to_builtins(a_task()) | {"invented_later": 1}
    await server.execute("HSET", keys.task(a_task().id), "doc", msgspec.msgpack.encode(document))
    assert await live.get(a_task().id) == a_task()


async def test_figures_say_how_much_waits_and_how_long(live, now):
    assert (await live.figures()).lag_ms == 0
    await live.enqueue(a_task(1), now.ms - 5_000)
    await live.enqueue(a_task(2), now.ms + 60_000)
    figures = await live.figures()
    assert (figures.tasks, figures.due) == (2, 1)
    assert 5_000 <= figures.lag_ms < 60_000


# --- flush -----------------------------------------------------------------------------------


async def test_a_flush_is_noticed_and_a_rebuild_ends_it(live, server, now):
    assert await live.epoch_lost()
    await live.mark_epoch()
    assert not await live.epoch_lost()
    await live.claim(1, LEASE_MS)
    assert not live.flushed.is_set()
    await server.execute("FLUSHALL")
    await live.claim(1, LEASE_MS)
    assert live.flushed.is_set()
    assert await live.epoch_lost()
    assert await live.add_missing([a_task()], now.ms) == 1
    await live.mark_epoch()
    assert not await live.epoch_lost()
    assert not live.flushed.is_set()
    assert len(await live.claim(1, LEASE_MS)) == 1


async def test_a_flush_during_a_rebuild_is_not_covered_by_its_end(live, server, now):
    assert await live.epoch_lost()
    await live.add_missing([a_task(1)], now.ms)
    await server.execute("FLUSHALL")
    await live.add_missing([a_task(2)], now.ms)
    await live.mark_epoch()
    assert await live.epoch_lost()


async def test_a_flush_during_a_routine_sweep_is_not_covered_by_its_end(live, server, now):
    await live.mark_epoch()
    await live.add_missing([a_task(1)], now.ms)
    await server.execute("FLUSHALL")
    await live.add_missing([a_task(2)], now.ms)
    await live.mark_epoch()
    assert await live.epoch_lost()


async def test_of_two_rebuilds_the_one_begun_before_the_flush_does_not_count(
    live, server, database
):
    other = ValkeyLiveTasks(server, database.get)
    assert await other.epoch_lost()
    await server.execute("FLUSHALL")
    assert await live.epoch_lost()
    await other.mark_epoch()
    assert await live.epoch_lost()
    await live.mark_epoch()
    assert not await other.epoch_lost()


async def test_a_visit_under_way_survives_a_flush(live, server, now):
    await index(live, a_task())
    (lease,) = await live.claim(1, LEASE_MS)
    await server.execute("FLUSHALL")
    assert await live.save(lease, polled(a_task()), now.ms)
    (again,) = await live.claim(1, LEASE_MS)
    assert again.task == polled(a_task())


async def test_a_visit_takes_its_task_back_when_the_sweeper_indexed_it_again(live, server, now):
    await index(live, a_task())
    (lease,) = await live.claim(1, LEASE_MS)
    await server.execute("FLUSHALL")
    await live.add_missing([a_task()], now.ms)
    await live.renew([lease], LEASE_MS)
    assert await live.claim(1, LEASE_MS) == []
    assert await live.save(lease, polled(a_task()), None)


async def test_a_task_taken_by_another_after_a_flush_stays_with_the_other(live, server, now):
    await index(live, a_task())
    (lease,) = await live.claim(1, LEASE_MS)
    await server.execute("FLUSHALL")
    await live.add_missing([a_task()], now.ms)
    (other,) = await live.claim(1, LEASE_MS)
    await live.renew([lease], LEASE_MS)
    assert not await live.save(lease, polled(a_task()), None)
    assert await live.save(other, polled(a_task()), None)


# --- time ------------------------------------------------------------------------------------


@pytest.mark.parametrize("skew_ms", [-3_600_000, 3_600_000])
async def test_a_process_whose_clock_is_wrong_still_makes_tasks_due_in_time(
    monkeypatch, live, server, skew_ms
):
    right = server.now_ms()
    monkeypatch.setattr(server, "now_ms", lambda: right + skew_ms)
    await live.enqueue(a_task(1), server.now_ms())
    await live.enqueue(a_task(2), server.now_ms() + 60_000)
    assert [lease.task for lease in await live.claim(9, LEASE_MS)] == [a_task(1)]


async def test_in_production_the_servers_own_time_rules(redis_url, database):
    connection = Valkey(redis_url)
    live = ValkeyLiveTasks(connection, database.get)
    await live.enqueue(a_task(1), connection.now_ms())
    await live.enqueue(a_task(2), connection.now_ms() + 600_000)
    assert [lease.task for lease in await live.claim(9, 1)] == [a_task(1)]
    await asyncio.sleep(0.05)
    assert [lease.task for lease in await live.claim(9, 600_000)] == [a_task(1)]
    assert await live.claim(9, 1) == []
    await connection.aclose()
