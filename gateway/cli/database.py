"""How commands reach the engines: the configured ones, or the embedded ones, running or not."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from gateway import catalog as catalogue
from gateway.cli.files import config_in_use
from gateway.domain.access import Team
from gateway.domain.errors import NotFound
from gateway.domain.model import Catalog
from gateway.embedded import attached
from gateway.settings import Settings, load_settings
from gateway.wiring.books import Books, SystemClock, open_books
from gateway.wiring.reporting import Reports


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the engines are; ``redis`` is empty when it was not asked for."""

    database: str
    redis: str


@contextmanager
def engines_of(settings: Settings, *, valkey: bool = True) -> Iterator[Addresses]:
    """Give the engines' URLs; an embedded engine is started for as long if it does not run."""
    database = settings.database_url.get_secret_value() if settings.database_url else ""
    redis = settings.redis_url.get_secret_value() if settings.redis_url else ""
    with attached(settings.data_dir, postgres=not database, valkey=valkey and not redis) as engines:
        if engines.postgres is not None:
            database = engines.postgres.url
        if engines.valkey is not None:
            redis = engines.valkey.url
        yield Addresses(database, redis)


@asynccontextmanager
async def books() -> AsyncGenerator[Books]:
    """Give the stores that commands about teams, keys and money work on."""
    settings = load_settings()
    with engines_of(settings, valkey=False) as addresses:
        async with open_books(settings, addresses.database) as opened:
            yield opened


async def team_named(opened: Books, name: str) -> Team:
    """Give the team of a name. Raises NotFound."""
    found = await opened.ledger.team_named(name)
    if found is None:
        raise NotFound(f"there is no team {name!r}")
    return found


@asynccontextmanager
async def reports() -> AsyncGenerator[tuple[Reports, Catalog, int]]:
    """Give the store of usage reports, the catalogue whose rate margins are told at, and the time.

    Raises what `books` raises, and ConfigError.
    """
    catalog = catalogue.load(config_in_use(load_settings()), os.environ)
    async with books() as opened:
        usage = Reports(opened.database.url)
        try:
            yield usage, catalog, SystemClock().now_ms()
        finally:
            await usage.aclose()
