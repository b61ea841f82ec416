"""Waits end with their task, at their time, or when the process shuts down; on one timer."""

from __future__ import annotations

import asyncio
import time
from typing import cast

import pytest

from gateway.app.query import Query
from gateway.domain.task import Task, TaskStatus
from gateway.http.waits import Waits
from tests.domain.tasks import a_task


class Index:
    """Tells that a task ended when the test says so."""

    def __init__(self) -> None:
        self.ends: dict[str, asyncio.Future[Task]] = {}

    async def wait(self, task_id: str, limit: asyncio.Timeout) -> Task | None:
        self.ends[task_id] = asyncio.get_running_loop().create_future()
        try:
            async with limit:
                return await self.ends[task_id]
        except TimeoutError:
            return None


class Asked:
    """The query side: an index, and nothing stored."""

    def __init__(self) -> None:
        self.live = Index()

    async def find(self, _task_id: str) -> None:
        return None


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
def waits() -> Waits:
    return Waits(asyncio.Event())


async def took(waits: Waits, asked: Asked, task: Task, timeout_s: float) -> tuple[Task, float]:
    """Give how a task stood when its wait was over, and how many seconds that took."""
    began_s = time.monotonic()
    found = await waits.until_ended(cast("Query", asked), task, timeout_s)
    return found, time.monotonic() - began_s


async def test_a_wait_ends_with_its_task_and_the_others_go_on(waits: Waits, asked: Asked) -> None:
    first, second = (
        asyncio.create_task(took(waits, asked, a_task(id=name), 30)) for name in ("one", "two")
    )
    await asyncio.sleep(0)
    ended = a_task(id="one", status=TaskStatus.COMPLETED)
    asked.live.ends["one"].set_result(ended)
    assert (await first)[0] == ended
    assert not second.done()
    second.cancel()


async def test_every_wait_ends_at_its_own_time(waits: Waits, asked: Asked) -> None:
    limits = [0.3, 0.1, 0.105, 0.2, 0.1]
    tasks = [a_task(id=f"t{no}") for no in range(len(limits))]
    found = await asyncio.gather(
        *(took(waits, asked, task, limit) for task, limit in zip(tasks, limits, strict=True))
    )
    assert [task for task, _ in found] == tasks
    for limit, (_, seconds) in zip(limits, found, strict=True):
        assert seconds >= limit - 0.002
    order = sorted(range(len(limits)), key=lambda no: found[no][1])
    assert set(order[:3]) == {1, 2, 4}
    assert order[3:] == [3, 0]


async def test_a_wait_ends_in_time_after_an_earlier_one_ended_early(
    waits: Waits, asked: Asked
) -> None:
    early = asyncio.create_task(took(waits, asked, a_task(id="early"), 0.05))
    late = asyncio.create_task(took(waits, asked, a_task(id="late"), 0.15))
    await asyncio.sleep(0)
    asked.live.ends["early"].set_result(a_task(id="early", status=TaskStatus.FAILED))
    assert (await early)[1] < 0.05
    async with asyncio.timeout(5):
        assert (await late)[1] >= 0.148


async def test_shutting_down_ends_all_waits_and_lets_none_begin(asked: Asked) -> None:
    draining = asyncio.Event()
    waits = Waits(draining)
    waiting = [
        asyncio.create_task(took(waits, asked, a_task(id=f"t{no}"), 60 + no)) for no in range(3)
    ]
    await asyncio.sleep(0)
    draining.set()
    async with asyncio.timeout(5):
        found = await asyncio.gather(*waiting)
        assert [task.id for task, _ in found] == ["t0", "t1", "t2"]
        await took(waits, asked, a_task(id="later"), 60)
    assert "later" not in asked.live.ends


async def test_a_thousand_waits_have_one_timer(
    waits: Waits, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    timers = []
    real = loop.call_at

    def counted(when, *arguments, **options):
        timers.append(when)
        return real(when, *arguments, **options)

    monkeypatch.setattr(loop, "call_at", counted)
    waiting = [
        asyncio.create_task(took(waits, asked, a_task(id=f"t{no}"), 60)) for no in range(1_000)
    ]
    await asyncio.sleep(0)
    assert len(asked.live.ends) == 1_000
    assert len(timers) == 1
    for one in waiting:
        one.cancel()
