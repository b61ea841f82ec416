"""Usage reports of a process, whose engine is made for the first of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from importlib import import_module
from typing import Any

from gateway.domain.usage import UsageQuery, UsageSum


class Reports:
    """The port `Usage`. SQLAlchemy takes 20 MiB, which a process without reports is spared."""

    def __init__(self, database_url: str) -> None:
        """Take where Postgres is; connects nothing."""
        self._database_url = database_url
        self._engine: Any = None

    async def rows(self, query: UsageQuery) -> AsyncGenerator[UsageSum]:
        """Stream one sum for each group, in the order of the groups. Raises InvalidRequest."""
        # In a thread: to read so much code takes half a second, and calls are being answered.
        usage = await asyncio.to_thread(import_module, "gateway.stores.postgres.usage")
        engines = await asyncio.to_thread(import_module, "gateway.stores.postgres.engine")
        if self._engine is None:
            self._engine = engines.make_engine(self._database_url)
        async for one in usage.PostgresUsage(self._engine).rows(query):
            yield one

    async def aclose(self) -> None:
        """Close the connections of reports."""
        if self._engine is not None:
            await self._engine.dispose()
