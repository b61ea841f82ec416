"""Limits of keys on the server do what the pure arithmetic says, for any number of processes."""

from __future__ import annotations

import asyncio
from collections import defaultdict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.domain.errors import IndexUnavailable
from gateway.domain.limits import SLOT_MS, Limit, judge_together, slot_of
from gateway.stores.valkey.connection import Valkey
from gateway.stores.valkey.key_limits import ValkeyKeyLimits

START_MS = 1_800_000_000_123


class Now:
    def __init__(self) -> None:
        self.ms = START_MS

    def __call__(self) -> int:
        return self.ms


CALLS = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 599, 600, 5_000, 30_000, 61_000]), st.integers(1, 3), st.booleans()
    ),
    max_size=25,
)


@pytest.mark.parametrize("is_away", [False, True])
def test_the_server_and_a_process_alone_do_what_the_arithmetic_says(redis_url, is_away):
    runner = asyncio.Runner()
    now = Now()
    url = "unix:///nowhere.sock" if is_away else redis_url
    valkey = Valkey(url, clock=now)
    limits = ValkeyKeyLimits(valkey, now)
    numbers = iter(range(10**6))

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(CALLS)
    def play(calls):
        key = f"key-{is_away}-{next(numbers)}"
        requests: dict[int, int] = defaultdict(int)
        images: dict[int, int] = defaultdict(int)
        for pause_ms, amount, fails in calls:
            now.ms += pause_ms
            asked = (Limit("requests", 6, 1), Limit("images", 9, amount))
            taken = runner.run(limits.take(key, asked))
            model = judge_together(asked, (requests, images), now.ms)
            passes = not any(verdict.retry_ms for verdict in model)
            assert taken.verdicts == model
            if passes:
                assert taken.slot == slot_of(now.ms)
            if passes and fails:
                runner.run(limits.give_back(key, taken))
            elif passes:
                requests[slot_of(now.ms)] += 1
                images[slot_of(now.ms)] += amount

    play()
    runner.run(valkey.aclose())
    runner.close()


async def test_two_hundred_callers_in_ten_processes_get_exactly_what_is_allowed(redis_url):
    connections = [Valkey(redis_url) for _ in range(10)]
    stores = [ValkeyKeyLimits(connection) for connection in connections]

    async def call(number: int) -> bool:
        limit = Limit("images", 100, 1)
        return not (await stores[number % 10].take("shared", [limit])).refusals

    passed = await asyncio.gather(*(call(number) for number in range(200)))
    assert sum(passed) == 100
    for connection in connections:
        await connection.aclose()


async def test_a_call_without_limits_asks_nobody():
    valkey = Valkey("unix:///nowhere.sock")
    assert (await ValkeyKeyLimits(valkey).take("key", ())).verdicts == ()
    await valkey.aclose()


async def test_what_is_left_goes_by_itself(redis_url):
    valkey = Valkey(redis_url)
    await ValkeyKeyLimits(valkey).take("brief", [Limit("images", 5, 1)])
    left_ms = int(await valkey.execute("PTTL", "igw:limit:images:brief"))
    assert 60_000 < left_ms <= 102 * SLOT_MS
    await valkey.aclose()


async def test_what_a_flush_took_away_is_not_given_back_below_nothing(redis_url):
    valkey, now = Valkey(redis_url, clock=Now()), Now()
    limits = ValkeyKeyLimits(valkey, now)
    five = [Limit("images", 5, 3)]
    taken = await limits.take("flushed", five)
    await valkey.execute("DEL", "igw:limit:images:flushed")
    await limits.give_back("flushed", taken)
    (verdict,) = (await limits.take("flushed", five)).verdicts
    assert verdict.remaining == 2
    assert (await limits.take("flushed", five)).refusals
    await valkey.aclose()


async def test_what_was_counted_alone_is_given_back_alone(redis_url):
    """A call during an outage, given back after it, leaves the shared count as it is."""
    away, here = Valkey("unix:///nowhere.sock"), Valkey(redis_url)
    limits, five = ValkeyKeyLimits(away), [Limit("images", 5, 3)]
    taken = await limits.take("both", five)
    limits._valkey = here
    await limits.take("both", five)
    await limits.give_back("both", taken)
    assert (await limits.take("both", five)).refusals
    await limits.give_back("both", taken)
    await away.aclose()
    await here.aclose()


class Cut(Valkey):
    """A connection that can be cut."""

    is_cut = False

    async def run(self, *call):
        if self.is_cut:
            raise IndexUnavailable
        return await super().run(*call)


async def test_without_valkey_processes_share_what_is_left_of_a_limit(redis_url):
    """What each allowed before counts in its share: together never more than is allowed."""
    connections = [Cut(redis_url) for _ in range(3)]
    stores = [ValkeyKeyLimits(connection) for connection in connections]
    thirty = [Limit("requests", 30, 1)]

    async def passed(store: ValkeyKeyLimits, calls: int) -> int:
        return sum([not (await store.take("outage", thirty)).refusals for _ in range(calls)])

    for store in stores:
        assert await passed(store, 1) == 1
    assert [await passed(*one) for one in zip(stores, (8, 2, 4), strict=True)] == [8, 2, 4]
    for connection in connections:
        connection.is_cut = True
    assert [await passed(store, 40) for store in stores] == [1, 7, 5]
    (verdict,) = (await stores[0].take("outage", thirty)).verdicts
    assert (verdict.allowed, verdict.remaining) == (30, 0)
    other = [Limit("images", 2, 2)]
    assert [bool((await stores[0].take("few", other)).refusals) for _ in "ab"] == [False, True]
    for connection in connections:
        await connection.aclose()
