"""How upstreams stand, for commands: the same look that the processes take."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from gateway.app.outlook import Outlook
from gateway.app.upstreams import Upstreams
from gateway.domain.model import Catalog
from gateway.stores.postgres.costs import PostgresCosts
from gateway.stores.valkey.budgets import ValkeyBudgets
from gateway.stores.valkey.connection import Valkey
from gateway.stores.valkey.health import ValkeyHealthBoard
from gateway.stores.valkey.spending import ValkeySpending
from gateway.stores.valkey.tracks import ValkeyTracks
from gateway.wiring.books import Books, SystemClock
from gateway.wiring.configuration import daily_caps_of, limits_of


@asynccontextmanager
async def open_upstreams(
    catalog: Catalog, books: Books, redis_url: str
) -> AsyncGenerator[Upstreams]:
    """Give the standings of a catalogue's upstreams. Valkey may be away."""
    clock, valkey = SystemClock(), Valkey(redis_url)
    limits, caps = limits_of(catalog), daily_caps_of(catalog)
    outlook = Outlook(
        ValkeyHealthBoard(valkey),
        ValkeyBudgets(valkey, lambda: limits),
        books.drains,
        ValkeyTracks(valkey),
        ValkeySpending(valkey, lambda: caps, PostgresCosts(books.database).since, clock),
    )
    try:
        yield Upstreams(lambda: catalog, outlook, clock)
    finally:
        await valkey.aclose()
