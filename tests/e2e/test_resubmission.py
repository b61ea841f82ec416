"""A submit whose answer is lost is sent again where the vendor knows it by its key: one bill."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.domain.task import Outcome
from gateway.simulator import Script
from tests.support.stack import CONFIGURATION, MODEL, Stack, running_stack

LANTERN = {"model": MODEL, "prompt": "a paper lantern", "async": False}
HASTY = CONFIGURATION.replace(
    "[upstreams.cheap]", "[upstreams.cheap]\nsubmit_timeout_seconds = 1"
).replace("[upstreams.dear]", '[upstreams.dear]\non_ambiguous = "fail"')


@pytest.fixture
async def hasty(tmp_path: Path, database_url: str, redis_url: str) -> AsyncIterator[Stack]:
    """A gateway that waits one second for the cheap vendor to answer a submit."""
    async with running_stack(tmp_path, database_url, redis_url, configuration=HASTY) as running:
        yield running


def submits(stack: Stack, vendor: str) -> int:
    return int(stack.simulator.vendors[vendor].engine.counts["submit"])


@pytest.mark.parametrize(
    "lost",
    [
        Script(accept_then="timeout", times=1),
        Script(accept_then="reset", times=1),
        Script(reset=True, times=1),
        Script(answer="html", status=502, times=1),
        Script(answer="garbage", times=1),
    ],
    ids=["timeout", "reset", "reset before acceptance", "a proxy's page", "garbage"],
)
async def test_a_lost_answer_is_asked_for_again_and_bought_once(hasty: Stack, lost: Script) -> None:
    team = await hasty.team(credits=10)
    hasty.simulator.script("evolink", lost)

    answer = await hasty.post(team, LANTERN)

    task = await hasty.task(answer.headers["x-task-id"])
    assert answer.status_code == 200
    assert [(a.upstream, a.outcome) for a in task.attempts] == [("cheap", Outcome.DELIVERED)]
    assert (task.cost, task.exposure) == (22_000, 0)
    assert submits(hasty, "evolink") == 2
    assert hasty.simulator.bill("evolink").images == 1
    assert submits(hasty, "dashscope") == 0
    assert await hasty.credits(team) == ("8.5", "0", "8.5")
    await hasty.assert_ledger_is_clean()


async def test_a_vendor_that_forbids_a_repetition_is_asked_once(hasty: Stack) -> None:
    team = await hasty.team(credits=10)
    hasty.simulator.script("evolink", Script(error="idempotency_conflict"))

    answer = await hasty.post(team, LANTERN)

    task = await hasty.task(answer.headers["x-task-id"])
    assert [a.outcome for a in task.attempts] == [Outcome.UNKNOWN, Outcome.DELIVERED]
    assert submits(hasty, "evolink") == 1
    assert task.exposure == 22_000


async def test_a_vendor_that_knows_no_keys_is_never_sent_a_submit_twice(hasty: Stack) -> None:
    team = await hasty.team(credits=10)
    hasty.simulator.script("dashscope", Script(accept_then="reset", times=1))
    only = {"provider": {"only": ["dear"]}}

    answer = await hasty.post(team, {**LANTERN, **only})

    assert answer.status_code >= 500
    task = await hasty.task(answer.headers["x-task-id"])
    assert [a.outcome for a in task.attempts] == [Outcome.UNKNOWN]
    assert submits(hasty, "dashscope") == 1
