"""Limits of keys on the server do what the pure arithmetic says, for any number of processes."""

from __future__ import annotations

import asyncio
from collections import defaultdict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.domain.limits import SLOT_MS, Limit, judge, slot_of
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
            model = [judge(asked[0], requests, now.ms), judge(asked[1], images, now.ms)]
            passes = not any(verdict.retry_ms for verdict in model)
            assert [v.retry_ms for v in taken.verdicts] == [v.retry_ms for v in model]
            assert [v.reset_ms for v in taken.verdicts] == [v.reset_ms for v in model]
            if passes:
                assert taken.verdicts == tuple(model)
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
