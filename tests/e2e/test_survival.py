"""What must survive: a flushed Valkey, a worker that died, another that woke up too late."""

from __future__ import annotations

import asyncio

from gateway.domain.errors import Blame, StaleFence
from gateway.domain.machine import apply
from gateway.domain.steps import GaveUp
from gateway.domain.task import Outcome, TaskError, TaskStatus
from gateway.simulator import Script
from tests.support.stack import MODEL, Stack

LANTERN = {"model": MODEL, "prompt": "a paper lantern"}


async def accepted_upstream(stack: Stack, task_id: str) -> None:
    async with asyncio.timeout(10):
        while True:
            task = await stack.task(task_id)
            if task.attempts and task.attempts[-1].outcome is Outcome.ACCEPTED:
                return
            await asyncio.sleep(0.02)


async def test_a_flushed_valkey_loses_no_task_and_buys_nothing_twice(stack: Stack) -> None:
    team = await stack.team()
    stack.simulator.script("evolink", Script(work_ms=2_000))
    ids = [(await stack.post(team, LANTERN)).json()["id"] for _ in range(5)]
    for task_id in ids:
        await accepted_upstream(stack, task_id)

    await stack.gateway.valkey.execute("FLUSHALL")
    bodies = [await stack.ended(team, task_id) for task_id in ids]

    assert {body["status"] for body in bodies} == {"completed"}
    assert [len((await stack.task(task_id)).attempts) for task_id in ids] == [1] * 5
    assert stack.simulator.bill("evolink").images == 5
    await stack.assert_ledger_is_clean()


async def test_a_task_is_readable_and_listed_while_the_index_is_empty(stack: Stack) -> None:
    team = await stack.team()
    created = (await stack.post(team, LANTERN)).json()["id"]
    await stack.ended(team, created)
    await stack.stop_workers()

    await stack.gateway.valkey.execute("FLUSHALL")
    body = (await stack.get(team, f"/v1/tasks/{created}")).json()

    assert body["status"] == "completed"


async def test_a_task_accepted_while_no_worker_ran_is_worked_on_later(stack: Stack) -> None:
    team = await stack.team()
    await stack.stop_workers()
    created = (await stack.post(team, LANTERN)).json()["id"]

    await stack.start_worker()

    assert (await stack.ended(team, created))["status"] == "completed"


async def test_a_zombies_settlement_changes_nothing(stack: Stack) -> None:
    team = await stack.team(credits=10)
    created = (await stack.post(team, LANTERN)).json()["id"]
    zombie = await stack.task(created)
    await stack.ended(team, created)

    late = apply(zombie, GaveUp(TaskError("late", "too late", Blame.PROVIDER), 0))
    try:
        await stack.gateway.tasks.save(late, None)
    except StaleFence:
        refused = True
    else:
        refused = False

    assert refused
    assert (await stack.task(created)).status is TaskStatus.COMPLETED
    assert await stack.credits(team) == ("8.5", "0", "8.5")


async def test_an_ambiguous_submit_fails_over_once_and_shows_its_exposure(stack: Stack) -> None:
    team = await stack.team(credits=10)
    stack.simulator.script("evolink", Script(accept_then="reset"))

    answer = await stack.post(team, {**LANTERN, "async": False})

    task = await stack.task(answer.json()["id"])
    assert answer.status_code == 200
    assert [a.outcome for a in task.attempts] == [Outcome.UNKNOWN, Outcome.DELIVERED]
    assert task.exposure == 22_000
    assert await stack.credits(team) == ("8.5", "0", "8.5")
    await stack.assert_ledger_is_clean()
