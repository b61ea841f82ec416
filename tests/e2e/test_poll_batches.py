"""Polls of a vendor that answers about many jobs at once share its queries."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from gateway.app.poll_batches import PollBatches
from gateway.domain.errors import Blame, UpstreamError
from gateway.domain.upstream import PollAnswer, Running
from gateway.simulator import Script
from tests.support.stack import CONFIGURATION, MODEL, running_stack

SCARCE = CONFIGURATION.replace(
    'api_key = "key-of-cheap"', 'api_key = "key-of-cheap"\nquery_per_second = 4'
)
DOWN = UpstreamError("It is down.", blame=Blame.PROVIDER)


async def test_sixty_tasks_end_within_four_queries_a_second(
    tmp_path: Path, database_url: str, redis_url: str
) -> None:
    async with running_stack(tmp_path, database_url, redis_url, configuration=SCARCE) as stack:
        team = await stack.team()
        stack.simulator.script("evolink", Script(work_ms=1_500))
        body = {"model": MODEL, "prompt": "a lantern"}
        created = await asyncio.gather(*(stack.post(team, body) for _ in range(60)))
        ids = [answer.json()["id"] for answer in created]
        async with asyncio.timeout(20):
            await asyncio.gather(*(stack.ended(team, task_id) for task_id in ids))
        tasks = [await stack.task(task_id) for task_id in ids]
        counts = stack.simulator.counts("evolink")
    assert {(task.status.value, task.attempts[0].upstream) for task in tasks} == {
        ("completed", "cheap")
    }
    assert counts["peak_query_per_second"] <= 4
    # One by one, each would need at least a query of its own.
    assert counts["query"] < 60


@dataclass
class Budget:
    """Lets through what it is told to."""

    waits_ms: list[int] = field(default_factory=list)

    async def take_query(self, upstream: str, count: int = 1) -> int:
        return self.waits_ms.pop(0) if self.waits_ms else 0


@dataclass
class Vendor:
    """Answers about two jobs at once, knows only some, and remembers what it was asked."""

    known: Mapping[str, PollAnswer | UpstreamError] = field(default_factory=dict)
    asked: list[tuple[str, ...]] = field(default_factory=list)
    down: bool = False
    polls_max: int = 2

    async def poll(self, task_id: str) -> PollAnswer:
        self.asked.append((task_id,))
        return Running(progress=1)

    async def poll_many(self, task_ids: Sequence[str]) -> Mapping[str, PollAnswer | UpstreamError]:
        self.asked.append(tuple(task_ids))
        if self.down:
            raise DOWN
        return {task_id: self.known[task_id] for task_id in task_ids if task_id in self.known}


def polls(budget: Budget, vendor: Vendor, *task_ids: str) -> Any:
    """Poll all at once; the later in the list, the sooner its job is probably done."""
    batches = PollBatches(cast("Any", budget))
    each = (
        batches.poll("v", cast("Any", vendor), task_id, likely_ms=-place)
        for place, task_id in enumerate(task_ids)
    )
    return asyncio.gather(*each, return_exceptions=True)


async def test_jobs_likely_done_first_are_in_the_first_query() -> None:
    vendor = Vendor({name: Running(progress=50) for name in "abc"})
    # One alone is asked about in the vendor's usual way.
    assert await polls(Budget(), vendor, "a", "b", "c") == [
        Running(progress=1),
        Running(progress=50),
        Running(progress=50),
    ]
    assert vendor.asked == [("c", "b"), ("a",)]


async def test_without_a_query_left_each_is_told_when_its_turn_may_be() -> None:
    vendor = Vendor()
    assert await polls(Budget([250]), vendor, "a", "b", "c", "d", "e") == [750, 500, 500, 250, 250]
    assert vendor.asked == []


async def test_what_the_answer_lacks_is_asked_for_by_itself_if_a_query_is_left() -> None:
    vendor = Vendor({"b": Running(progress=50)})
    assert await polls(Budget(), vendor, "a", "b") == [Running(progress=1), Running(progress=50)]
    assert vendor.asked == [("b", "a"), ("a",)]
    assert await polls(Budget([0, 300]), vendor, "a", "b") == [300, Running(progress=50)]


async def test_one_failed_job_fails_alone_and_a_failed_query_fails_all_its_polls() -> None:
    vendor = Vendor({"a": DOWN, "b": Running()})
    assert await polls(Budget(), vendor, "a", "b") == [DOWN, Running()]
    assert await polls(Budget(), Vendor(down=True), "a", "b") == [DOWN, DOWN]


async def test_whatever_breaks_is_heard_by_everyone_who_waits() -> None:
    class Broken(Vendor):
        async def poll_many(self, task_ids: Sequence[str]) -> Any:
            raise ZeroDivisionError

    class Penniless(Budget):
        async def take_query(self, upstream: str, count: int = 1) -> int:
            raise ZeroDivisionError

    async with asyncio.timeout(5):
        found = [
            *await polls(Budget(), Broken(), "a", "b"),
            *await polls(Penniless(), Vendor(), "a"),
        ]
    assert [type(error) for error in found] == [ZeroDivisionError] * 3


async def test_after_a_failed_query_each_job_is_asked_about_alone_once() -> None:
    batches = PollBatches(cast("Any", Budget()))
    vendor = Vendor({"a": Running(), "b": Running()}, down=True)

    async def both() -> list[Any]:
        each = (batches.poll("v", cast("Any", vendor), name, 0) for name in "ab")
        return await asyncio.gather(*each, return_exceptions=True)

    assert await both() == [DOWN, DOWN]
    # The vendor chokes on the two together; alone it knows them.
    assert await both() == [Running(progress=1), Running(progress=1)]
    vendor.down = False
    assert await both() == [Running(), Running()]
    assert vendor.asked == [("a", "b"), ("a",), ("b",), ("a", "b")]


async def test_a_caller_who_gives_up_takes_nobody_along() -> None:
    batches, vendor = PollBatches(cast("Any", Budget())), Vendor({"b": Running()})
    hasty = asyncio.create_task(batches.poll("v", cast("Any", vendor), "a", 0))
    patient = asyncio.create_task(batches.poll("v", cast("Any", vendor), "b", 1))
    await asyncio.sleep(0)
    hasty.cancel()
    assert await patient == Running()
    with pytest.raises(asyncio.CancelledError):
        await hasty
