from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import Connection

from gateway.domain.errors import StoreUnavailable
from gateway.embedded import EmbeddedPostgres
from gateway.stores.postgres import migrate
from gateway.stores.postgres.database import Database
from gateway.stores.postgres.ledger import PostgresLedger
from gateway.stores.postgres.outbox import PostgresOutbox
from gateway.stores.postgres.tasks import PostgresTasks
from tests.stores.postgres.building import CREDIT, accepted, delivered, success_at, with_attempts
from tests.support.engines import execute


@pytest.fixture
def empty_url(postgres: EmbeddedPostgres, request):
    name = f"empty_{abs(hash(request.node.name))}"
    execute(postgres, f"CREATE DATABASE {name}")
    yield postgres.url_of(name)
    execute(postgres, f"DROP DATABASE {name} WITH (FORCE)")


def run_alembic(url: str, name: str, *arguments: str) -> None:
    def work(connection: Connection) -> None:
        settings = migrate.config()
        settings.attributes["connection"] = connection
        getattr(command, name)(settings, *arguments)

    migrate.on_connection(url, work)


def test_an_empty_database_is_brought_to_the_newest_revision(empty_url):
    assert migrate.current(empty_url).revision is None
    migrate.upgrade(empty_url)
    assert migrate.current(empty_url).is_current
    migrate.upgrade(empty_url)
    assert migrate.current(empty_url).is_current


def test_the_metadata_says_what_the_revisions_make(database_url):
    run_alembic(database_url, "check")


def test_every_revision_can_be_undone_and_done_again(empty_url):
    migrate.upgrade(empty_url)
    run_alembic(empty_url, "downgrade", "base")
    assert migrate.current(empty_url).revision is None
    migrate.upgrade(empty_url)
    assert migrate.current(empty_url).is_current


def test_two_processes_may_migrate_at_once(empty_url):
    script = "import sys; from gateway.stores.postgres.migrate import upgrade; upgrade(sys.argv[1])"
    both = [
        subprocess.Popen([sys.executable, "-c", script, empty_url], stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    errors = [process.communicate()[1].decode() for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    assert migrate.current(empty_url).is_current


async def test_it_may_be_called_while_a_loop_is_running(empty_url):
    migrate.upgrade(empty_url)
    assert (await asyncio.to_thread(migrate.current, empty_url)).is_current


@pytest.mark.parametrize(
    "url", ["postgresql://x@/gateway?host=/no/such/dir", "postgresql://x@127.0.0.1:1/gateway"]
)
def test_an_absent_server_is_named_as_such(url):
    with pytest.raises(StoreUnavailable):
        migrate.upgrade(url)


def test_the_revisions_are_found_wherever_the_package_is():
    ini = Path(str(migrate.config().config_file_name))
    assert ini.parent.name == "migrations"
    assert (ini.parent / "versions" / "0001_first_schema.py").exists()


async def test_debians_postgres_15_serves_as_well(debian_postgres_url, clock, vault):
    await asyncio.to_thread(migrate.upgrade, debian_postgres_url)
    await asyncio.to_thread(run_alembic, debian_postgres_url, "check")
    database = Database(debian_postgres_url)
    await database.connect()
    ledger, tasks = PostgresLedger(database, clock, vault), PostgresTasks(database, vault)
    outbox = PostgresOutbox(database, clock, vault)
    team = await ledger.create_team("studio")
    await ledger.grant(team.id, 10 * CREDIT, None)
    task = await tasks.save(await accepted(tasks, team.id), None)
    await tasks.settle(delivered(with_attempts(task, success_at("cheap"))))
    assert (await database.read("SHOW server_version_num"))[0][0].startswith("15")
    assert (await ledger.team(team.id)).balance == 9 * CREDIT
    assert (await ledger.verify()).is_sound
    assert await outbox.claim(10, 1_000) == []
    await database.close()
