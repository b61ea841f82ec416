"""The transport is tested on both loops: production has uvloop, whose transports are its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import uvloop

ONE = {"asyncio": asyncio.new_event_loop}
BOTH = {**ONE, "uvloop": uvloop.new_event_loop}


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Give the loops that a test runs on."""
    return BOTH if item.path.name in ("test_transport.py", "test_client.py") else ONE
