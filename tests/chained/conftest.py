"""A gateway in front of a gateway in front of the simulated vendors, once per module."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from gateway.embedded import EmbeddedPostgres
from tests.chained.chain import Chain, running_chain


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chain(
    tmp_path_factory: pytest.TempPathFactory, postgres: EmbeddedPostgres, migrated_template: str
) -> AsyncIterator[Chain]:
    """Both gateways, each with books and an index of its own."""
    async with AsyncExitStack() as stack:
        yield await running_chain(
            stack, tmp_path_factory.mktemp("chain"), postgres, migrated_template
        )
