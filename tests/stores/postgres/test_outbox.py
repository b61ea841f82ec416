from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from gateway.domain.administration import COMMAND_LINE
from gateway.domain.callback import CallbackSpec, TryResult
from gateway.domain.errors import NotFound
from gateway.domain.task import Task
from gateway.stores.postgres.database import Database
from gateway.stores.postgres.outbox import PostgresOutbox, callback_id
from tests.stores.postgres.building import CREDIT, START_MS, accepted, delivered

HOOK = CallbackSpec("https://example.com/hook")
LEASE_MS = 60_000
OK = TryResult(200, None, START_MS, 12)
BROKEN = TryResult(None, "connection refused \x00", START_MS, 3)
STORED = replace(BROKEN, error="connection refused \ufffd")
GONE = TryResult(410, "HTTP 410", START_MS, 3)


@pytest.fixture
async def settled_task(tasks, team, clock):
    """Settle a task that has a callback."""

    async def settle() -> Task:
        task = await accepted(tasks, team.id, hold=0, callback=HOOK)
        return await tasks.settle(delivered(task, at_ms=clock.ms))

    return settle


@pytest.fixture
async def settled(settled_task):
    """Settle some tasks that have a callback; gives the callbacks' ids."""

    async def settle(count: int = 1) -> list[str]:
        return [callback_id((await settled_task()).id) for _ in range(count)]

    return settle


async def lease_over(database) -> None:
    await database.write("UPDATE callbacks SET lease_until_ms = 1 WHERE lease_until_ms > 0")


async def test_a_settled_task_s_callback_is_claimed_with_the_team_s_secret(outbox, settled, team):
    (expected,) = await settled()
    (callback,) = await outbox.claim(10, LEASE_MS)
    assert (callback.id, callback.url, callback.event, callback.tries) == (
        expected,
        HOOK.url,
        "completed",
        0,
    )
    assert callback.secrets == (team.webhook_secret,)
    assert "." not in callback.id


async def test_a_claimed_callback_is_nobody_else_s_until_its_lease_ends(outbox, settled, database):
    await settled()
    assert len(await outbox.claim(10, LEASE_MS)) == 1
    assert await outbox.claim(10, LEASE_MS) == []
    await lease_over(database)
    assert len(await outbox.claim(10, LEASE_MS)) == 1


async def test_workers_that_claim_at_once_share_the_work(
    outbox, settled, database_url, clock, vault
):
    wanted = await settled(20)
    second = Database(database_url)
    await second.connect()
    workers = [outbox, PostgresOutbox(second, clock, vault)] * 4
    claims = await asyncio.gather(*(worker.claim(4, LEASE_MS) for worker in workers))
    got = [callback.id for claim in claims for callback in claim]
    assert len(got) == len(set(got))
    assert set(got) <= set(wanted)
    rest = [callback.id for callback in await outbox.claim(20, LEASE_MS)]
    assert sorted(got + rest) == sorted(wanted)
    await second.close()


async def test_the_oldest_are_claimed_first(outbox, settled, clock):
    (first,) = await settled()
    clock.turn(1)
    await settled()
    (callback,) = await outbox.claim(1, LEASE_MS)
    assert callback.id == first


async def test_a_failed_try_is_due_again_at_its_time_and_not_before(outbox, settled, clock):
    await settled()
    (callback,) = await outbox.claim(1, LEASE_MS)
    await outbox.record(callback, BROKEN, clock.ms + 1_000)
    assert await outbox.claim(1, LEASE_MS) == []
    clock.turn(1_000)
    (again,) = await outbox.claim(1, LEASE_MS)
    assert (again.id, again.tries) == (callback.id, 1)


@pytest.mark.parametrize(("result", "state"), [(OK, "delivered"), (BROKEN, "dead")])
async def test_a_finished_callback_is_never_claimed_again(
    outbox, settled, tasks, clock, result, state
):
    await settled()
    (callback,) = await outbox.claim(1, LEASE_MS)
    await outbox.record(callback, result, None)
    clock.turn(10**9)
    assert await outbox.claim(1, LEASE_MS) == []
    (log,) = await outbox.of_task(callback.task_id)
    assert log.state == state
    assert await outbox.counts() == {"pending": 0, "dead": int(state == "dead")}


async def test_a_late_failure_does_not_undo_a_delivery(outbox, settled, database, clock):
    await settled()
    (slow,) = await outbox.claim(1, LEASE_MS)
    await lease_over(database)
    (quick,) = await outbox.claim(1, LEASE_MS)
    await outbox.record(quick, OK, None)
    await outbox.record(slow, BROKEN, clock.ms)
    (log,) = await outbox.of_task(slow.task_id)
    assert log.state == "delivered"
    assert [entry.status for entry in log.tries] == [200, None]


async def test_every_try_is_logged(outbox, settled_task, clock):
    task = await settled_task()
    for result in (BROKEN, TryResult(503, "HTTP 503", START_MS, 9), OK):
        (callback,) = await outbox.claim(1, LEASE_MS)
        await outbox.record(callback, result, clock.ms)
    (log,) = await outbox.of_task(task.id)
    assert [(entry.status, entry.error) for entry in log.tries] == [
        (None, "connection refused \ufffd"),
        (503, "HTTP 503"),
        (200, None),
    ]


async def test_a_replay_starts_over_under_the_same_id(outbox, settled):
    await settled()
    (callback,) = await outbox.claim(1, LEASE_MS)
    await outbox.record(callback, BROKEN, None)
    await outbox.replay(callback.id)
    (again,) = await outbox.claim(1, LEASE_MS)
    assert (again.id, again.tries) == (callback.id, 0)
    with pytest.raises(NotFound):
        await outbox.replay("msg_unknown")


async def test_tries_that_end_at_once_are_recorded_each_for_itself(outbox, settled, clock):
    await settled(5)
    callbacks = await outbox.claim(5, LEASE_MS)
    results = [OK, BROKEN, GONE, GONE, OK]
    nexts = [None, clock.ms + 1_000, None, None, None]
    pairs = zip(callbacks, results, nexts, strict=True)
    await asyncio.gather(*(outbox.record(*pair) for pair in pairs))
    # Two tries of one callback, which a lease that ran out allows.
    await asyncio.gather(*(outbox.record(callbacks[0], OK, None) for _ in range(2)))

    logs = [await outbox.callback(callback.id) for callback in callbacks]
    assert [log.state for log in logs] == ["delivered", "pending", "dead", "dead", "delivered"]
    assert [log.tries for log in logs[1:]] == [(STORED,), (GONE,), (GONE,), (OK,)]
    assert logs[0].tries == (OK, OK, OK)
    assert logs[1].next_at_ms == clock.ms + 1_000


async def test_a_receiver_that_is_gone_is_known_until_a_replay(
    outbox, settled, ledger, tasks, clock
):
    await settled()
    (callback,) = await outbox.claim(1, LEASE_MS)
    assert not callback.gone
    await outbox.record(callback, GONE, None)
    await settled()
    (later,) = await outbox.claim(1, LEASE_MS)
    assert later.gone
    other = await ledger.create_team("atelier")
    await ledger.grant(other.id, 10 * CREDIT, "welcome")
    task = await accepted(tasks, other.id, hold=0, callback=HOOK)
    await tasks.settle(delivered(task, at_ms=clock.ms))
    (theirs,) = await outbox.claim(1, LEASE_MS)
    assert not theirs.gone

    await outbox.replay(callback.id)
    (again,) = await outbox.claim(1, LEASE_MS)
    assert (again.id, again.gone) == (callback.id, False)


async def test_a_secret_that_cannot_be_opened_costs_nobody_else_a_callback(
    outbox, settled, ledger, tasks, team, database, clock
):
    other = await ledger.create_team("atelier")
    task = await accepted(tasks, other.id, hold=0, callback=HOOK)
    await tasks.settle(delivered(task, at_ms=clock.ms))
    await settled()
    await database.write("UPDATE webhook_secrets SET sealed = 'x' WHERE team_id = $1", other.id)
    claimed = {callback.team_id: callback for callback in await outbox.claim(9, LEASE_MS)}
    assert claimed[team.id].secrets == (team.webhook_secret,)
    assert claimed[other.id].secrets == ()


async def test_a_team_can_opt_into_slow_retries(outbox, settled, ledger, team):
    await settled(2)
    (first,) = await outbox.claim(1, LEASE_MS)
    assert not first.patient
    await ledger.update_team(team.id, {"callback_retries": "days"}, COMMAND_LINE)
    (second,) = await outbox.claim(1, LEASE_MS)
    assert second.patient


async def test_dead_letters_are_listed_newest_first_page_by_page(outbox, settled, team, clock):
    dead = []
    for result in (BROKEN, OK, BROKEN, BROKEN):
        await settled()
        (callback,) = await outbox.claim(1, LEASE_MS)
        await outbox.record(callback, result, None)
        dead += [callback.id] if result is BROKEN else []
        clock.turn(1)
    found, cursor = [], None
    while True:
        page = await outbox.callback_page(2, cursor, state="dead", team_id=team.id)
        found += page.items
        if (cursor := page.cursor) is None:
            break
    assert [log.id for log in found] == dead[::-1]
    assert {log.tries for log in found} == {(STORED,)}
    everything = await outbox.callback_page(9, None, state=None, team_id=None)
    assert len(everything.items) == 4
    assert not (await outbox.callback_page(9, None, state=None, team_id="team_other")).items


async def test_during_a_rotation_both_secrets_sign_the_newest_first(
    outbox, settled, ledger, team, clock
):
    clock.turn(1)
    new = await ledger.rotate_webhook_secret(team.id, 60_000)
    await settled(2)
    (callback,) = await outbox.claim(1, LEASE_MS)
    assert callback.secrets == (new, team.webhook_secret)
    clock.turn(60_000)
    (callback,) = await outbox.claim(1, LEASE_MS)
    assert callback.secrets == (new,)
    assert (await ledger.team(team.id)).webhook_secret == new


async def test_an_unknown_team_has_no_secret_to_rotate(ledger):
    with pytest.raises(NotFound):
        await ledger.rotate_webhook_secret("team_nobody", 0)
