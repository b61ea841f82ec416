"""The unmodified OpenAI SDK against a running gateway, at the root and under its prefix."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from gateway.simulator import Script
from tests.support.stack import MODEL, Stack, Team, picture_size


def sdk(stack: Stack, team: Team, prefix: str, **options: Any) -> OpenAI:
    return OpenAI(base_url=f"{stack.url}{prefix}", api_key=team.key, **options)


@pytest.mark.parametrize("prefix", ["/v1", "/openai/v1"])
async def test_generate_gives_links(stack: Stack, prefix: str) -> None:
    team = await stack.team()
    with sdk(stack, team, prefix) as client:
        answer = await asyncio.to_thread(
            client.images.generate, model=MODEL, prompt="a kite", size="1024x1024", n=2
        )

    assert answer.data is not None
    assert len(answer.data) == 2
    async with httpx.AsyncClient(trust_env=False) as plain:
        content = (await plain.get(str(answer.data[0].url))).content
    assert picture_size(content) == (1024, 1024)


@pytest.mark.parametrize("prefix", ["/v1", "/openai/v1"])
async def test_generate_gives_base64(stack: Stack, prefix: str) -> None:
    team = await stack.team()
    with sdk(stack, team, prefix) as client:
        answer = await asyncio.to_thread(
            client.images.generate, model=MODEL, prompt="a kite", response_format="b64_json"
        )

    assert answer.data is not None
    picture_size(base64.b64decode(str(answer.data[0].b64_json)))


async def test_an_alias_of_gpt_image_answers_base64_by_itself(stack: Stack) -> None:
    team = await stack.team()
    with sdk(stack, team, "/openai/v1") as client:
        answer = await asyncio.to_thread(
            client.images.generate, model="gpt-image-1", prompt="a kite", size="1024x1024"
        )

    assert answer.data is not None
    picture_size(base64.b64decode(str(answer.data[0].b64_json)))


async def test_wan_parameters_travel_in_extra_body(stack: Stack) -> None:
    team = await stack.team()
    with sdk(stack, team, "/openai/v1") as client:
        answer = await asyncio.to_thread(
            client.images.generate,
            model="wan2.7-image",
            prompt="four seasons",
            extra_body={"enable_sequential": True, "n": 4, "seed": 7},
        )

    assert answer.data is not None
    assert len(answer.data) == 4


async def test_the_models_page_lists_aliases(stack: Stack) -> None:
    team = await stack.team()
    with sdk(stack, team, "/openai/v1") as client:
        models = await asyncio.to_thread(lambda: [model.id for model in client.models.list()])

    assert "gpt-image-1" in models
    assert MODEL in models


async def test_errors_are_the_sdks_own_classes(stack: Stack) -> None:
    team, poor = await stack.team(), await stack.team(credits=0)
    wrong = Team(team.id, team.name, "sk-igw-wrong", "")

    def call(caller: Team, **changes: Any) -> None:
        with sdk(stack, caller, "/openai/v1", max_retries=0) as client:
            client.images.generate(**{"model": MODEL, "prompt": "a kite", **changes})

    with pytest.raises(openai.AuthenticationError):
        await asyncio.to_thread(call, wrong)
    with pytest.raises(openai.NotFoundError) as unknown:
        await asyncio.to_thread(call, team, model="wan2.5-t2i-previeu")
    with pytest.raises(openai.BadRequestError) as many:
        await asyncio.to_thread(call, team, n=40)
    with pytest.raises(openai.APIStatusError) as unpaid:
        await asyncio.to_thread(call, poor)

    assert MODEL in str(unknown.value)
    assert many.value.param == "n"
    assert unpaid.value.status_code == 402


async def test_a_failed_picture_is_not_bought_again_by_the_sdks_retries(stack: Stack) -> None:
    team = await stack.team(credits=10)
    for vendor in ("evolink", "dashscope"):
        stack.simulator.script(vendor, Script(fail="content_policy"))

    def call() -> None:
        with sdk(stack, team, "/openai/v1", max_retries=2) as client:
            client.images.generate(model=MODEL, prompt="a kite")

    with pytest.raises(openai.APIStatusError):
        await asyncio.to_thread(call)

    listed = (await stack.get(team, "/v1/tasks")).json()
    assert len(listed["data"]) == 1
    assert await stack.credits(team) == ("10", "0", "10")
