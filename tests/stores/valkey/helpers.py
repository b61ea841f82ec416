"""Tasks for tests, and a stand-in for the fallback read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.domain.errors import IndexUnavailable, StoreUnavailable
from gateway.domain.task import Attempt, Ending, Image, Outcome, Task, TaskStatus
from gateway.stores.valkey.connection import Valkey

NOW_MS = 1_800_000_000_000


def a_task(no: int = 1, **changes: Any) -> Task:
    task = Task(
        id=f"task-unified-1757165031-{no:08d}",
        team_id="0190f5a2-7c1e-7b3e-8a51-7a2b6d7f4e10",
        key_id="0190f5a2-7c1e-7b3e-8a51-7a2b6d7f4e11",
        dialect="evolink",
        model="wan2.5-t2i-preview",
        requested_model="gpt-image-1",
        n=1,
        tier="1K",
        unit_price=1_500_000,
        hold=1_500_000,
        created_ms=NOW_MS,
        deadline_ms=NOW_MS + 600_000,
        route=("dashscope-beijing: cheapest at 0.029 USD",),
        echo={"type": "image"},
    )
    return replace(task, **changes)


def polled(task: Task, progress: int = 40) -> Task:
    """The task at a vendor, as a visit leaves it."""
    attempt = Attempt(
        id="0190f5a2-7c1e-7b3e-8a51-7a2b6d7f4e12",
        no=1,
        upstream="dashscope-beijing",
        adapter="dashscope",
        upstream_model="wan2.5-t2i-preview",
        started_ms=NOW_MS,
        planned_cost=29_000,
        outcome=Outcome.ACCEPTED,
        upstream_task_id="0385dc79-5ff8-4d82-bcb6-7a2b6d7f4e12",
        polls=3,
    )
    return replace(
        task, status=TaskStatus.PROCESSING, progress=progress, fence=2, attempts=(attempt,)
    )


def ended(task: Task, fence: int = 9) -> Task:
    images = (Image("https://example.com/a.png", expires_at=1_800_086_400),)
    return replace(
        task,
        status=TaskStatus.COMPLETED,
        progress=100,
        fence=fence,
        ending=Ending(TaskStatus.COMPLETED, images),
        charged=task.hold,
    )


@dataclass
class Now:
    """The time of the server and of this process, moved by the test."""

    ms: int = NOW_MS

    def __call__(self) -> int:
        return self.ms


@dataclass
class FakePostgres:
    """Gives what it was filled with; raises StoreUnavailable while ``away``."""

    tasks: dict[str, Task] = field(default_factory=dict)
    away: bool = False
    reads: int = 0

    async def get(self, task_id: str) -> Task | None:
        self.reads += 1
        if self.away:
            raise StoreUnavailable
        return self.tasks.get(task_id)


async def until_back(connection: Valkey) -> None:
    """Return when the connection serves again; it pauses for a moment after a failure."""
    while True:
        try:
            return await connection.ping()
        except IndexUnavailable:
            await asyncio.sleep(0.02)


async def until(condition: Callable[[], bool]) -> None:
    """Return once the condition holds; a test that waits in vain is ended after 20 s."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)
