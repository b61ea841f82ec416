"""The line of tasks that want a query: never above the rate, likely finished ones first."""

from __future__ import annotations

from decimal import Decimal

import pytest

from gateway.stores.valkey import keys
from gateway.stores.valkey.budgets import POLL_GONE_MS, POLL_WAIT_MS, UpstreamLimits, ValkeyBudgets
from gateway.stores.valkey.connection import Valkey
from tests.stores.valkey.crowd import crowd

UP = "dashscope-beijing"


@pytest.fixture
def budgets(server: Valkey) -> ValkeyBudgets:
    return ValkeyBudgets(server, lambda: {UP: UpstreamLimits(0, Decimal(0), Decimal(20))})


async def test_while_queries_last_everybody_may_poll_at_once(budgets, now):
    for no in range(20):
        assert await budgets.take_poll(UP, f"t{no}", now.ms + 60_000 - no) == 0
    assert await budgets.take_poll(UP, "late", now.ms) == 1_050


async def test_an_unlimited_upstream_has_no_line(server, now):
    budgets = ValkeyBudgets(server, lambda: {UP: UpstreamLimits()})
    assert {await budgets.take_poll(UP, f"t{no}", 0) for no in range(50)} == {0}
    assert await budgets.poll_lines() == {}


async def test_who_is_likely_done_first_is_polled_first(budgets, now):
    assert await budgets.take_query(UP, 20) == 0
    likely = {"c": 3_000, "a": 1_000, "b": 2_000}
    waits = {name: await budgets.take_poll(UP, name, now.ms + ms) for name, ms in likely.items()}
    # The first to ask did not know of the others; whoever comes back is told anew.
    assert waits["a"] < waits["b"]
    now.ms += 1_049
    assert await budgets.take_poll(UP, "c", 0) > 1
    now.ms += 1
    assert await budgets.take_poll(UP, "a", 0) == 0


async def test_one_that_asks_again_keeps_its_place(budgets, now):
    assert await budgets.take_query(UP, 20) == 0
    await budgets.take_poll(UP, "first", now.ms + 10)
    await budgets.take_poll(UP, "second", now.ms + 20)
    await budgets.take_poll(UP, "first", now.ms + 90_000)
    line = await budgets._valkey.execute("ZRANGE", keys.polls(UP), 0, -1)
    assert line == [b"first", b"second"]


async def test_the_line_and_how_long_its_first_one_waits_can_be_seen(budgets, now):
    assert await budgets.take_query(UP, 20) == 0
    for no in range(3):
        await budgets.take_poll(UP, f"t{no}", now.ms + no)
    now.ms += 500
    (line,) = (await budgets.poll_lines()).values()
    assert (line.waiting, line.lag_ms) == (3, 500)


async def test_one_that_ended_otherwise_does_not_block_the_line(budgets, now):
    assert await budgets.take_query(UP, 20) == 0
    for no in range(30):
        await budgets.take_poll(UP, f"gone{no}", now.ms - 1_000)
    assert await budgets.take_poll(UP, "here", now.ms) > 1_050
    now.ms += 3_000 + POLL_GONE_MS
    assert await budgets.take_poll(UP, "here", now.ms) == 0
    assert (await budgets.poll_lines())[UP].waiting == 0


async def test_nobody_is_sent_away_for_longer_than_two_minutes(budgets, now):
    assert await budgets.take_query(UP, 20) == 0
    valkey = budgets._valkey
    await valkey.execute("ZADD", keys.polls(UP), *sum(((no, f"t{no}") for no in range(5_000)), ()))
    assert await budgets.take_poll(UP, "last", now.ms) == POLL_WAIT_MS


async def test_a_crowd_is_served_in_order_at_the_full_rate_and_never_above_it(budgets, now):
    run = await crowd(budgets, UP, now, tasks=3_000, spread_ms=60_000, seconds=90)
    assert run.most_in_a_second <= 20
    assert len(run.granted_ms) >= 0.9 * 20 * 90 / 1.05, "queries were left unused"
    assert run.asked <= 4 * 3_000, "waiting in line costs too many visits"
    served = sorted(run.likely_ms, key=run.likely_ms.__getitem__)
    early, late = served[:500], served[-500:]
    assert sum(name in run.first_ms for name in early) >= 450
    assert sum(name in run.first_ms for name in late) <= sum(n in run.first_ms for n in early)


async def test_without_valkey_a_process_keeps_to_the_rate_itself(own_valkey):
    connection = Valkey(own_valkey.url)
    budgets = ValkeyBudgets(connection, lambda: {UP: UpstreamLimits(0, Decimal(0), Decimal(20))})
    assert await budgets.take_poll(UP, "t", 0) == 0
    connection._away_until = float("inf")
    assert await budgets.take_poll(UP, "t", 0) > 1_000
    budgets._changed_hands_us -= 1_050_000
    waits = [await budgets.take_poll(UP, f"t{no}", 0) for no in range(21)]
    assert waits.count(0) == 20
    await connection.aclose()
