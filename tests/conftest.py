"""Engines for every test: one PostgreSQL and one Valkey per test process, fresh data per test.

`database_url`   a new migrated database (cloned from a template), dropped afterwards
`redis_url`      an emptied Valkey
`own_postgres`   a server of the test's own, durable as in production, to kill and restart
`own_valkey`     a Valkey of the test's own, to kill and restart
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from gateway.embedded import EmbeddedPostgres, EmbeddedValkey
from tests.support.engines import (
    NO_DURABILITY,
    cloned_database,
    copy_server,
    execute,
    flush,
    stop_orphans,
)
from tests.support.network import refuse_outside_network

TEMPLATE = "migrated_template"


# How long an example takes says nothing on a busy machine.
settings.register_profile("gateway", deadline=None)
settings.load_profile("gateway")


# Modules whose few tests take longest. They begin first: what begins last should be short.
LONG = (
    "tests/crash/",
    "tests/benchmarks/",
    "tests/e2e/test_up.py",
    "tests/e2e/test_processes.py",
    "tests/e2e/test_walkthrough.py",
    "tests/e2e/test_contract.py",
    "tests/e2e/test_drain.py",
    "tests/cli/test_bench.py",
    "tests/deploy/",
    "tests/tidy/test_core_coverage.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long modules first."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))


def pytest_configure(config: pytest.Config) -> None:
    refuse_outside_network()


@pytest.fixture(scope="session")
def engines_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where this test process's engines keep their data; removed at the end."""
    stop_orphans(tmp_path_factory.getbasetemp())
    path = tmp_path_factory.mktemp("engines")
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(engines_dir: Path) -> Iterator[EmbeddedPostgres]:
    """The PostgreSQL server of this test process: shared, so never killed by a test."""
    server = EmbeddedPostgres(engines_dir, NO_DURABILITY)
    server.ensure()
    yield server
    server.release()


@pytest.fixture(scope="session")
def migrated_template(postgres: EmbeddedPostgres) -> str:
    """The name of a migrated database that no one connects to."""
    from gateway.stores.postgres.migrate import upgrade

    execute(postgres, f"CREATE DATABASE {TEMPLATE}")
    upgrade(postgres.url_of(TEMPLATE))
    return TEMPLATE


@pytest.fixture
def database_url(postgres: EmbeddedPostgres, migrated_template: str) -> Iterator[str]:
    """A `postgresql://` URL of a migrated database that only this test uses."""
    with cloned_database(postgres, migrated_template) as url:
        yield url


@pytest.fixture(scope="session")
def valkey(engines_dir: Path) -> Iterator[EmbeddedValkey]:
    """The Valkey of this test process: shared, so never killed by a test."""
    server = EmbeddedValkey(engines_dir)
    server.ensure()
    yield server
    server.release()


@pytest.fixture
def redis_url(valkey: EmbeddedValkey) -> str:
    """A `unix://` URL of an empty Valkey that only this test uses."""
    flush(valkey)
    return valkey.url


@pytest.fixture(scope="session")
def blank_server(engines_dir: Path) -> Path:
    """The files of a new, stopped PostgreSQL: copying them is quicker than making them again."""
    server = EmbeddedPostgres(engines_dir / "blank")
    server.ensure()
    server.release()
    return server.home


@pytest.fixture
def own_postgres(tmp_path: Path, blank_server: Path) -> Iterator[EmbeddedPostgres]:
    """A running PostgreSQL for one test, with production's durability; not migrated."""
    server = EmbeddedPostgres(tmp_path / "own")
    copy_server(blank_server, server.data_dir)
    server.ensure()
    yield server
    server.release()


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    """A running Valkey for one test."""
    server = EmbeddedValkey(tmp_path / "own")
    server.ensure()
    yield server
    server.release()
