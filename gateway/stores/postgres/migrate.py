"""Bring a database to the newest schema, with asyncpg alone (no second driver).

`upgrade` and `current` block; they run their own event loop in their own thread, so they may be
called with or without a running loop. Any number of processes may migrate at once: an advisory
lock lets one work while the others wait and then find nothing to do.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, NullPool, text

import migrations
from gateway.stores.postgres.engine import drivers_errors, make_engine
from gateway.stores.postgres.failures import away_as_unavailable

T = TypeVar("T")

# Any constant will do, as long as every version of the gateway uses the same.
LOCK_ID = 5_318_201_701
LOCK_WAIT = "10min"

# Alembic's environment is a module global: one migration per process at a time.
_one_at_a_time = threading.Lock()


@dataclass(frozen=True, slots=True)
class SchemaVersion:
    """The revision a database is at (None: empty) and the newest one this code knows."""

    revision: str | None
    head: str

    @property
    def is_current(self) -> bool:
        """Whether nothing is left to migrate."""
        return self.revision == self.head


def config() -> Config:
    """Give Alembic's configuration; the revisions are found in a checkout and in a wheel alike."""
    return Config(str(Path(migrations.__file__).with_name("alembic.ini")))


def upgrade(database_url: str) -> None:
    """Bring the database to the newest revision. Raises StoreUnavailable when it is away."""

    def work(connection: Connection) -> None:
        connection.execute(text(f"SET lock_timeout = '{LOCK_WAIT}'"))
        connection.execute(text(f"SELECT pg_advisory_lock({LOCK_ID})"))
        connection.commit()
        settings = config()
        settings.attributes["connection"] = connection
        with _one_at_a_time:
            command.upgrade(settings, "head")

    on_connection(database_url, work)


def current(database_url: str) -> SchemaVersion:
    """Give the revision the database is at. Raises StoreUnavailable when it is away."""
    head = ScriptDirectory.from_config(config()).get_current_head()
    assert head is not None

    def work(connection: Connection) -> SchemaVersion:
        found = MigrationContext.configure(connection).get_current_revision()
        return SchemaVersion(found, head)

    return on_connection(database_url, work)


def on_connection(database_url: str, work: Callable[[Connection], T]) -> T:
    """Run blocking SQLAlchemy work on a connection of its own, closed afterwards.

    Raises StoreUnavailable when there is no connection to be had.
    """

    async def run() -> T:
        engine = make_engine(database_url, poolclass=NullPool, application_name="gateway migrate")
        try:
            with away_as_unavailable(), drivers_errors():
                connection = await engine.connect()
            try:
                return await connection.run_sync(work)
            finally:
                await connection.close()
        finally:
            await engine.dispose()

    with ThreadPoolExecutor(1, "migrate") as thread:
        return thread.submit(asyncio.run, run()).result()
