"""The official OpenAI SDK against the OpenAI and the native dialect."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest

from gateway.dialects import DIALECTS
from gateway.domain.errors import InsufficientCredits, RateLimited
from tests.dialects.samples import PNG
from tests.dialects.served import Served, served


@pytest.fixture
def here() -> Iterator[Served]:
    with served(DIALECTS["openai"]) as state:
        yield state


@pytest.fixture
def client(here) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=here.url, api_key="sk-test", max_retries=0) as made:
        yield made


def test_generate_gives_links(client):
    result = client.images.generate(
        model="wan2.5-t2i-preview", prompt="a kite", n=2, response_format="url"
    )
    assert [image.url for image in result.data] == [
        "https://files.example.net/0.png",
        "https://files.example.net/1.png",
    ]
    assert result.created == 1795170001


def test_generate_gives_base64(client):
    result = client.images.generate(
        model="wan2.5-t2i-preview", prompt="a kite", response_format="b64_json"
    )
    assert result.data[0].b64_json == "aGk="


def test_extra_body_reaches_wan_parameters(client, here):
    client.images.generate(
        model="wan2.7-image", prompt="a kite", extra_body={"seed": 7, "thinking_mode": False}
    )
    assert (here.drafts[0].request.seed, here.drafts[0].request.thinking) == (7, False)


@pytest.mark.parametrize("count", [1, 2])
def test_edit_sends_files(client, here, count):
    image = [("a.png", PNG, "image/png")] * count
    client.images.edit(
        model="wan2.7-image", prompt="a kite", image=image if count > 1 else image[0], n=2
    )
    request = here.drafts[0].request
    assert len(request.images) == count
    assert request.n == 2


def test_a_stream_ends_with_the_completed_event(client):
    events = list(client.images.generate(model="gpt-image-1.5", prompt="a kite", stream=True))
    assert [event.type for event in events] == ["image_generation.completed"]
    assert events[0].b64_json == "aGk="


def test_an_edit_streams_its_own_event(client):
    image = ("a.png", PNG, "image/png")
    events = list(
        client.images.edit(model="gpt-image-1.5", prompt="a kite", image=image, stream=True)
    )
    assert [event.type for event in events] == ["image_edit.completed"]


def test_bad_parameters_raise_bad_request_with_param_and_code(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.generate(model="wan2.7-image", prompt="a kite", size="huge")
    assert (caught.value.param, caught.value.code) == ("size", "invalid_size")
    assert caught.value.request_id == "req_1"


def test_refused_content_is_a_bad_request(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.generate(model="wan2.7-image", prompt="fail")
    assert caught.value.code == "content_policy_violation"


def test_throttling_is_a_rate_limit_error(client, here):
    here.trouble.append(RateLimited("slow down", 1))
    with pytest.raises(openai.RateLimitError) as caught:
        client.images.generate(model="wan2.7-image", prompt="a kite")
    assert caught.value.code == "rate_limit_exceeded"


def test_an_empty_account_is_never_retried(here):
    here.trouble.append(InsufficientCredits())
    with (
        openai.OpenAI(base_url=here.url, api_key="sk-test", max_retries=2) as eager,
        pytest.raises(openai.APIStatusError) as caught,
    ):
        eager.images.generate(model="wan2.7-image", prompt="a kite")
    assert (caught.value.status_code, caught.value.code) == (402, "insufficient_quota")
    assert len(here.calls) == 1


def test_variations_are_not_found(client):
    with pytest.deprecated_call(), pytest.raises(openai.NotFoundError, match="images/edits"):
        client.images.create_variation(image=("a.png", PNG, "image/png"), model="dall-e-2")


def test_the_native_body_is_readable_as_a_task_by_the_sdk_too():
    with (
        served(DIALECTS["evolink"]) as native,
        openai.OpenAI(base_url=native.url, api_key="sk-test") as client,
    ):
        waited = client.images.generate(
            model="wan2.7-image", prompt="a kite", response_format="url"
        )
        queued = client.images.generate(
            model="wan2.7-image", prompt="a kite", extra_body={"async": True}
        )
    assert waited.data[0].url == "https://files.example.net/0.png"
    assert waited.model_extra["status"] == "completed"
    assert queued.data is None
    assert queued.model_extra["task_id"].startswith("task-unified-")
