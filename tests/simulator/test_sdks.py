"""The vendors' own SDKs, unmodified, take the simulator for the vendor."""

from __future__ import annotations

import asyncio
import base64
from http import HTTPStatus
from typing import Any

import pytest

from gateway.simulator import Script
from tests.simulator.calls import LANTERNS, opened, png


@pytest.fixture
def openai(quick):
    from openai import AsyncOpenAI

    return AsyncOpenAI(api_key="sim-key", base_url=quick.base_url("openai"), max_retries=0)


@pytest.fixture
def dashscope(quick, monkeypatch):
    import dashscope

    monkeypatch.setattr(dashscope, "base_http_api_url", quick.base_url("dashscope"))
    monkeypatch.setattr(dashscope, "api_key", "sim-key")
    return dashscope


async def test_openai_generates_edits_and_streams(openai):
    async with openai:
        made = await openai.images.generate(model="gpt-image-1.5", prompt=LANTERNS, n=2)
        assert len(made.data) == 2
        assert made.usage.input_tokens_details.text_tokens == 6
        edited = await openai.images.edit(
            model="gpt-image-1.5", prompt="add a kite", image=[("a.png", png()), ("b.png", png())]
        )
        assert opened(base64.b64decode(edited.data[0].b64_json)).size == (1024, 1024)
        stream = await openai.images.generate(
            model="gpt-image-1.5", prompt=LANTERNS, stream=True, partial_images=1
        )
        assert [event.type async for event in stream] == [
            "image_generation.partial_image",
            "image_generation.completed",
        ]
        assert "gpt-image-2" in [model.id async for model in openai.models.list()]


async def test_openai_raises_its_own_exceptions(quick, openai):
    from openai import BadRequestError, RateLimitError

    quick.script("openai", Script(error="content_policy", times=1))
    async with openai:
        with pytest.raises(BadRequestError) as refused:
            await openai.images.generate(model="gpt-image-1.5", prompt=LANTERNS)
        assert refused.value.code == "moderation_blocked"
        assert (refused.value.request_id or "").startswith("req_")
        quick.script("openai", Script(error="rate", times=1))
        with pytest.raises(RateLimitError):
            await openai.images.generate(model="gpt-image-1.5", prompt=LANTERNS)


async def test_dashscope_calls_and_lists_and_cancels(quick, dashscope):
    synthesis = dashscope.ImageSynthesis
    done: Any = await asyncio.to_thread(
        synthesis.call, model="wan2.5-t2i-preview", prompt=LANTERNS, n=2, size="1280*1280"
    )
    assert (done.status_code, done.output.task_status) == (HTTPStatus.OK, "SUCCEEDED")
    assert all((result.url or "").startswith("http://") for result in done.output.results)
    quick.script("dashscope", Script(queue_ms=60_000))
    waiting = await asyncio.to_thread(
        synthesis.async_call, model="wan2.5-t2i-preview", prompt=LANTERNS
    )
    cancelled = await asyncio.to_thread(synthesis.cancel, waiting)
    assert cancelled.status_code == HTTPStatus.OK
    seen = await asyncio.to_thread(synthesis.fetch, waiting)
    assert seen.output.task_status == "CANCELED"
    listed = await asyncio.to_thread(synthesis.list)
    assert listed.output["total"] == 2


async def test_dashscope_sees_failures_as_the_vendor_sends_them(quick, dashscope):
    quick.script("dashscope", Script(fail="content_policy"))
    failed = await asyncio.to_thread(
        dashscope.ImageSynthesis.call, model="wan2.5-t2i-preview", prompt=LANTERNS
    )
    assert failed.output.task_status == "FAILED"
    assert failed.output.code == "DataInspectionFailed"


async def test_dashscope_generates_with_a_local_file(quick, dashscope, tmp_path):
    from dashscope.aigc.image_generation import ImageGeneration
    from dashscope.api_entities.dashscope_response import Message

    picture = tmp_path / "kite.png"
    picture.write_bytes(png())
    content = [{"text": LANTERNS}, {"image": f"file://{picture}"}]
    messages = [Message(role="user", content=content)]
    answer: Any = await asyncio.to_thread(
        ImageGeneration.call, model="wan2.7-image", messages=messages, n=1
    )
    assert answer.status_code == HTTPStatus.OK, answer.message
    assert answer.output.choices[0].message.content[0]["image"].startswith("http://")
