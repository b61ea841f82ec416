from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.stores.valkey import budgets as budgets_module
from gateway.stores.valkey import keys
from gateway.stores.valkey.budgets import FULL_RETRY_MS, SLOT_MS, UpstreamLimits, ValkeyBudgets
from gateway.stores.valkey.connection import Valkey
from gateway.stores.valkey.own_share import OwnShare, Rate, rate_of
from tests.stores.valkey.helpers import until_back

UP = "dashscope-beijing"


@dataclass
class Limits:
    """The configuration, which a test may change."""

    now: dict[str, UpstreamLimits] = field(default_factory=dict)

    def set(self, upstream: str = UP, in_flight: int = 0, submit: str = "0", query: str = "0"):
        self.now[upstream] = UpstreamLimits(in_flight, Decimal(submit), Decimal(query))

    def __call__(self) -> dict[str, UpstreamLimits]:
        return self.now


@pytest.fixture
def limits() -> Limits:
    return Limits()


@pytest.fixture
def budgets(server: Valkey, limits: Limits) -> ValkeyBudgets:
    return ValkeyBudgets(server, limits)


def most_in_a_window(granted_ms: list[int], window_ms: int) -> int:
    return max(sum(start <= at < start + window_ms for at in granted_ms) for start in granted_ms)


# --- rate ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rate", "at_once", "window_ms"),
    [("20", 20, 1_050), ("5", 5, 1_050), ("1", 1, 1_050), ("0.5", 1, 2_050), ("2.5", 2, 850)],
)
async def test_a_rate_allows_its_burst_and_then_waits_a_window(
    budgets, limits, now, rate, at_once, window_ms
):
    limits.set(query=rate)
    for _ in range(at_once):
        assert await budgets.take_query(UP) == 0
    assert await budgets.take_query(UP) == window_ms
    now.ms += window_ms - 1
    assert await budgets.take_query(UP) == 1
    now.ms += 1
    assert await budgets.take_query(UP) == 0


async def test_no_window_of_a_second_ever_holds_more_than_the_rate(budgets, limits, now):
    limits.set(query="20")
    chance = random.Random(20)
    granted: list[int] = []
    for _ in range(1_500):
        now.ms += chance.choice([0, 0, 1, 7, 20, 60])
        if await budgets.take_query(UP) == 0:
            granted.append(now.ms)
    assert most_in_a_window(granted, 1_000) == 20
    assert len(granted) >= 0.9 * 20 * (granted[-1] - granted[0]) / 1_050


async def test_the_told_wait_is_the_exact_one(budgets, limits, now):
    limits.set(query="3")
    for pause_ms in (0, 100, 200):
        now.ms += pause_ms
        assert await budgets.take_query(UP) == 0
    wait_ms = await budgets.take_query(UP, 2)
    assert wait_ms == 1_050 - 200
    now.ms += wait_ms - 1
    assert await budgets.take_query(UP, 2) == 1
    now.ms += 1
    assert await budgets.take_query(UP, 2) == 0


async def test_two_hundred_takers_in_ten_processes_get_exactly_the_rate(redis_url, limits):
    limits.set(query="20", submit="5")
    connections = [Valkey(redis_url) for _ in range(10)]
    takers = [ValkeyBudgets(connection, limits) for connection in connections]
    waits = await asyncio.gather(*(taker.take_query(UP) for taker in takers for _ in range(20)))
    assert waits.count(0) == 20
    assert all(0 <= wait <= 1_050 for wait in waits)
    waits = await asyncio.gather(*(taker.take_submit(UP, "a") for taker in takers))
    assert waits.count(0) == 5
    for connection in connections:
        await connection.aclose()


async def test_more_at_once_than_a_window_allows_is_an_error_of_the_caller(budgets, limits):
    limits.set(query="3")
    with pytest.raises(ValueError, match="never allows 4"):
        await budgets.take_query(UP, 4)


async def test_a_reload_of_the_limits_takes_effect_at_once(budgets, limits):
    limits.set(query="2")
    assert [await budgets.take_query(UP) for _ in range(2)] == [0, 0]
    limits.set(query="4")
    assert [await budgets.take_query(UP) for _ in range(2)] == [0, 0]
    limits.set(query="1")
    assert await budgets.take_query(UP) > 0


async def test_a_server_clock_set_back_does_not_stop_an_upstream(budgets, limits, now):
    limits.set(query="1")
    assert await budgets.take_query(UP) == 0
    now.ms -= 3_600_000
    assert await budgets.take_query(UP) == 0
    assert await budgets.take_query(UP) == 1_050


@given(
    rate=st.builds(Rate, st.integers(1, 5), st.just(1_050_000)),
    steps=st.lists(st.tuples(st.integers(0, 900_000), st.integers(1, 5)), max_size=60),
)
def test_a_share_taken_without_valkey_keeps_to_its_window_too(rate, steps):
    own, now_us, granted = OwnShare(1), 0, []
    for pause_us, count in steps:
        now_us += pause_us
        wait_ms = own.take(UP, "query", count, rate, now_us)
        if wait_ms == 0:
            granted += [now_us] * min(count, rate.allowed)
        else:
            assert own.take(UP, "query", count, rate, now_us + wait_ms * 1000 - 1000) > 0
    if granted:
        assert most_in_a_window(granted, rate.window_us) <= rate.allowed


@pytest.mark.parametrize("per_second", ["0.1", "1", "2.5", "20", "1000"])
@pytest.mark.parametrize("share", [1, 3, 50])
def test_shares_together_stay_within_the_rate(per_second, share):
    rate = rate_of(Decimal(per_second), share)
    each = Decimal(rate.allowed) / rate.window_us * 1_000_000
    assert each * share <= Decimal(per_second)


# --- in flight -------------------------------------------------------------------------------


async def test_a_cap_is_kept_and_a_finished_attempt_makes_room(budgets, limits):
    limits.set(in_flight=2)
    assert [await budgets.take_submit(UP, name) for name in "ab"] == [0, 0]
    assert await budgets.take_submit(UP, "c") == FULL_RETRY_MS
    assert await budgets.in_flight() == {UP: 2}
    await budgets.finish(UP, "a")
    await budgets.finish(UP, "a")
    assert await budgets.in_flight() == {UP: 1}
    assert await budgets.take_submit(UP, "c") == 0


async def test_an_attempt_that_is_sent_again_keeps_its_place(budgets, limits):
    limits.set(in_flight=1)
    assert await budgets.take_submit(UP, "a") == 0
    assert await budgets.take_submit(UP, "a") == 0
    assert await budgets.in_flight() == {UP: 1}


async def test_a_slot_that_nobody_gave_back_is_free_after_its_time(server, budgets, limits, now):
    limits.set(in_flight=1)
    assert await budgets.take_submit(UP, "crashed") == 0
    now.ms += SLOT_MS - 1
    assert await budgets.take_submit(UP, "b") == FULL_RETRY_MS
    now.ms += 1
    assert await ValkeyBudgets(server, limits).in_flight() == {UP: 0}
    assert await budgets.take_submit(UP, "b") == 0


async def test_a_refusal_by_rate_takes_no_slot_and_one_by_cap_no_grant(budgets, limits, now):
    limits.set(in_flight=2, submit="1")
    assert await budgets.take_submit(UP, "a") == 0
    assert await budgets.take_submit(UP, "b") == 1_050
    assert await budgets.in_flight() == {UP: 1}
    now.ms += 1_050
    assert await budgets.take_submit(UP, "b") == 0
    now.ms += 1_050
    assert await budgets.take_submit(UP, "c") == FULL_RETRY_MS
    await budgets.finish(UP, "a")
    assert await budgets.take_submit(UP, "c") == 0


async def test_a_cap_holds_among_fifty_concurrent_attempts(server, limits):
    limits.set(in_flight=7)
    takers = [ValkeyBudgets(server, limits) for _ in range(5)]
    calls = [
        taker.take_submit(UP, f"{no}-{i}") for no, taker in enumerate(takers) for i in "0123456789"
    ]
    assert (await asyncio.gather(*calls)).count(0) == 7
    assert await takers[0].in_flight() == {UP: 7}


async def test_an_unlimited_upstream_never_asks_valkey(server, limits):
    limits.set("free")
    await server.aclose()
    budgets = ValkeyBudgets(server, limits)
    assert await budgets.take_submit("free", "a") == 0
    assert await budgets.take_query("free", 1_000) == 0
    assert await budgets.take_submit("not configured", "a") == 0
    await budgets.finish("free", "a")
    assert await budgets.in_flight() == {}


def test_a_process_forgets_attempts_that_others_finished():
    own = OwnShare(slot_us=1_000)
    for no in range(5_000):
        own.began(UP, str(no), no)
    own.began(UP, "4999", 5_000)
    assert own.in_flight(5_000) == {UP: 999}
    own.ended(UP, "4999")
    assert not own.is_full(UP, "new", 1, 5_998)
    assert own.in_flight(6_000) == {}


# --- without Valkey --------------------------------------------------------------------------


async def test_while_valkey_is_away_each_process_keeps_to_its_share(
    monkeypatch, own_valkey, limits
):
    monkeypatch.setattr(budgets_module, "PEER_EVERY_S", 0.0)
    limits.set(in_flight=8, query="20")
    connection = Valkey(own_valkey.url)
    budgets = ValkeyBudgets(connection, limits)
    for _ in range(3):
        await ValkeyBudgets(connection, limits).take_query(UP)
    assert await budgets.take_submit(UP, "before") == 0
    await asyncio.to_thread(own_valkey.kill)
    assert 1_000 < await budgets.take_query(UP) <= 1_051
    budgets._changed_hands_us -= 1_050_000
    waits = [await budgets.take_query(UP) for _ in range(20)]
    assert waits.count(0) == 5
    waits = [await budgets.take_submit(UP, name) for name in ("before", "during", "late")]
    assert waits == [0, 0, FULL_RETRY_MS]
    assert await budgets.in_flight() == {UP: 2}
    await connection.aclose()


async def test_what_began_and_ended_meanwhile_is_told_when_valkey_is_back(own_valkey, limits):
    limits.set(in_flight=9)
    connection, elsewhere = Valkey(own_valkey.url), Valkey(own_valkey.url)
    budgets = ValkeyBudgets(connection, limits)
    for name in ("ended meanwhile", "still running"):
        assert await budgets.take_submit(UP, name) == 0
    connection._away_until = float("inf")
    await budgets.finish(UP, "ended meanwhile")
    for name in ("began meanwhile", "came and went"):
        assert await budgets.take_submit(UP, name) == 0
    await budgets.finish(UP, "came and went")
    connection._away_until = 0.0
    assert await budgets.take_submit(UP, "after") == 0
    running = await elsewhere.execute("ZRANGE", keys.slots(UP), 0, -1)
    assert set(running) == {b"still running", b"began meanwhile", b"after"}
    await connection.aclose()
    await elsewhere.aclose()


async def test_a_window_passes_without_a_grant_when_valkey_comes_back(own_valkey, limits):
    limits.set(query="20")
    connection = Valkey(own_valkey.url)
    budgets = ValkeyBudgets(connection, limits)
    assert await budgets.take_query(UP) == 0
    await asyncio.to_thread(own_valkey.restart)
    connection._away_until = float("inf")
    assert await budgets.take_query(UP) > 1_000
    connection._away_until = 0.0
    await until_back(connection)
    assert await budgets.take_query(UP) > 1_000
    budgets._changed_hands_us -= 1_050_000
    assert await budgets.take_query(UP) == 0
    await connection.aclose()
