"""How upstreams stand, by `/admin/v1`, in `/metrics` and by command; a reload that all hear of."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.domain.health import Plane, Signal, SignalKind
from gateway.wiring.reloads import LOOK_S
from gateway.wiring.runtime import open_gateway
from tests.support.stack import CONFIGURATION, MODEL, Stack, running_stack

ADMIN = {"authorization": "Bearer the-admin-key"}
LIMITED = CONFIGURATION.replace(
    'api_key = "key-of-cheap"',
    'api_key = "key-of-cheap"\nmax_in_flight = 7\ndaily_cost_usd = "1.5"\nquery_per_second = 50',
)
FAULT = Signal(SignalKind.FAULT, reason="it answers 500", plane=Plane.COMPLETION)


@pytest.fixture
async def stack(tmp_path: Path, database_url: str, redis_url: str) -> AsyncIterator[Stack]:
    async with running_stack(
        tmp_path, database_url, redis_url, admin_key="the-admin-key", configuration=LIMITED
    ) as running:
        yield running


async def upstreams(stack: Stack) -> dict[str, Any]:
    answer = await stack.client.get("/admin/v1/upstreams", headers=ADMIN)
    return {one["name"]: one for one in answer.json()["data"]}


async def reload(stack: Stack) -> httpx.Response:
    return await stack.client.post("/admin/v1/catalog/reload", headers=ADMIN)


async def bench(stack: Stack) -> None:
    """Make the cheap upstream sick for one model."""
    health = stack.gateway.core.submit.outlook.health
    for _ in range(5):
        await health.observe("cheap", MODEL, FAULT, stack.gateway.core.clock.now_ms())


async def test_an_upstream_is_shown_with_its_limits_and_what_is_used_of_them(stack: Stack) -> None:
    team = await stack.team()
    created = await stack.post(team, {"model": MODEL, "prompt": "a lantern"})
    await stack.ended(team, created.json()["id"])
    # What is spent is looked up twice a second.
    async with asyncio.timeout(5):
        while (one := (await upstreams(stack))["cheap"])["spent_today_usd"] == "0":
            await asyncio.sleep(0.1)
    assert one["spent_today_usd"] == "0.022"
    assert one["daily_cost_usd"] == "1.5"
    assert (one["in_flight"], one["max_in_flight"]) == (0, 7)
    assert (one["polls_waiting"], one["poll_lag_ms"]) == (0, 0)
    assert (one["state"], one["circuits"], one["drained_at"]) == ("closed", [], None)
    dear = (await upstreams(stack))["dear"]
    assert (dear["spent_today_usd"], dear["daily_cost_usd"]) == (None, None)


async def test_a_sick_upstream_is_shown_with_the_reason_and_the_end_of_its_rest(
    stack: Stack,
) -> None:
    await bench(stack)
    one = (await upstreams(stack))["cheap"]
    assert one["state"] == "open"
    (circuit,) = one["circuits"]
    assert (circuit["model"], circuit["state"]) == (MODEL, "open")
    assert circuit["reason"] == "it answers 500"
    assert circuit["until"] is not None


async def test_metrics_have_the_circuit_of_every_model_and_account(stack: Stack) -> None:
    await bench(stack)
    text = (await stack.client.get("/metrics")).text
    assert f'igw_breaker_state{{model="{MODEL}",upstream="cheap"}} 2.0' in text
    assert f'igw_breaker_state{{model="{MODEL}",upstream="dear"}} 0.0' in text
    assert 'igw_breaker_state{model="*",upstream="cheap"} 0.0' in text
    assert 'igw_upstream_in_flight{upstream="cheap"} 0.0' in text
    assert 'igw_upstream_spent_usd{upstream="cheap"} 0.0' in text
    assert 'igw_upstream_spent_usd{upstream="dear"}' not in text
    assert 'igw_polls_waiting{upstream="cheap"} 0.0' in text
    assert 'igw_upstream_drained{upstream="cheap"} 0.0' in text


async def test_a_task_that_the_api_ends_is_counted_there(
    tmp_path: Path, database_url: str, redis_url: str
) -> None:
    counted = f'igw_tasks_finished_total{{model="{MODEL}",status="cancelled"}} '

    async def figure(running: Stack) -> float:
        text = (await running.client.get("/metrics")).text
        lines = (line for line in text.splitlines() if line.startswith(counted))
        return sum(float(line.removeprefix(counted)) for line in lines)

    async with running_stack(tmp_path, database_url, redis_url, workers=0) as running:
        team, before = await running.team(), await figure(running)
        created = await running.post(team, {"model": MODEL, "prompt": "a lantern"})
        path = f"/v1/tasks/{created.json()['id']}/cancel"
        assert (await running.post(team, {}, path)).status_code == 200
        assert await figure(running) == before + 1


async def test_a_reload_takes_the_new_prices_in_every_process(
    stack: Stack, database_url: str, redis_url: str
) -> None:
    team = await stack.team()
    config = stack.gateway.settings.config
    assert config is not None
    settings = stack.gateway.settings
    async with open_gateway(settings, database_url=database_url, redis_url=redis_url) as other:
        await asyncio.sleep(0.2)
        text = config.read_text(encoding="utf-8")
        config.write_text(text.replace('price_credits = "1.5"', 'price_credits = "4"'))
        answer = await reload(stack)
        assert answer.status_code == 200
        assert [one["name"] for one in answer.json()["data"]] == ["cheap", "dear", "openai"]
        quote = await stack.post(team, {"model": MODEL, "prompt": "x"}, "/v1/images/quote")
        assert quote.json()["credits"] == "4"
        async with asyncio.timeout(LOOK_S + 1):
            while other.configuration.catalog.price(MODEL, "1K") != 4_000_000:
                await asyncio.sleep(0.02)
    log = (await stack.client.get("/admin/v1/audit?subject=gateway.toml", headers=ADMIN)).json()
    assert [entry["action"] for entry in log["data"]] == ["catalog.reload"]


async def test_a_bad_file_is_refused_with_every_problem_and_changes_nothing(stack: Stack) -> None:
    team = await stack.team()
    config = stack.gateway.settings.config
    assert config is not None
    text = config.read_text(encoding="utf-8")
    broken = text.replace('price_credits = "1.5"', 'price_credits = "-4"')
    config.write_text(broken.replace('adapter = "dashscope"', 'adapter = "dashscop"'))
    answer = await reload(stack)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["code"] == "invalid_configuration"
    assert "upstreams.dear.adapter" in answer.text
    assert "price_credits" in answer.text
    assert set(await upstreams(stack)) == {"cheap", "dear", "openai"}
    quote = await stack.post(team, {"model": MODEL, "prompt": "x"}, "/v1/images/quote")
    assert quote.json()["credits"] == "1.5"
    log = (await stack.client.get("/admin/v1/audit?subject=gateway.toml", headers=ADMIN)).json()
    assert log["data"] == []


async def test_commands_list_standings_and_reload_running_processes(
    stack: Stack, database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = stack.gateway.settings
    monkeypatch.setenv("GATEWAY_CONFIG", str(settings.config))
    monkeypatch.setenv("GATEWAY_DATABASE_URL", database_url)
    monkeypatch.setenv("GATEWAY_REDIS_URL", redis_url)
    await bench(stack)

    async def call(*words: str) -> Any:
        result = await asyncio.to_thread(CliRunner().invoke, app, [*words])
        assert result.exit_code == 0, result.output
        return result.stdout

    listed = await call("upstream", "list")
    assert f"{MODEL} open until" in listed
    assert "it answers 500" in listed
    assert "0 of 7" in listed
    (cheap, *_) = json.loads((await call("upstream", "list", "--json")).splitlines()[-1])
    assert (cheap["name"], cheap["state"], cheap["max_in_flight"]) == ("cheap", "open", 7)

    config = settings.config
    assert config is not None
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace("max_in_flight = 7", "max_in_flight = 8"))
    asked = json.loads((await call("catalog", "reload", "--json")).splitlines()[-1])
    assert asked == {"asked": True, "upstreams": ["cheap", "dear", "openai"]}
    async with asyncio.timeout(LOOK_S + 1):
        while (await upstreams(stack))["cheap"]["max_in_flight"] != 8:
            await asyncio.sleep(0.02)
