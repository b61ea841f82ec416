"""Erasing a team takes all three stores: rows, pictures, the live index."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from gateway.app.ports import AssetStore, Clock
from gateway.app.team_data import EraseTeam
from gateway.settings import Settings
from gateway.stores.objects.assets import open_assets
from gateway.stores.postgres.assets import PostgresAssets
from gateway.stores.postgres.database import Database
from gateway.stores.valkey.connection import Valkey
from gateway.stores.valkey.live_tasks import ValkeyLiveTasks
from gateway.wiring.books import Books, SystemClock


def asset_store(settings: Settings, database: Database, clock: Clock) -> AssetStore:
    """Give where pictures are kept: the object store of the settings, or the database."""
    if settings.asset_store == "off":
        return PostgresAssets(database, clock)
    return open_assets(settings.asset_store, clock)


@asynccontextmanager
async def open_erasure(
    settings: Settings, books: Books, redis_url: str
) -> AsyncGenerator[EraseTeam]:
    """Give what erases teams, for a command."""
    valkey = Valkey(redis_url)
    live = ValkeyLiveTasks(valkey, books.tasks.get)
    try:
        assets = asset_store(settings, books.database, SystemClock())
        yield EraseTeam(books.erasure, assets, live.forget)
    finally:
        await live.aclose()
        await valkey.aclose()
