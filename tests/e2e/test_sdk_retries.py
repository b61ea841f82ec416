"""An SDK's automatic retry finds the task of its first try: it never buys twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from openai import APIStatusError, OpenAI

from gateway.simulator import Script
from tests.support.cutting import cutting_proxy
from tests.support.stack import MODEL, Stack, Team, running_stack

LANTERN: dict[str, Any] = {"model": MODEL, "prompt": "a paper lantern"}


def counted(retries: int) -> dict[str, str]:
    return {"x-stainless-lang": "python", "x-stainless-retry-count": str(retries)}


@pytest.fixture
async def hasty(tmp_path: Path, database_url: str, redis_url: str) -> AsyncIterator[Stack]:
    """A gateway whose synchronous calls wait for one second only."""
    async with running_stack(
        tmp_path, database_url, redis_url, work_ms=(3_500, 3_500), sync_wait_seconds=1
    ) as running:
        yield running


async def tasks_of(stack: Stack, team: Team) -> list[dict[str, Any]]:
    tasks: list[dict[str, Any]] = (await stack.get(team, "/v1/tasks")).json()["data"]
    return tasks


def accepted(stack: Stack, team: Team, count: int = 1) -> Callable[[], Awaitable[None]]:
    """Give what returns once the team has so many tasks."""

    async def wait() -> None:
        async with asyncio.timeout(10):
            while len(await tasks_of(stack, team)) < count:
                await asyncio.sleep(0.02)

    return wait


@pytest.mark.parametrize("prefix", ["/v1", "/openai/v1"])
async def test_a_connection_cut_in_mid_wait_buys_one_picture(stack: Stack, prefix: str) -> None:
    team = await stack.team(credits=10)
    stack.simulator.script("evolink", Script(work_ms=900))
    async with cutting_proxy(stack.url, accepted(stack, team)) as url:
        with OpenAI(base_url=url + prefix, api_key=team.key, max_retries=2) as client:
            answer = await asyncio.to_thread(
                lambda: client.images.with_raw_response.generate(**LANTERN)
            )

    (task,) = await tasks_of(stack, team)
    assert answer.retries_taken == 1
    assert answer.headers["x-task-id"] == task["id"]
    assert "idempotent-replayed" not in answer.headers
    assert len(answer.parse().data or ()) == 1
    assert stack.simulator.bill("evolink").images == 1
    assert await stack.credits(team) == ("8.5", "0", "8.5")
    await stack.assert_ledger_is_clean()


async def test_two_equal_calls_cut_at_once_get_a_picture_each(stack: Stack) -> None:
    team = await stack.team(credits=10)
    stack.simulator.script("evolink", Script(work_ms=900))

    def generate(url: str) -> str:
        with OpenAI(base_url=url + "/v1", api_key=team.key) as client:
            return client.images.with_raw_response.generate(**LANTERN).headers["x-task-id"]

    async with cutting_proxy(stack.url, accepted(stack, team, 2), cuts=2) as url:
        ids = await asyncio.gather(*(asyncio.to_thread(generate, url) for _ in range(2)))

    assert len(set(ids)) == 2
    assert stack.simulator.bill("evolink").images == 2


async def test_first_tries_are_calls_of_their_own(stack: Stack) -> None:
    team = await stack.team()

    answers = [await stack.post(team, LANTERN, headers=counted(0)) for _ in range(2)]

    assert len({answer.json()["id"] for answer in answers}) == 2


async def test_a_retry_attaches_only_to_what_an_sdk_sent_with_the_same_key(stack: Stack) -> None:
    team, other = await stack.team(), await stack.team()
    by_hand = (await stack.post(team, LANTERN)).headers["x-task-id"]
    others = (await stack.post(other, LANTERN, headers=counted(0))).headers["x-task-id"]
    kite = await stack.post(team, {**LANTERN, "prompt": "a kite"}, headers=counted(0))

    retry = await stack.post(team, LANTERN, headers=counted(1))

    assert retry.status_code == 200
    assert retry.headers["x-task-id"] not in {by_hand, others, kite.headers["x-task-id"]}


async def test_a_retry_whose_first_try_never_arrived_is_found_by_the_next(stack: Stack) -> None:
    team = await stack.team()

    ids = [
        (await stack.post(team, LANTERN, headers=counted(tries))).headers["x-task-id"]
        for tries in (1, 2)
    ]

    assert ids[0] == ids[1]


@pytest.mark.parametrize(
    ("headers", "invited"),
    [
        ({}, "false"),
        ({"x-stainless-lang": "python"}, "false"),
        (counted(0), "true"),
        ({"idempotency-key": "order-17"}, "true"),
    ],
)
async def test_the_end_of_a_wait_invites_only_retries_that_attach(
    hasty: Stack, headers: dict[str, str], invited: str
) -> None:
    team = await hasty.team()

    answer = await hasty.post(team, {**LANTERN, "async": False}, headers=headers)

    assert answer.status_code == 504
    assert answer.headers["x-should-retry"] == invited
    assert answer.json()["task_id"] == answer.headers["x-task-id"]


async def test_the_sdk_waits_on_beyond_the_wait_limit(hasty: Stack) -> None:
    team = await hasty.team()
    with OpenAI(base_url=hasty.url + "/v1", api_key=team.key, max_retries=6) as client:
        answer = await asyncio.to_thread(lambda: client.images.generate(**LANTERN))

    assert len(answer.data or ()) == 1
    assert hasty.simulator.bill("evolink").images == 1
    assert len(await tasks_of(hasty, team)) == 1


async def test_a_failed_task_is_not_sent_again(stack: Stack) -> None:
    team = await stack.team()
    stack.simulator.script("evolink", Script(fail="content_policy"))
    with (
        OpenAI(base_url=stack.url + "/v1", api_key=team.key) as client,
        pytest.raises(APIStatusError) as caught,
    ):
        await asyncio.to_thread(lambda: client.images.generate(**LANTERN))

    assert caught.value.response.headers["x-should-retry"] == "false"
    assert len(await tasks_of(stack, team)) == 1
