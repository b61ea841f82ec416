"""Stores over a database of the test's own, and a team with ten credits."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from gateway.domain.access import Team
from gateway.stores.postgres.assets import PostgresAssets
from gateway.stores.postgres.database import Database
from gateway.stores.postgres.keys import PostgresKeys
from gateway.stores.postgres.ledger import PostgresLedger
from gateway.stores.postgres.outbox import PostgresOutbox
from gateway.stores.postgres.tasks import PostgresTasks
from gateway.stores.postgres.vault import Vault
from tests.stores.postgres.building import CREDIT, TurnableClock
from tests.stores.postgres.debian import BINARIES, debian_postgres


@pytest.fixture
def clock() -> TurnableClock:
    return TurnableClock()


@pytest.fixture
def vault() -> Vault:
    return Vault("a master secret of forty characters or so")


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    pool = Database(database_url)
    await pool.connect()
    yield pool
    await pool.close()


@pytest.fixture
async def tasks(database: Database) -> AsyncIterator[PostgresTasks]:
    store = PostgresTasks(database)
    yield store
    await store.close()


@pytest.fixture
async def other_process(database_url: str) -> AsyncIterator[PostgresTasks]:
    """The same store over a pool of its own, as another process would have it."""
    pool = Database(database_url)
    await pool.connect()
    store = PostgresTasks(pool)
    yield store
    await store.close()
    await pool.close()


@pytest.fixture
def ledger(database: Database, clock: TurnableClock, vault: Vault) -> PostgresLedger:
    return PostgresLedger(database, clock, vault)


@pytest.fixture
def keys(database: Database, clock: TurnableClock, vault: Vault) -> PostgresKeys:
    return PostgresKeys(database, clock, vault)


@pytest.fixture
def outbox(database: Database, clock: TurnableClock, vault: Vault) -> PostgresOutbox:
    return PostgresOutbox(database, clock, vault)


@pytest.fixture
def assets(database: Database, clock: TurnableClock) -> PostgresAssets:
    return PostgresAssets(database, clock)


@pytest.fixture
async def team(ledger: PostgresLedger) -> Team:
    created = await ledger.create_team("studio")
    await ledger.grant(created.id, 10 * CREDIT, "welcome")
    return created


@pytest.fixture(scope="session")
def debian_postgres_url() -> Iterator[str]:
    if not BINARIES.exists():
        pytest.skip("Debian's PostgreSQL 15 is not installed")
    with debian_postgres() as url:
        yield url
