from __future__ import annotations

import asyncio

import pytest

from gateway.domain.errors import StoreUnavailable
from gateway.stores.coalesce import IN_FLIGHT_MAX, SIZE_MAX, WEIGHT_MAX, Coalescer


class Runner:
    """Doubles numbers, batch by batch, when the gate is open; remembers the batches."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.batches: list[list[int]] = []
        self.running = 0
        self.most_running = 0

    async def run(self, batch: list[int]) -> list[int | Exception]:
        self.batches.append(batch)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        await self.gate.wait()
        self.running -= 1
        return [number * 2 for number in batch]


@pytest.fixture
def runner() -> Runner:
    return Runner()


def doubling(runner: Runner, **options) -> Coalescer[int, int]:
    return Coalescer(runner.run, closed=StoreUnavailable, **{"key": lambda n: n, **options})


async def until(condition) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


async def test_an_idle_coalescer_runs_an_item_at_once_and_alone(runner):
    assert await doubling(runner, linger_s=3600).submit(1) == 2
    assert runner.batches == [[1]]


async def test_concurrent_items_share_batches_of_at_most_sixty_four(runner):
    calls = doubling(runner)
    results = await asyncio.gather(*(calls.submit(n) for n in range(300)))
    assert results == [n * 2 for n in range(300)]
    assert [len(batch) for batch in runner.batches] == [64, 64, 64, 64, 44]


async def test_never_more_than_two_batches_run_at_once(runner):
    calls = doubling(runner)
    runner.gate.clear()
    waiting = [asyncio.create_task(calls.submit(n)) for n in range(SIZE_MAX * 5)]
    await until(lambda: runner.running == IN_FLIGHT_MAX)
    runner.gate.set()
    await asyncio.gather(*waiting)
    assert runner.most_running == IN_FLIGHT_MAX


async def test_while_a_batch_runs_items_collect_and_then_go_beside_it(runner):
    calls = doubling(runner)
    runner.gate.clear()
    waiting = [asyncio.create_task(calls.submit(0))]
    await until(lambda: runner.running == 1)
    waiting += [asyncio.create_task(calls.submit(n)) for n in (1, 2, 3)]
    await until(lambda: runner.running == 2)
    runner.gate.set()
    await asyncio.gather(*waiting)
    assert runner.batches == [[0], [1, 2, 3]]


async def test_items_of_one_key_never_share_a_batch_and_keep_their_order(runner):
    calls = doubling(runner, key=lambda n: n % 10)
    await asyncio.gather(*(calls.submit(n) for n in (1, 11, 2, 21)))
    assert runner.batches == [[1, 2], [11], [21]]


async def test_a_batch_ends_before_it_weighs_too_much(runner):
    calls = doubling(runner, weigh=lambda n: WEIGHT_MAX if n == 9 else WEIGHT_MAX // 2)
    await asyncio.gather(*(calls.submit(n) for n in (1, 2, 9, 3)))
    assert runner.batches == [[1, 2], [9], [3]]


async def test_a_cancelled_caller_does_not_cancel_the_batch_of_the_others(runner):
    calls = doubling(runner)
    runner.gate.clear()
    first, second = (asyncio.create_task(calls.submit(n)) for n in (1, 2))
    await until(lambda: runner.running == 1)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    runner.gate.set()
    assert await second == 4
    assert runner.batches == [[1, 2]]


async def test_a_caller_cancelled_before_its_batch_started_takes_its_item_away(runner):
    calls = doubling(runner, linger_s=3600)
    runner.gate.clear()
    first, second, third = (asyncio.create_task(calls.submit(n)) for n in (1, 1, 2))
    await until(lambda: runner.running == 1)
    third_alone = asyncio.create_task(calls.submit(3))
    await asyncio.sleep(0)
    second.cancel()
    runner.gate.set()
    assert [await task for task in (first, third, third_alone)] == [2, 4, 6]
    assert runner.batches == [[1, 2], [3]]


async def test_an_exception_reaches_every_caller_of_its_batch():
    async def fail(batch: list[int]) -> list[int | Exception]:
        raise StoreUnavailable("away")

    calls: Coalescer[int, int] = Coalescer(fail, closed=StoreUnavailable)
    results = await asyncio.gather(*(calls.submit(n) for n in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [StoreUnavailable] * 3


async def test_an_item_can_fail_alone():
    async def odd_only(batch: list[int]) -> list[int | Exception]:
        return [n if n % 2 else ValueError(n) for n in batch]

    calls: Coalescer[int, int] = Coalescer(odd_only, closed=StoreUnavailable)
    results = await asyncio.gather(*(calls.submit(n) for n in (1, 2, 3)), return_exceptions=True)
    assert [type(result) for result in results] == [int, ValueError, int]


async def test_closing_runs_what_was_taken_and_refuses_what_comes_later(runner):
    calls = doubling(runner)
    waiting = [asyncio.create_task(calls.submit(n)) for n in range(200)]
    await asyncio.sleep(0)
    await calls.close()
    assert sum(len(batch) for batch in runner.batches) == 200
    assert await asyncio.gather(*waiting) == [n * 2 for n in range(200)]
    with pytest.raises(StoreUnavailable):
        await calls.submit(1)


async def test_a_user_chooses_how_large_and_how_many_batches_are(runner):
    calls = doubling(runner, size_max=10, in_flight_max=3, linger_s=0.0)
    await asyncio.gather(*(calls.submit(n) for n in range(35)))
    assert [len(batch) for batch in runner.batches] == [10, 10, 10, 5]
    assert runner.most_running <= 3
