"""One connection and one live index per test, on the shared Valkey."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gateway.stores.valkey.connection import Valkey
from gateway.stores.valkey.live_tasks import ValkeyLiveTasks
from tests.stores.valkey.helpers import FakePostgres, Now


@pytest.fixture
def now() -> Now:
    """The time, which stands still until a test moves it."""
    return Now()


@pytest.fixture
async def server(redis_url: str, now: Now) -> AsyncIterator[Valkey]:
    """A connection whose scripts see the test's time."""
    connection = Valkey(redis_url, clock=now)
    yield connection
    await connection.aclose()


@pytest.fixture
def database() -> FakePostgres:
    """What the fallback reads; empty until a test fills it."""
    return FakePostgres()


@pytest.fixture
async def live(server: Valkey, database: FakePostgres) -> AsyncIterator[ValkeyLiveTasks]:
    """A live index."""
    store = ValkeyLiveTasks(server, database.get)
    yield store
    await store.aclose()
