"""How commands reach Postgres: the configured one, or the embedded one, running or not."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager

from gateway.embedded import attached
from gateway.settings import Settings, load_settings
from gateway.wiring import Books, open_books


@contextmanager
def database_of(settings: Settings) -> Iterator[str]:
    """Give the database URL; an embedded database is started for as long if it does not run."""
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
        return
    with attached(settings.data_dir, valkey=False) as engines:
        if engines.postgres is None:
            raise ValueError("the embedded database was not attached")
        yield engines.postgres.url


@asynccontextmanager
async def books() -> AsyncGenerator[Books]:
    """Give the stores that commands about teams, keys and money work on."""
    settings = load_settings()
    with database_of(settings) as url:
        async with open_books(settings, url) as opened:
            yield opened
