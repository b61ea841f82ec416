"""What the tests of the PostgreSQL stores build: tasks, attempts, endings, a clock to turn."""

from __future__ import annotations

import itertools
from dataclasses import replace

from gateway.app.ports import NewTask, Settlement
from gateway.domain.callback import CallbackSpec
from gateway.domain.errors import Blame
from gateway.domain.request import GenerationRequest
from gateway.domain.task import (
    Attempt,
    Ending,
    Image,
    Outcome,
    Task,
    TaskError,
    TaskStatus,
    charge,
)
from gateway.stores.postgres.tasks import PostgresTasks

START_MS = 1_800_000_000_000
CREDIT = 1_000_000
PROMPT = "A lighthouse on a cliff at dusk, oil painting, long shadows, warm light"
_numbers = itertools.count(1)


class TurnableClock:
    """A clock that moves only when told to."""

    def __init__(self) -> None:
        self.ms = START_MS

    def now_ms(self) -> int:
        return self.ms

    def turn(self, ms: int) -> None:
        self.ms += ms


def new_task(
    team_id: str,
    *,
    hold: int = CREDIT,
    n: int = 1,
    task_id: str | None = None,
    callback: CallbackSpec | None = None,
    created_ms: int = START_MS,
    model: str = "wan2.5-t2i-preview",
    key_id: str = "key_1",
) -> NewTask:
    task = Task(
        id=task_id or f"task-unified-1800000000-{next(_numbers):08d}",
        team_id=team_id,
        key_id=key_id,
        dialect="evolink",
        model=model,
        requested_model=model,
        n=n,
        tier="1K",
        unit_price=hold // n,
        hold=hold,
        created_ms=created_ms,
        deadline_ms=created_ms + 600_000,
        has_callback=callback is not None,
    )
    return NewTask(task, GenerationRequest(model=model, prompt=PROMPT, n=n), callback)


async def accepted(tasks: PostgresTasks, team_id: str, **options) -> Task:
    new = new_task(team_id, **options)
    await tasks.accept(new)
    return new.task


def attempt(no: int = 1, **changes) -> Attempt:
    first = Attempt(
        id=f"attempt-{next(_numbers)}",
        no=no,
        upstream="cheap",
        adapter="evolink",
        upstream_model="wan2.5-text-to-image",
        started_ms=START_MS,
        planned_cost=20_000,
    )
    return replace(first, **changes)


def with_attempts(task: Task, *attempts: Attempt) -> Task:
    return replace(task, attempts=attempts)


def delivered(task: Task, images: int = 1, *, at_ms: int = START_MS + 9_000) -> Settlement:
    pictures = tuple(Image(f"https://files.example.net/{task.id}/{i}.png") for i in range(images))
    ending = Ending(TaskStatus.COMPLETED, images=pictures)
    return Settlement(task, ending, charge(task, ending), at_ms)


def failed(task: Task, *, at_ms: int = START_MS + 9_000) -> Settlement:
    error = TaskError("upstream_error", "No upstream could serve the request.", Blame.PROVIDER)
    return Settlement(task, Ending(TaskStatus.FAILED, error=error), 0, at_ms)


def cancelled(task: Task, *, at_ms: int = START_MS + 9_000) -> Settlement:
    return Settlement(task, Ending(TaskStatus.CANCELLED), 0, at_ms)


def success_at(upstream: str, cost: int = 20_000, **changes) -> Attempt:
    return attempt(upstream=upstream, outcome=Outcome.DELIVERED, cost=cost, delivered=1, **changes)
