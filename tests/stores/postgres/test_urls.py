"""Addresses to be told at: sealed at rest, shown to those who named them, old ones sealed later."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from gateway.domain.administration import COMMAND_LINE
from gateway.domain.callback import CallbackSpec, TryResult
from gateway.domain.task import Task
from gateway.stores.postgres import urls
from gateway.stores.postgres.outbox import callback_id
from gateway.stores.postgres.rotation import PLACES
from gateway.stores.postgres.urls import OldUrls, open_url, seal_url
from gateway.stores.postgres.vault import Vault, WrongSecretKey
from tests.stores.postgres.building import START_MS, accepted, delivered

URL = "https://user:pass@example.com/hook/s3cret?token=t0ken"
HOOK = CallbackSpec(URL)
LEASE_MS = 60_000
# Ten thousand tasks that ended, called back at sealed addresses.
HISTORY = (
    """
INSERT INTO tasks (id, team_id, key_id, dialect, model, status, fence, created_ms, deadline_ms,
    finished_ms, hold, doc, request)
SELECT 'task-' || n, 'team', 'key', 'evolink', 'm', 'completed', 2, n, n, n, 0, '', ''
FROM generate_series(1, 10000) n
""",
    """
INSERT INTO callbacks (id, task_id, team_id, url, event, state, next_at_ms, created_ms)
SELECT 'msg-' || n, 'task-' || n, 'team', 'sealed:' || repeat('x', 100), 'completed', 'delivered',
    n, n
FROM generate_series(1, 10000) n
""",
    "ANALYZE tasks, callbacks",
)
EVERYWHERE = """
SELECT callback_url AS url FROM tasks UNION ALL SELECT url FROM callbacks
UNION ALL SELECT alert_url FROM teams
"""


async def stored_urls(database) -> list[str]:
    return [row["url"] for row in await database.read(EVERYWHERE) if row["url"] is not None]


@pytest.fixture
def settled(tasks, team, clock):
    """Settle a task with a callback."""

    async def settle() -> Task:
        task = await accepted(tasks, team.id, hold=0, callback=HOOK)
        return await tasks.settle(delivered(task, at_ms=clock.ms))

    return settle


def test_an_address_opens_for_its_team_and_plain_ones_are_what_they_are(vault):
    sealed = seal_url(vault, URL, "team_1")
    assert "example" not in sealed
    assert sealed != seal_url(vault, URL, "team_1")
    assert open_url(vault, sealed, "team_1") == URL
    assert open_url(vault, URL, "team_1") == URL
    for ring, stored, team_id in (
        (vault, sealed, "team_2"),
        (Vault("another master secret, long enough"), sealed, "team_1"),
        (vault, sealed[:-3], "team_1"),
        (vault, "sealed:", "team_1"),
    ):
        with pytest.raises(WrongSecretKey):
            open_url(ring, stored, team_id)


async def test_an_address_is_sealed_from_accept_to_delivery_and_shown_as_it_was_sent(
    tasks, outbox, team, database, clock
):
    task = await accepted(tasks, team.id, hold=0, callback=HOOK)
    (of_task,) = await stored_urls(database)
    await tasks.settle(delivered(task, at_ms=clock.ms))
    (of_callback,) = await stored_urls(database)

    assert of_task == of_callback
    assert of_task.startswith("sealed:")
    (claimed,) = await outbox.claim(9, LEASE_MS)
    (logged,) = await outbox.of_task(task.id)
    assert (claimed.url, logged.url) == (URL, URL)


async def test_where_alerts_go_is_sealed_and_the_audit_log_names_its_host(
    ledger, team, database, vault
):
    changed = await ledger.update_team(team.id, {"alert_url": URL}, COMMAND_LINE)
    assert changed.budget.alert_url == URL
    (stored,) = await stored_urls(database)
    assert open_url(vault, stored, team.id) == URL
    kept = await ledger.update_team(team.id, {"user_group": "vip"}, COMMAND_LINE)
    assert (kept.budget.alert_url, await stored_urls(database)) == (URL, [stored])

    log = await database.read("SELECT after ->> 'alert_url' AS url FROM audit ORDER BY id DESC")
    assert [row["url"] for row in log][:2] == ["https://example.com/…"] * 2
    cleared = await ledger.update_team(team.id, {"alert_url": None}, COMMAND_LINE)
    assert (cleared.budget.alert_url, await stored_urls(database)) == (None, [])


async def test_an_alert_finds_its_address(ledger, team, outbox, clock):
    await ledger.update_team(team.id, {"low_balance": 10**9, "alert_url": URL}, COMMAND_LINE)
    await ledger.grant(team.id, 1, None)
    (alert,) = await outbox.claim(9, LEASE_MS)
    assert (alert.event, alert.url) == ("low_balance", URL)


async def test_addresses_of_versions_before_are_delivered_and_sealed_meanwhile(
    tasks, outbox, team, ledger, settled, database, vault, clock
):
    running = await accepted(tasks, team.id, hold=0, callback=HOOK)
    done = await settled()
    await ledger.update_team(team.id, {"alert_url": URL}, COMMAND_LINE)
    await database.write("UPDATE tasks SET callback_url = $1", URL)
    await database.write("UPDATE callbacks SET url = $1", URL)
    await database.write("UPDATE teams SET alert_url = $1", URL)
    await tasks.settle(delivered(running, at_ms=clock.ms))
    assert await stored_urls(database) == [URL] * 4
    assert (await ledger.team(team.id)).budget.alert_url == URL
    (one,) = await outbox.claim(1, LEASE_MS)

    old = OldUrls(database, vault)
    assert [await old.seal(), await old.seal()] == [4, 0]

    stored = await stored_urls(database)
    assert len(stored) == 3
    assert all(url.startswith("sealed:") for url in stored)
    (two,) = await outbox.claim(9, LEASE_MS)
    assert {one.id, two.id} == {callback_id(running.id), callback_id(done.id)}
    assert (one.url, two.url) == (URL, URL)
    assert (await ledger.team(team.id)).budget.alert_url == URL


async def test_many_old_addresses_are_sealed_in_batches(settled, database, vault, monkeypatch):
    monkeypatch.setattr("gateway.stores.postgres.urls.BATCH", 2)
    for _ in range(5):
        await settled()
    await database.write("UPDATE callbacks SET url = $1", URL)
    assert await OldUrls(database, vault).seal() == 5


async def test_an_address_that_does_not_open_costs_nobody_else_a_callback(
    settled, outbox, ledger, team, database
):
    lost, good = await settled(), await settled()
    foreign = seal_url(Vault("another master secret, long enough"), URL, team.id)
    broken = "UPDATE callbacks SET url = $2 WHERE task_id = $1"
    await database.write(broken, lost.id, foreign)

    claimed = {callback.task_id: callback.url for callback in await outbox.claim(9, LEASE_MS)}

    assert claimed == {lost.id: "", good.id: URL}
    assert (await outbox.callback(callback_id(lost.id))).url == ""
    await outbox.replay(callback_id(lost.id))


async def test_a_change_keeps_an_alert_address_that_does_not_open(ledger, team, database):
    foreign = seal_url(Vault("another master secret, long enough"), URL, team.id)
    await database.write("UPDATE teams SET alert_url = $1", foreign)
    changed = await ledger.update_team(team.id, {"user_group": "vip"}, COMMAND_LINE)
    assert (changed.user_group, changed.budget.alert_url) == ("vip", "")
    assert await stored_urls(database) == [foreign]
    cleared = await ledger.update_team(team.id, {"alert_url": None}, COMMAND_LINE)
    assert cleared.budget.alert_url is None


async def test_a_receiver_known_to_be_gone_stays_so(settled, outbox, team, database):
    await settled()
    by_hash = "INSERT INTO gone_receivers (team_id, url_hash, at_ms) VALUES ($1, $2, 1)"
    await database.write(by_hash, team.id, hashlib.sha256(URL.encode()).digest())
    (callback,) = await outbox.claim(9, LEASE_MS)
    assert callback.gone
    await outbox.record(replace(callback), TryResult(410, "HTTP 410", START_MS, 3), None)
    await outbox.replay(callback.id)
    (again,) = await outbox.claim(9, LEASE_MS)
    assert not again.gone


@pytest.mark.parametrize(
    ("statement", "types", "index"),
    [
        (urls.PLAIN["callbacks"], ("bigint",), "callbacks_plain"),
        (urls.DROP, ("bigint",), "tasks_told"),
        (PLACES["callbacks"].window, ("text", "text", "bigint"), "callbacks_pkey"),
        (PLACES["tasks"].window, ("text", "text", "bigint"), "tasks_unfinished"),
    ],
)
async def test_looking_for_what_is_to_be_sealed_is_cheap_in_a_long_history(
    database, statement, types, index
):
    async with database.connection() as connection:
        for change in HISTORY:
            await connection.execute(change)
        await connection.execute(f"PREPARE looking ({', '.join(types)}) AS {statement}")
        nulls = ", ".join("'sealed'" if kind == "text" else "100" for kind in types)
        rows = await connection.fetch(f"EXPLAIN (COSTS OFF) EXECUTE looking({nulls})")
        await connection.execute("DEALLOCATE looking")
    plan = "\n".join(row[0] for row in rows)
    assert f"using {index} on" in plan
    assert "Seq Scan" not in plan
