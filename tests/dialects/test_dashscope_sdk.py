"""The official DashScope SDK, unmodified, against the dialect (providers/dashscope.md §7.3).

The numbers in brackets are that section's.
"""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import dashscope
import pytest
import requests
from dashscope.aigc import image_generation, image_synthesis, multimodal_conversation
from dashscope.api_entities.aio_session import close_shared_aio_session
from dashscope.api_entities.dashscope_response import Message
from dashscope.v2 import errors as sdk_errors

from gateway.dialects import DIALECTS
from gateway.domain.errors import InsufficientCredits, NoHealthyUpstream, RateLimited
from gateway.domain.request import Size
from tests.dialects.samples import PNG
from tests.dialects.served import TICKET, Served, served

TEXT2IMAGE = "/dashscope/api/v1/services/aigc/text2image/image-synthesis"
OLD, NEW = "wan2.5-t2i-preview", "wan2.6-t2i"
KEY: dict[str, Any] = {"api_key": "sk-test"}

# The SDK's annotations do not describe what it takes and gives.
ImageSynthesis: Any = image_synthesis.ImageSynthesis
AioImageSynthesis: Any = image_synthesis.AioImageSynthesis
ImageGeneration: Any = image_generation.ImageGeneration
MultiModalConversation: Any = multimodal_conversation.MultiModalConversation


@pytest.fixture
def here(monkeypatch) -> Iterator[Served]:
    with served(DIALECTS["dashscope"]) as state:
        monkeypatch.setattr(dashscope, "base_http_api_url", state.url)
        yield state


@pytest.fixture
def client(here) -> Iterator[dashscope.Client]:
    with dashscope.Client(api_key="sk-test", base_url=here.url, max_retries=0) as made:
        yield made


def message(text, *pictures):
    content = [{"image": picture} for picture in pictures] + [{"text": text}]
    return [Message(role="user", content=content)]


def test_submit_fetch_and_wait(here):
    """[1] [3] [5] The 1.x API submits, polls and reads results."""
    submitted = ImageSynthesis.async_call(OLD, "a kite", n=2, size="1280*1280", **KEY)
    assert submitted.status_code == HTTPStatus.OK
    assert submitted.output.task_status == "PENDING"
    assert here.drafts[0].request.size == Size(1280, 1280)
    running = ImageSynthesis.fetch(submitted, **KEY)
    assert running.output.task_status == "RUNNING"
    done = ImageSynthesis.wait(submitted, **KEY)
    assert done.output.task_status == "SUCCEEDED"
    assert [result.url for result in done.output.results] == [
        "https://files.example.net/0.png",
        "https://files.example.net/1.png",
    ]
    assert done.usage.image_count == 2


def test_the_editing_model_goes_to_its_own_path(here):
    ImageSynthesis.async_call(
        "wan2.5-i2i-preview", "a kite", images=["https://a.example/1.png"], **KEY
    )
    assert here.calls[-1][1].endswith("/image2image/image-synthesis")
    assert len(here.drafts[0].request.images) == 1


def test_a_failed_task_ends_the_waiting_with_its_code(here):
    """[3] FAILED comes as HTTP 200."""
    done = ImageSynthesis.wait(ImageSynthesis.async_call(OLD, "fail", **KEY), **KEY)
    assert done.status_code == HTTPStatus.OK
    assert (done.output.task_status, done.output.code) == ("FAILED", "DataInspectionFailed")


def test_an_unknown_task_ends_the_waiting(here):
    """[4] 200 with UNKNOWN, not 404."""
    done = ImageSynthesis.wait("5f2d0f52-7f0b-4b6e-8f65-0a3f7c0f6d10", **KEY)
    assert (done.status_code, done.output.task_status) == (HTTPStatus.OK, "UNKNOWN")


@pytest.mark.parametrize(
    ("trouble", "status", "code"),
    [
        (InsufficientCredits(), 400, "Arrearage"),
        (RateLimited("slow down", 1), 429, "Throttling.RateQuota"),
        (NoHealthyUpstream(), 503, "ModelUnavailable"),
    ],
)
def test_a_refused_submit_has_code_message_and_request_id(here, trouble, status, code):
    """[2] Flat errors; [14] one request only."""
    here.trouble.append(trouble)
    refused = ImageSynthesis.async_call(OLD, "a kite", **KEY)
    assert (refused.status_code, refused.code) == (status, code)
    assert refused.message == trouble.message
    assert refused.request_id == "req_1"
    assert len(here.calls) == 1


def test_calling_a_task_path_synchronously_is_403(here):
    refused = ImageSynthesis.sync_call(OLD, "a kite", **KEY)
    assert (refused.status_code, refused.code) == (403, "AccessDenied")


def test_a_queued_task_is_cancelled_without_a_body(here):
    """[11] [13]"""
    queued = ImageSynthesis.async_call(OLD, "stay", **KEY)
    assert ImageSynthesis.cancel(queued, **KEY).status_code == HTTPStatus.OK
    done = ImageSynthesis.wait(queued, **KEY)
    assert done.output.task_status == "CANCELED"
    late = ImageSynthesis.cancel(queued, **KEY)
    assert (late.status_code, late.code) == (400, "UnsupportedOperation")


def test_the_old_sdk_lists_data(here):
    """[10]"""
    ImageSynthesis.async_call(OLD, "a kite", **KEY)
    listed = ImageSynthesis.list(page_no=1, page_size=5, **KEY)
    assert listed.output["total"] == 1
    assert listed.output["data"][0]["status"] == "PENDING"


def test_a_synchronous_call_has_choices(here):
    """[6]"""
    answer = ImageGeneration.call(NEW, messages=message("a kite"), n=1, **KEY)
    assert answer.status_code == HTTPStatus.OK
    content = answer.output.choices[0].message.content
    assert content[0]["image"] == "https://files.example.net/0.png"
    assert here.calls[0][1].endswith("/multimodal-generation/generation")


def test_a_synchronous_failure_has_the_code(here):
    answer = ImageGeneration.call(NEW, messages=message("fail"), **KEY)
    assert (answer.status_code, answer.code) == (400, "DataInspectionFailed")


def test_an_asynchronous_messages_task_has_choices_and_no_is_async(here):
    """[7] and the leaked is_async."""
    submitted = ImageGeneration.async_call(
        "wan2.7-image", messages=message("a kite", "https://a.example/1.png"), n=2, **KEY
    )
    assert submitted.output.task_status == "PENDING"
    done = ImageGeneration.wait(submitted, **KEY)
    links = [choice.message.content[0]["image"] for choice in done.output.choices]
    assert links == ["https://files.example.net/0.png", "https://files.example.net/1.png"]
    assert here.drafts[0].ignored == ()


def test_a_stream_is_parsed(here):
    answers = list(ImageGeneration.call(NEW, messages=message("a kite"), stream=True, n=1, **KEY))
    assert [answer.status_code for answer in answers] == [HTTPStatus.OK]
    assert here.drafts[0].stream is True


def test_conversations_reach_the_synchronous_path(here):
    messages = [{"role": "user", "content": [{"text": "a kite"}]}]
    answer = MultiModalConversation.call(
        model="wan2.7-image", messages=messages, watermark=False, n=1, size="2048*2048", **KEY
    )
    assert answer.status_code == HTTPStatus.OK
    assert here.drafts[0].request.watermark is False


async def test_the_async_client_uses_trailing_slashes(here):
    """[12] [13]: slashes, repeated parameters, a cancel with ``input: ""``."""
    done = await AioImageSynthesis.call(OLD, "a kite", n=1, **KEY)
    assert done.output.task_status == "SUCCEEDED"
    queued = await AioImageSynthesis.async_call(OLD, "stay", **KEY)
    cancelled = await AioImageSynthesis.cancel(queued, **KEY)
    await close_shared_aio_session()
    assert cancelled.status_code == HTTPStatus.OK
    assert any(path.endswith("/cancel/") for _, path in here.calls)


def test_the_object_api_creates_fetches_waits_and_lists(client, here):
    """[8] [9] [10] No top-level code, times as texts, ``tasks``."""
    job = client.images.jobs.create(model=OLD, prompt="a kite", n=1)
    assert job.status == "PENDING"
    done = client.images.jobs.wait(job, poll_interval=0.01)
    assert done.image_urls == ["https://files.example.net/0.png"]
    assert done.submitted_at == "2026-11-20 18:20:01.100"
    listed = client.images.jobs.list()
    assert [(task.task_id, task.status) for task in listed.tasks] == [(job.task_id, "SUCCEEDED")]
    assert listed.total == 1


def test_the_object_api_generates_with_every_model(client, here):
    """[7] wan2.7 through the text2image path has results; wan2.6 answers at once."""
    for model in ("wan2.7-image", NEW):
        job = client.images.generate(model=model, prompt="a kite", n=1, poll_interval=0.01)
        assert job.succeeded
        assert job.image_urls == ["https://files.example.net/0.png"]
    assert here.calls[0][1] == TEXT2IMAGE


def test_the_object_api_cancels(client):
    job = client.images.jobs.create(model=OLD, prompt="stay")
    client.images.jobs.cancel(job.task_id)
    assert client.images.jobs.fetch(job.task_id).status == "CANCELED"


def test_the_object_api_raises_by_code(client, here):
    job = client.images.jobs.create(model=OLD, prompt="fail")
    with pytest.raises(sdk_errors.ContentFilterError):
        client.images.jobs.wait(job, poll_interval=0.01)
    here.trouble.append(RateLimited("slow down", 1))
    with pytest.raises(sdk_errors.RateLimitError):
        client.images.jobs.create(model=OLD, prompt="a kite")
    with pytest.raises(sdk_errors.BadRequestError):
        client.images.jobs.create(model=OLD, prompt="a kite", size="huge")


def test_a_local_file_is_uploaded_and_named(here, tmp_path):
    """[15]"""
    picture = tmp_path / "my kite.png"
    picture.write_bytes(PNG)
    ImageSynthesis.async_call("wan2.5-i2i-preview", "a kite", images=[f"file://{picture}"], **KEY)
    assert [upload.content for upload in here.uploads] == [PNG]
    (image,) = here.drafts[0].request.images
    assert image.url == f"oss://gateway-uploads/{TICKET}/my kite.png"


def test_an_empty_cancel_body_and_no_content_type_are_fine(here):
    """[13] on the wire."""
    queued = ImageSynthesis.async_call(OLD, "stay", **KEY)
    url = f"{here.url}/tasks/{queued.output.task_id}/cancel/"
    answer = requests.post(url, json={"model": "", "parameters": {}, "input": ""}, timeout=5)
    assert (answer.status_code, answer.json()) == (200, {"request_id": "req_1"})
