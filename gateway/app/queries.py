"""The right to send a query that is no poll: a cancel, a page of a list."""

from __future__ import annotations

import asyncio

from gateway.app.ports import Budgets

TRIES = 3
WAIT_MAX_MS = 1_000


async def may_ask(budgets: Budgets, upstream: str) -> bool:
    """Wait shortly for the right to send one query; False when there was none."""
    for _ in range(TRIES):
        wait_ms = await budgets.take_query(upstream)
        if not wait_ms:
            return True
        await asyncio.sleep(min(wait_ms, WAIT_MAX_MS) / 1_000)
    return False
