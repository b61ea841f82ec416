from __future__ import annotations

import asyncio

import asyncpg
import pytest

from gateway.domain.errors import StoreUnavailable
from gateway.stores.postgres import migrate, task_sql
from gateway.stores.postgres.database import Database
from gateway.stores.postgres.failures import ConnectionLost
from gateway.stores.postgres.ledger import PostgresLedger
from gateway.stores.postgres.tasks import PostgresTasks
from tests.stores.postgres.building import CREDIT, accepted, delivered, new_task


@pytest.fixture
async def durable(own_postgres, clock, vault):
    """A server of our own that can be stopped, with a migrated database and a pool on it."""
    await asyncio.to_thread(migrate.upgrade, own_postgres.url)
    pool = Database(own_postgres.url)
    await pool.connect()
    yield pool
    await pool.close()


async def test_after_a_restart_or_a_crash_everything_goes_on_by_itself(
    own_postgres, durable, clock, vault
):
    ledger, tasks = PostgresLedger(durable, clock, vault), PostgresTasks(durable, vault)
    team = await ledger.create_team("studio")
    await ledger.grant(team.id, 100 * CREDIT, None)
    task = await accepted(tasks, team.id)

    await asyncio.to_thread(own_postgres.restart)
    assert await tasks.get(task.id) == task
    await asyncio.gather(*(tasks.accept(new_task(team.id)) for _ in range(20)))

    await asyncio.to_thread(own_postgres.kill)
    with pytest.raises(StoreUnavailable):
        await tasks.get(task.id)
    await asyncio.to_thread(own_postgres.ensure)
    await tasks.settle(delivered(task))
    after = await ledger.team(team.id)
    assert (after.balance, after.held) == (99 * CREDIT, 20 * CREDIT)
    assert (await ledger.verify()).is_sound


async def test_accepts_under_a_restart_are_held_once_or_plainly_refused(
    own_postgres, durable, clock, vault
):
    ledger, tasks = PostgresLedger(durable, clock, vault), PostgresTasks(durable, vault)
    team = await ledger.create_team("studio")
    await ledger.grant(team.id, 1_000 * CREDIT, None)
    new = [new_task(team.id) for _ in range(300)]

    async def submit(number: int) -> StoreUnavailable | None:
        await asyncio.sleep(number / 500)
        try:
            await tasks.accept(new[number])
        except StoreUnavailable as error:
            return error
        return None

    calls = [asyncio.create_task(submit(number)) for number in range(300)]
    await asyncio.sleep(0.1)
    await asyncio.to_thread(own_postgres.restart)
    refusals = await asyncio.gather(*calls)
    assert all(refusal.outcome_known for refusal in refusals if refusal)
    stored = [await tasks.get(item.task.id) is not None for item in new]
    assert stored == [refusal is None for refusal in refusals]
    assert (await ledger.team(team.id)).held == sum(stored) * CREDIT
    assert (await ledger.verify()).is_sound


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://x@/d?host=/no/such/dir",
        "postgresql://x@127.0.0.1:1/d",
        "postgresql://x@no-such-host.invalid/d",
    ],
)
async def test_an_absent_server_is_named_as_such(url):
    with pytest.raises(StoreUnavailable):
        await Database(url).connect()


async def test_a_database_that_does_not_exist_is_named_as_such(postgres):
    with pytest.raises(StoreUnavailable, match="nowhere"):
        await Database(postgres.url_of("nowhere")).connect()


async def test_before_connecting_and_after_closing_it_is_away(database_url):
    database = Database(database_url)
    with pytest.raises(StoreUnavailable):
        await database.ping()
    await database.connect()
    await database.close()
    with pytest.raises(StoreUnavailable):
        await database.ping()


async def test_a_mistake_of_ours_is_not_called_an_outage(database):
    for statement, arguments in (("SELECT nonsense", ()), ("SELECT $1::int", ())):
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
            await database.read(statement, *arguments)
    await database.ping()


async def test_connections_are_named_and_bounded_in_time(database):
    (row,) = await database.read(
        "SELECT current_setting('application_name') AS name,"
        " current_setting('statement_timeout') AS statement,"
        " current_setting('idle_in_transaction_session_timeout') AS idle"
    )
    assert tuple(row) == ("gateway", "15s", "30s")


async def test_a_transaction_that_fails_leaves_nothing(database):
    async def fail() -> None:
        async with database.transaction() as connection:
            await connection.execute("INSERT INTO meta VALUES ('fact', '1')")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await database.read("SELECT * FROM meta WHERE key = 'fact'") == []


async def test_a_lock_has_one_holder_at_a_time(database, database_url):
    other = Database(database_url)
    await other.connect()
    async with database.exclusively("sweep") as first, other.exclusively("sweep") as second:
        assert (first, second) == (True, False)
    async with other.exclusively("sweep") as third, database.exclusively("other") as fourth:
        assert (third, fourth) == (True, True)
    await other.close()


async def test_a_lock_is_free_after_its_holder_failed(database):
    async def fail() -> None:
        async with database.exclusively("sweep"):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    async with database.exclusively("sweep") as held:
        assert held


async def test_a_read_that_is_cut_off_twice_has_written_nothing(database, monkeypatch):
    async def cut(*_: object, **__: object) -> None:
        raise ConnectionLost("", "gone")

    monkeypatch.setattr(database, "write", cut)
    with pytest.raises(StoreUnavailable) as raised:
        await database.read("SELECT 1")
    assert raised.value.outcome_known
    assert raised.value.detail == "gone"


async def test_hot_statements_are_planned_once_and_others_for_what_they_are_given(
    database, vault, team, monkeypatch
):
    tasks, hot = PostgresTasks(database, vault), set[str]()
    write = database.write

    async def seen(statement, *arguments, **options):
        if options.get("hot"):
            hot.add(statement)
        return await write(statement, *arguments, **options)

    monkeypatch.setattr(database, "write", seen)
    task = await accepted(tasks, team.id)
    await tasks.request_of(task.id)
    await tasks.settle(delivered(await tasks.get(task.id)))
    assert hot == {task_sql.ACCEPT, task_sql.REQUESTS, task_sql.GET, task_sql.SETTLE}
    modes = [await database.read("SHOW plan_cache_mode", hot=kind) for kind in (True, False)]
    assert [rows[0]["plan_cache_mode"] for rows in modes] == ["force_generic_plan", "auto"]
