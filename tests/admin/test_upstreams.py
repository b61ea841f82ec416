"""Upstreams drained and resumed live, by `/admin/v1` and by command; a free test of an account."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.domain.health import Signal, SignalKind
from gateway.simulator import Script, Simulator, SimulatorConfig
from tests.support.stack import CONFIGURATION, MODEL, Stack, running_stack

ADMIN = {"authorization": "Bearer the-admin-key"}
ELSEWHERE = """
[upstreams.nowhere]
adapter = "evolink"
base_url = "http://127.0.0.1:9/v1"
api_key = "k"
allow_private = true

[upstreams.mute]
adapter = "openai"
base_url = "http://127.0.0.1:9/v1"
api_key = "k"
allow_private = true
"""
LANTERN = {"model": MODEL, "prompt": "a lantern"}


@pytest.fixture
async def stack(tmp_path: Path, database_url: str, redis_url: str) -> AsyncIterator[Stack]:
    async with running_stack(
        tmp_path, database_url, redis_url, admin_key="the-admin-key"
    ) as running:
        yield running


async def admin(stack: Stack, method: str, path: str) -> httpx.Response:
    return await stack.client.request(method, f"/admin/v1{path}", headers=ADMIN)


async def served_by(stack: Stack, team: Any) -> tuple[str, tuple[str, ...]]:
    """Make a picture; gives who made it and the route in words."""
    created = await stack.post(team, LANTERN)
    await stack.ended(team, created.json()["id"])
    task = await stack.task(created.json()["id"])
    return task.attempts[-1].upstream, task.route


async def test_a_drained_upstream_gets_nothing_new_until_it_is_resumed(stack: Stack) -> None:
    team = await stack.team()
    assert (await served_by(stack, team))[0] == "cheap"
    drained = await admin(stack, "POST", "/upstreams/cheap/drain")
    assert drained.json()["drained_at"] is not None

    upstream, words = await served_by(stack, team)
    assert (upstream, "not cheap: drained by the operator" in words) == ("dear", True)
    quote = await stack.post(team, LANTERN, "/v1/images/quote")
    assert "drained by the operator" in quote.text
    again = await admin(stack, "POST", "/upstreams/cheap/drain")
    assert again.json() == drained.json()

    resumed = await admin(stack, "POST", "/upstreams/cheap/resume")
    assert resumed.json()["drained_at"] is None
    assert (await served_by(stack, team))[0] == "cheap"
    log = (await admin(stack, "GET", "/audit?subject=cheap")).json()["data"]
    assert [entry["action"] for entry in log] == ["upstream.resume", "upstream.drain"]


async def test_what_runs_at_a_drained_upstream_is_finished_there(stack: Stack) -> None:
    team = await stack.team()
    stack.simulator.script("evolink", Script(work_ms=1_500, times=1))
    created = await stack.post(team, LANTERN)
    async with asyncio.timeout(10):
        while (last := (await stack.task(created.json()["id"])).last) is None or not last.is_live:
            await asyncio.sleep(0.02)
    await admin(stack, "POST", "/upstreams/cheap/drain")
    await stack.ended(team, created.json()["id"])
    assert [a.upstream for a in (await stack.task(created.json()["id"])).attempts] == ["cheap"]


async def test_a_resume_ends_the_bench_of_an_account(stack: Stack) -> None:
    health = stack.gateway.core.submit.outlook.health
    bad = Signal(SignalKind.ACCOUNT, reason="the key is wrong")
    await health.observe("cheap", "*", bad, stack.gateway.core.clock.now_ms())
    assert await health.circuits()
    await admin(stack, "POST", "/upstreams/cheap/resume")
    assert not await health.circuits()


async def test_upstreams_are_listed_and_unknown_ones_named(stack: Stack) -> None:
    found = (await admin(stack, "GET", "/upstreams")).json()["data"]
    assert [one["name"] for one in found] == ["cheap", "dear", "openai"]
    assert MODEL in found[0]["models"]
    assert "api_key" not in found[0]
    for verb in ("drain", "resume"):
        wrong = await admin(stack, "POST", f"/upstreams/nobody/{verb}")
        assert wrong.status_code == 404
        assert "cheap, dear, openai" in wrong.json()["error"]["message"]


@pytest.fixture
def gateway(
    tmp_path: Path, database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """Run commands beside a simulator that is somewhere else."""
    with asyncio.Runner() as runner:
        simulator = Simulator(SimulatorConfig())
        runner.run(simulator.__aenter__())
        urls = {name: simulator.base_url(name) for name in ("evolink", "dashscope", "openai")}
        config = tmp_path / "gateway.toml"
        text = CONFIGURATION.format(**urls)
        config.write_text(f"{text}{ELSEWHERE}", encoding="utf-8")
        monkeypatch.setenv("GATEWAY_CONFIG", str(config))
        monkeypatch.setenv("GATEWAY_DATABASE_URL", database_url)
        monkeypatch.setenv("GATEWAY_REDIS_URL", redis_url)

        async def call(*words: str) -> tuple[int, Any]:
            def invoke() -> Any:
                return CliRunner().invoke(app, [*words, "--json"])

            result = await asyncio.to_thread(invoke)
            return result.exit_code, json.loads(result.stdout or result.stderr)

        yield lambda *words: runner.run(call(*words))
        runner.run(simulator.__aexit__(None, None, None))


def test_commands_drain_resume_and_list(gateway: Any) -> None:
    assert gateway("upstream", "drain", "cheap") == (0, {"name": "cheap", "drained": True})
    _, rows = gateway("upstream", "list")
    assert {row["name"]: row["drained_at"] is not None for row in rows} == {
        "cheap": True,
        "dear": False,
        "openai": False,
        "nowhere": False,
        "mute": False,
    }
    assert gateway("upstream", "resume", "cheap") == (0, {"name": "cheap", "drained": False})
    code, error = gateway("upstream", "drain", "nobody")
    assert code == 1
    assert "cheap, dear, openai" in error["error"]


def test_a_test_says_whether_an_account_is_well_and_costs_nothing(gateway: Any) -> None:
    for name in ("cheap", "dear", "openai"):
        code, found = gateway("upstream", "test", name)
        assert (code, found["ok"]) == (0, True), found
    for name in ("nowhere", "mute"):
        code, found = gateway("upstream", "test", name)
        assert (code, found["ok"]) == (1, False), found
