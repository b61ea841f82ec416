"""A submit whose answer is lost is looked for in the vendor's task list: bought once, or proven not
to be bought; and where a stranger may have made the job, nothing is concluded.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.app import task_lists
from gateway.app.ports import Clock
from gateway.domain import machine
from gateway.domain.task import Attempt, Outcome, Task
from gateway.simulator import Script
from tests.support.stack import CONFIGURATION, MODEL, Stack, Team, running_stack

LANTERN = {"model": MODEL, "prompt": "a paper lantern", "async": False}
FIRST_DEAR = LANTERN | {"provider": {"order": ["dear", "cheap"]}}
ONLY_DEAR = LANTERN | {"provider": {"only": ["dear"]}}
DEAR, CHEAP = 29_000, 22_000
QUARTER_MS = 15 * 60_000


def configured(*, exclusive: bool = True, on_ambiguous: str = "failover") -> str:
    """A patient gateway: a second for a submit, and perhaps an account of its own."""
    text = CONFIGURATION
    for name in ("cheap", "dear"):
        own = "exclusive_account = true" if exclusive else ""
        head = f"[upstreams.{name}]"
        lines = f'{head}\nsubmit_timeout_seconds = 1\non_ambiguous = "{on_ambiguous}"\n{own}'
        text = text.replace(head, lines)
    return text


Opened = Callable[..., AbstractAsyncContextManager[Stack]]


@pytest.fixture
def opened(
    tmp_path: Path, database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> Opened:
    """Run a gateway that looks sooner than a real one."""
    monkeypatch.setattr(machine, "LOOKS_MS", (300, 900))
    monkeypatch.setattr(machine, "LOOK_PAUSE_MS", 500)
    monkeypatch.setattr(task_lists, "ANSWERED_S", 0.3)

    def run(**changes: Any) -> AbstractAsyncContextManager[Stack]:
        return running_stack(tmp_path, database_url, redis_url, configuration=configured(**changes))

    return run


@pytest.fixture
async def stack(opened: Opened) -> AsyncIterator[Stack]:
    """A gateway with accounts of its own."""
    async with opened() as running:
        yield running


def submits(stack: Stack, vendor: str) -> int:
    return int(stack.simulator.vendors[vendor].engine.counts["submit"])


async def made(stack: Stack, team: Team, body: dict[str, Any]) -> Task:
    answer = await stack.post(team, body)
    return await stack.task(answer.headers["x-task-id"])


@dataclass
class Later:
    """The gateway's clock, ahead."""

    clock: Clock
    by_ms: int = QUARTER_MS

    def now_ms(self) -> int:
        return self.clock.now_ms() + self.by_ms


async def reconciled(stack: Stack) -> None:
    """Reconcile as a quarter of an hour later."""
    stack.gateway.reconcile.lost.clock = Later(stack.gateway.reconcile.clock)
    await stack.gateway.reconcile.run()


async def by_a_stranger(stack: Stack) -> None:
    """Somebody else buys a picture of the same model with the same account."""
    answer = await stack.client.post(
        f"{stack.simulator.base_url('dashscope')}/services/aigc/text2image/image-synthesis",
        json={"model": MODEL, "input": {"prompt": "not ours"}, "parameters": {"n": 1}},
        headers={"authorization": "Bearer key-of-dear", "x-dashscope-async": "enable"},
    )
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "lost",
    [
        Script(accept_then="timeout", times=1),
        Script(accept_then="reset", times=1),
        Script(answer="html", accept=True, times=1),
        Script(answer="garbage", times=1),
    ],
    ids=["timeout", "reset", "a proxy's page", "garbage"],
)
async def test_a_vendor_without_keys_is_bought_from_once(stack: Stack, lost: Script) -> None:
    team = await stack.team(credits=10)
    stack.simulator.script("dashscope", lost)

    answer = await stack.post(team, FIRST_DEAR)

    assert answer.status_code == 200
    task = await stack.task(answer.headers["x-task-id"])
    assert [(a.upstream, a.outcome) for a in task.attempts] == [("dear", Outcome.DELIVERED)]
    assert (task.cost, task.exposure) == (DEAR, 0)
    assert (submits(stack, "dashscope"), submits(stack, "evolink")) == (1, 0)
    assert stack.simulator.bill("dashscope").images == 1
    assert await stack.credits(team) == ("8.5", "0", "8.5")
    await stack.assert_ledger_is_clean()


async def test_a_vendor_with_keys_that_loses_both_answers_is_bought_from_once(
    stack: Stack,
) -> None:
    team = await stack.team(credits=10)
    stack.simulator.script("evolink", Script(accept_then="reset", times=2))

    task = await made(stack, team, LANTERN)

    assert [(a.upstream, a.outcome) for a in task.attempts] == [("cheap", Outcome.DELIVERED)]
    assert (task.cost, task.exposure) == (CHEAP, 0)
    assert (submits(stack, "evolink"), submits(stack, "dashscope")) == (2, 0)
    assert stack.simulator.bill("evolink").images == 1


async def test_where_nothing_was_made_another_is_paid_and_the_exposure_goes_later(
    stack: Stack,
) -> None:
    team = await stack.team(credits=10)
    stack.simulator.script("dashscope", Script(reset=True, times=1))

    task = await made(stack, team, FIRST_DEAR)

    assert [a.outcome for a in task.attempts] == [Outcome.UNKNOWN, Outcome.DELIVERED]
    assert (task.cost, task.exposure) == (CHEAP, DEAR)
    # So soon the list proves nothing.
    await stack.gateway.reconcile.run()
    assert (await stack.task(task.id)).exposure == DEAR
    await reconciled(stack)
    after = await stack.task(task.id)
    assert (after.cost, after.exposure, after.attempts[0].resolution) == (CHEAP, 0, "free")
    await stack.assert_ledger_is_clean()


async def test_a_stranger_s_job_proves_nothing(opened: Opened) -> None:
    async with opened(on_ambiguous="fail") as stack:
        team = await stack.team(credits=10)
        await by_a_stranger(stack)
        stack.simulator.script("dashscope", Script(accept_then="reset", times=1))

        task = await made(stack, team, ONLY_DEAR)

        assert [a.outcome for a in task.attempts] == [Outcome.UNKNOWN]
        await reconciled(stack)
        (attempt,) = (await stack.task(task.id)).attempts
        assert (attempt.exposure, attempt.upstream_task_id) == (DEAR, None)
        assert await stack.credits(team) == ("10", "0", "10")


async def test_an_account_that_others_may_use_proves_only_that_nothing_was_made(
    opened: Opened,
) -> None:
    async with opened(exclusive=False, on_ambiguous="fail") as stack:
        team = await stack.team(credits=10)
        stack.simulator.script("dashscope", Script(accept_then="reset", times=1))
        task = await made(stack, team, ONLY_DEAR)
        assert stack.simulator.vendors["dashscope"].engine.counts["query"] == 0
        await reconciled(stack)
        (attempt,) = (await stack.task(task.id)).attempts
        assert (attempt.exposure, attempt.upstream_task_id) == (DEAR, None)


async def test_a_task_that_waits_takes_a_job_that_the_list_shows_late(opened: Opened) -> None:
    async with opened(on_ambiguous="wait") as stack:
        team = await stack.team(credits=10)
        late = Script(accept_then="reset", unknown_ms=2_000, times=1)
        stack.simulator.script("dashscope", late)

        task = await made(stack, team, ONLY_DEAR)

        assert [a.outcome for a in task.attempts] == [Outcome.DELIVERED]
        assert (task.cost, task.exposure) == (DEAR, 0)
        assert submits(stack, "dashscope") == 1


async def test_a_job_that_is_listed_too_late_is_waste(opened: Opened) -> None:
    async with opened(on_ambiguous="fail") as stack:
        team = await stack.team(credits=10)
        late = Script(accept_then="reset", unknown_ms=3_000, times=1)
        stack.simulator.script("dashscope", late)
        task = await made(stack, team, ONLY_DEAR)
        assert task.exposure == DEAR
        await asyncio.sleep(3)

        await reconciled(stack)

        after = await stack.task(task.id)
        (attempt,) = after.attempts
        assert (attempt.resolution, attempt.outcome) == ("billed", Outcome.UNKNOWN)
        assert (after.cost, after.exposure, after.charged) == (DEAR, 0, 0)
        assert stack.simulator.bill("dashscope").amount_usd_micros == after.cost
        await stack.assert_ledger_is_clean()


async def test_two_lost_at_once_take_nobody_s_pictures_and_cost_what_was_billed(
    opened: Opened,
) -> None:
    async with opened(on_ambiguous="fail") as stack:
        team = await stack.team(credits=10)
        stack.simulator.script("dashscope", Script(accept_then="reset", times=2))

        pair = await asyncio.gather(*(made(stack, team, ONLY_DEAR) for _ in range(2)))

        assert [task.images for task in pair] == [(), ()]
        await reconciled(stack)
        found: list[Attempt] = [(await stack.task(task.id)).attempts[0] for task in pair]
        assert len({one.upstream_task_id for one in found} - {None}) == 2
        billed = stack.simulator.bill("dashscope").amount_usd_micros
        assert sum(one.cost for one in found) == billed == 2 * DEAR
        await stack.assert_ledger_is_clean()


async def test_a_list_that_cannot_be_read_leaves_everything_as_it_is(stack: Stack) -> None:
    team = await stack.team(credits=10)
    stack.simulator.script("dashscope", Script(accept_then="reset", times=1))
    stack.simulator.script("dashscope", Script(on="query", error="server_error"))

    task = await made(stack, team, FIRST_DEAR)

    assert [a.outcome for a in task.attempts] == [Outcome.UNKNOWN, Outcome.DELIVERED]
    await reconciled(stack)
    assert (await stack.task(task.id)).exposure == DEAR
    ((due_ms, pause_ms),) = stack.gateway.reconcile.lost._asked.values()
    assert (due_ms > stack.gateway.reconcile.clock.now_ms(), pause_ms) == (True, 120_000)


async def test_a_list_of_too_many_pages_proves_nothing(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    team = await stack.team(credits=10)
    monkeypatch.setattr(task_lists, "PAGES_MAX", 1)
    stack.simulator.script("dashscope", Script(accept_then="reset", times=1))
    task = await made(stack, team, FIRST_DEAR)
    assert [a.outcome for a in task.attempts] == [Outcome.UNKNOWN, Outcome.DELIVERED]
    await reconciled(stack)
    assert (await stack.task(task.id)).exposure == DEAR
