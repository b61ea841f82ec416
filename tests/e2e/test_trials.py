"""One live task tries an upstream that was sick; the others say in their route why they did not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.domain.health import BENCH_MS, FAULTS_IN_A_ROW, Signal, SignalKind
from gateway.stores.valkey import health
from tests.support.stack import MODEL, Stack, running_stack


@pytest.fixture
async def stack(tmp_path: Path, database_url: str, redis_url: str) -> AsyncIterator[Stack]:
    async with running_stack(tmp_path, database_url, redis_url) as running:
        yield running


async def test_a_task_that_leaves_a_trial_to_another_says_so(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = stack.gateway.core.submit.outlook.health
    now_ms = stack.gateway.core.clock.now_ms()
    for _ in range(FAULTS_IN_A_ROW):
        await board.observe("cheap", MODEL, Signal(SignalKind.FAULT), now_ms - BENCH_MS - 1)
    # This process still believes that the trial is free when another process takes it.
    monkeypatch.setattr(health, "FRESH_S", 3_600.0)
    await board.circuits()
    await stack.gateway.advance.tools.health.circuits()
    other = health.ValkeyHealthBoard(stack.gateway.valkey)
    await other.circuits()
    assert await other.claim_trial("cheap", MODEL, now_ms)

    team = await stack.team()
    created = await stack.post(team, {"model": MODEL, "prompt": "a lantern"})
    await stack.ended(team, created.json()["id"])
    task = await stack.task(created.json()["id"])
    assert [attempt.upstream for attempt in task.attempts] == ["dear"]
    assert task.route == (
        "1. cheap: $0.022",
        "2. dear: $0.029",
        "not cheap: recovering, another task is trying it",
    )
