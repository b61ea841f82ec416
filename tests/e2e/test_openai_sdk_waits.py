"""What the official OpenAI SDKs make of waits that end early and of a database that is away."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from gateway.embedded import EmbeddedPostgres
from gateway.simulator import Script
from tests.support.engines import execute
from tests.support.sdk import Callers, SdkProcess, Sdks, sdk_processes
from tests.support.stack import MODEL, Stack, running_stack

PREFIX = "/openai/v1"
KITE = {"model": MODEL, "prompt": "a kite"}


@contextmanager
def away(server: EmbeddedPostgres, database_url: str) -> Iterator[None]:
    """Make a database unreachable, its open connections included, until the block ends."""
    name = urlsplit(database_url).path.strip("/")
    execute(
        server,
        f"ALTER DATABASE {name} ALLOW_CONNECTIONS false",
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
        f"ALTER DATABASE {name} RENAME TO {name}_away",
    )
    try:
        yield
    finally:
        execute(
            server,
            f"ALTER DATABASE {name}_away RENAME TO {name}",
            f"ALTER DATABASE {name} ALLOW_CONNECTIONS true",
        )


async def assert_each_paid_for_one(stack: Stack, callers: Callers) -> None:
    for team in callers.teams:
        (task,) = (await stack.get(team, "/v1/tasks")).json()["data"]
        assert (await stack.ended(team, task["id"]))["status"] == "completed"
        assert await stack.credits(team) == ("8.5", "0", "8.5")


@pytest.fixture(scope="module")
def processes() -> Iterator[list[SdkProcess]]:
    with sdk_processes("openai_calls") as found:
        yield found


@pytest.fixture(autouse=True)
def quick_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.domain.machine.POLL_DELAYS_MS", (50,))


async def test_a_wait_that_ends_is_a_504_and_a_repeat_joins_the_task_instead_of_buying_again(
    tmp_path: Path, database_url: str, redis_url: str, processes: list[SdkProcess]
) -> None:
    async with running_stack(tmp_path, database_url, redis_url, sync_wait_seconds=1) as stack:
        sdks = Sdks(processes, stack)
        patient, curt = [await sdks.callers(PREFIX, credits=10) for _ in range(2)]
        stack.simulator.script("evolink", Script(work_ms=1_200))

        errors = await curt.refused("images.generate", **KITE, options={"max_retries": 0})
        answers = await patient.call("images.generate", **KITE, options={"max_retries": 2})

        for error in errors:
            assert (error["class"], error["status_code"]) == ("InternalServerError", 504)
        assert [len(answer["data"]) for answer in answers] == [1] * len(answers)
        await assert_each_paid_for_one(stack, curt)
        await assert_each_paid_for_one(stack, patient)


async def test_while_the_database_is_away_a_call_is_a_503_and_a_repeat_succeeds_when_it_is_back(
    stack: Stack, processes: list[SdkProcess], postgres: EmbeddedPostgres, database_url: str
) -> None:
    sdks = Sdks(processes, stack)
    patient, curt = [await sdks.callers(PREFIX, credits=10) for _ in range(2)]
    for callers in (patient, curt):
        await callers.call("models.list")

    with away(postgres, database_url):
        errors = await curt.refused("images.generate", **KITE, options={"max_retries": 0})
        waiting = asyncio.create_task(
            patient.call("images.generate", **KITE, options={"max_retries": 8})
        )
        await asyncio.sleep(0.3)
    answers = await waiting

    for error, team in zip(errors, curt.teams, strict=True):
        assert (error["class"], error["status_code"]) == ("InternalServerError", 503)
        assert error["code"] == "store_unavailable"
        assert (await stack.get(team, "/v1/tasks")).json()["data"] == []
    assert [len(answer["data"]) for answer in answers] == [1] * len(answers)
    await assert_each_paid_for_one(stack, patient)
