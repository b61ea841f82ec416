"""A SQLAlchemy engine over asyncpg: for reports, admin reads and migrations, never the hot path."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

CONNECT_TIMEOUT_S = 5.0


def make_engine(
    database_url: str, *, application_name: str = "gateway reports", **options: Any
) -> AsyncEngine:
    """Give an engine for a plain ``postgresql://`` URL, unix-socket form included.

    asyncpg itself reads the URL, so that every form it takes means the same everywhere.
    ``options`` are SQLAlchemy's own. Nothing is connected yet.
    """

    async def connect() -> Any:
        return await asyncpg.connect(
            database_url,
            timeout=CONNECT_TIMEOUT_S,
            server_settings={"application_name": application_name},
        )

    return create_async_engine("postgresql+asyncpg://", async_creator=connect, **options)


@contextmanager
def drivers_errors() -> Iterator[None]:
    """Raise the driver's own error where SQLAlchemy has wrapped it."""
    try:
        yield
    except DBAPIError as error:
        driver = error.orig.__cause__ if error.orig else None
        if driver is None:
            raise
        raise driver from error
