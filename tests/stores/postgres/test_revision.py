"""The schema's revision, known without loading Alembic."""

from __future__ import annotations

import pytest

from gateway.domain.errors import Unavailable
from gateway.embedded import EmbeddedPostgres
from gateway.stores.postgres import migrate
from gateway.stores.postgres.database import Database
from gateway.stores.postgres.revision import head, require_current, stored
from tests.support.engines import execute


def test_the_head_is_alembics(database_url: str) -> None:
    assert head() == migrate.current(database_url).head


async def test_a_migrated_database_is_current(database_url: str) -> None:
    database = Database(database_url)
    await database.connect()

    assert await stored(database) == head()
    await require_current(database)
    await database.close()


async def test_an_empty_database_says_what_to_do(postgres: EmbeddedPostgres) -> None:
    execute(postgres, "CREATE DATABASE empty_one")
    database = Database(postgres.url_of("empty_one"))
    await database.connect()

    with pytest.raises(Unavailable, match="gateway migrate"):
        await require_current(database)
    await database.close()
