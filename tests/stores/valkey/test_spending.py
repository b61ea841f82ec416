"""The daily cost cap of an upstream: exact, shared, and counted from the books after a flush."""

from __future__ import annotations

import asyncio

import pytest

from gateway.domain.errors import StoreUnavailable
from gateway.stores.valkey import keys
from gateway.stores.valkey.spending import DAY_MS, ValkeySpending
from tests.stores.valkey.helpers import NOW_MS

UP = "cheap"
DAY = NOW_MS // DAY_MS


class Clock:
    def __init__(self) -> None:
        self.ms = NOW_MS

    def now_ms(self) -> int:
        return self.ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


def opened(server, clock, booked=None, cap: int = 1_000) -> ValkeySpending:
    async def since(day_ms: int):
        assert day_ms % DAY_MS == 0
        return booked or {}

    return ValkeySpending(server, lambda: {UP: cap, "free": 0}, since, clock)


async def test_a_cap_is_reached_exactly_and_no_job_beyond_it_is_counted(server, clock):
    spending = opened(server, clock)
    assert [await spending.reserve(UP, 400) for _ in range(3)] == [True, True, False]
    assert await spending.spent() == {UP: 800}
    assert await spending.reserve(UP, 200)
    assert not await spending.reserve(UP, 1)
    assert await spending.reserve("free", 10**9)


async def test_a_hundred_at_once_over_several_processes_never_pass_the_cap(server, clock):
    processes = [opened(server, clock) for _ in range(4)]
    asked = [processes[no % 4].reserve(UP, 30) for no in range(100)]
    assert (await asyncio.gather(*asked)).count(True) == 33


async def test_what_a_job_did_not_cost_is_free_again(server, clock):
    spending = opened(server, clock)
    assert await spending.reserve(UP, 1_000)
    await spending.correct(UP, 1_000, 250, NOW_MS)
    assert await spending.spent() == {UP: 250}
    assert await spending.reserve(UP, 750)
    await spending.correct("free", 5, 0, NOW_MS)


async def test_a_new_day_begins_at_nothing_and_corrections_go_to_their_own_day(server, clock):
    spending = opened(server, clock)
    assert await spending.reserve(UP, 1_000)
    clock.ms += DAY_MS
    assert await spending.reserve(UP, 900)
    await spending.correct(UP, 1_000, 0, NOW_MS)
    assert await spending.spent() == {UP: 900}
    assert await server.execute("HGET", keys.spent(DAY), UP) == b"0"


async def test_after_a_flush_it_goes_on_from_what_is_booked(server, clock):
    assert await opened(server, clock, booked={UP: 950}).spent() == {UP: 950}
    again = opened(server, clock, booked={UP: 10})
    assert await again.spent() == {UP: 950}, "booked is asked only when the count is gone"
    assert not await again.reserve(UP, 60)


async def test_without_valkey_a_process_stays_below_what_it_knew(server, clock):
    spending = opened(server, clock)
    assert await spending.reserve(UP, 500)
    server._away_until = float("inf")
    assert await spending.reserve(UP, 400)
    assert not await spending.reserve(UP, 200)
    await spending.correct(UP, 400, 0, NOW_MS)
    assert await spending.reserve(UP, 200)


async def test_without_postgres_after_a_flush_nothing_breaks(server, clock):
    async def away(day_ms: int):
        raise StoreUnavailable

    spending = ValkeySpending(server, lambda: {UP: 1_000}, away, clock)
    assert await spending.spent() == {UP: 0}
    assert await spending.reserve(UP, 400)
