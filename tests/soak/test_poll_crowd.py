"""30,000 tasks in flight at a vendor that allows 20 queries a second: all are served, in order.

Virtual time on a real Valkey; every call of a worker's `take_poll` is real.
"""

from __future__ import annotations

import time
from decimal import Decimal

import pytest

from gateway.embedded import EmbeddedValkey
from gateway.stores.valkey.budgets import UpstreamLimits, ValkeyBudgets
from gateway.stores.valkey.connection import Valkey
from tests.stores.valkey.crowd import crowd
from tests.stores.valkey.helpers import Now

UP, TASKS, PER_SECOND = "vendor", 30_000, 20

pytestmark = pytest.mark.soak


async def test_thirty_thousand_tasks_share_twenty_queries_a_second(
    own_valkey: EmbeddedValkey,
) -> None:
    now = Now()
    valkey = Valkey(own_valkey.url, clock=now)
    limits = {UP: UpstreamLimits(0, Decimal(0), Decimal(PER_SECOND))}
    began_ms, began_s = now.ms, time.monotonic()
    run = await crowd(
        ValkeyBudgets(valkey, lambda: limits),
        UP,
        now,
        tasks=TASKS,
        spread_ms=600_000,
        seconds=2 * TASKS // PER_SECOND,
        begun_ms=120_000,
    )
    took_s = time.monotonic() - began_s
    await valkey.aclose()
    last_s = (max(run.done_ms.values()) - began_ms) / 1000
    order = sorted(run.done_ms, key=run.likely_ms.__getitem__)
    served = sorted(run.done_ms, key=run.done_ms.__getitem__)
    place = {name: number for number, name in enumerate(served)}
    astray = sorted(abs(place[name] - number) for number, name in enumerate(order))
    print(
        f"{len(run.done_ms)} tasks done after {last_s:.0f} s of virtual time; "
        f"{len(run.granted_ms)} queries, at most {run.most_in_a_second} in a second; "
        f"{run.asked / TASKS:.2f} visits per task, {took_s / run.asked * 1e6:.0f} us each; "
        f"out of order by at most {astray[int(0.99 * TASKS)]} places for 99 of 100"
    )
    assert len(run.done_ms) == TASKS
    assert run.most_in_a_second <= PER_SECOND
    assert last_s <= 1.25 * TASKS / PER_SECOND
    assert run.asked <= 12 * TASKS
    assert astray[int(0.99 * TASKS)] <= TASKS // 5
