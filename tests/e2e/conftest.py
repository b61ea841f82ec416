"""One whole gateway per test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.stack import Stack, running_stack


@pytest.fixture
async def stack(tmp_path: Path, database_url: str, redis_url: str) -> AsyncIterator[Stack]:
    """API, one worker, Postgres, Valkey and the simulated vendors."""
    async with running_stack(tmp_path, database_url, redis_url) as running:
        yield running
