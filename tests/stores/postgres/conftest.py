"""Stores over a database that is empty when a test begins, and a team with ten credits."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from gateway.domain.access import Team
from gateway.embedded import EmbeddedPostgres
from gateway.stores.postgres.assets import PostgresAssets
from gateway.stores.postgres.database import Database
from gateway.stores.postgres.keys import PostgresKeys
from gateway.stores.postgres.ledger import PostgresLedger
from gateway.stores.postgres.outbox import PostgresOutbox
from gateway.stores.postgres.tasks import PostgresTasks
from gateway.stores.postgres.vault import Vault
from tests.stores.postgres.building import CREDIT, TurnableClock
from tests.stores.postgres.debian import BINARIES, debian_postgres
from tests.support.engines import execute

EMPTY = """
SET session_replication_role = replica;
DELETE FROM callback_tries; DELETE FROM callbacks; DELETE FROM attempts; DELETE FROM usage;
DELETE FROM usage_days; DELETE FROM batch_leases; DELETE FROM batch_lines; DELETE FROM batches;
DELETE FROM tasks; DELETE FROM expiring_grants; DELETE FROM transfers; DELETE FROM accounts;
DELETE FROM webhook_secrets;
DELETE FROM key_counts; DELETE FROM api_keys; DELETE FROM team_counts; DELETE FROM teams;
DELETE FROM meta; DELETE FROM assets;
DELETE FROM gone_receivers; DELETE FROM idempotency_keys; DELETE FROM sdk_calls;
DELETE FROM price_overrides;
DELETE FROM operator_sessions; DELETE FROM operator_passwords;
DELETE FROM operator_subjects; DELETE FROM oidc_states; DELETE FROM operators;
DELETE FROM audit; DELETE FROM admin_repeats;
"""


@pytest.fixture(scope="session")
def stores_url(postgres: EmbeddedPostgres, migrated_template: str) -> str:
    """A migrated database for all tests of these stores: quicker emptied than made anew."""
    execute(postgres, f"CREATE DATABASE stores TEMPLATE {migrated_template}")
    return postgres.url_of("stores")


@pytest.fixture
async def database_url(stores_url: str) -> str:
    connection = await asyncpg.connect(stores_url)
    await connection.execute(EMPTY)
    await connection.close()
    return stores_url


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
async def tasks(database: Database, vault: Vault) -> AsyncIterator[PostgresTasks]:
    store = PostgresTasks(database, vault)
    yield store
    await store.close()


@pytest.fixture
async def other_process(database_url: str, vault: Vault) -> AsyncIterator[PostgresTasks]:
    """The same store over a pool of its own, as another process would have it."""
    pool = Database(database_url)
    await pool.connect()
    store = PostgresTasks(pool, vault)
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
