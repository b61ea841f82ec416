"""OpenAI's dialect: what its clients send, what they read, and its SDK against it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.app.dialect import ResultImage, UploadedFile
from gateway.dialects import DIALECTS
from gateway.domain import errors
from gateway.domain.errors import Blame, InvalidRequest, RouteNotFound
from gateway.domain.request import Box, ResultFormat, Size
from gateway.domain.submission import Wait
from tests.dialects.samples import (
    COMPLETED,
    FAILED,
    PNG,
    VIEW,
    call,
    catalog,
    complaints,
    failed,
    read,
    route,
    wire,
)

OPENAI = DIALECTS["openai"]
GENERATIONS = "/images/generations"
EDITS = "/images/edits"
SYNC = Wait(float("inf"))
BICYCLE = {
    "model": "gpt-image-1.5",
    "prompt": "A red bicycle in fog",
    "n": 1,
    "size": "1024x1024",
    "quality": "medium",
    "output_format": "png",
}


def draft_of(body, **headers):
    return read("openai", GENERATIONS, body, **headers)


def edit_of(form, files):
    pairs = tuple(form.items())
    return OPENAI.read_create(call(b"", form=pairs, files=files), route(OPENAI, EDITS), catalog())


def picture(name):
    return UploadedFile(name, "a.png", "image/png", PNG)


def test_the_documented_example_is_read():
    draft = draft_of(BICYCLE)
    assert draft.request.size == Size(1024, 1024)
    assert draft.request.options == {"quality": "medium", "output_format": "png"}
    assert (draft.wait, draft.snap_size, draft.result_format) == (SYNC, True, None)
    assert complaints(draft) == []


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(
            {"model": "dall-e-3", "prompt": "p", "n": 1, "size": "1024x1024", "quality": "hd",
             "style": "vivid", "response_format": "b64_json"},
            id="dify",
        ),
        pytest.param(
            {"model": "gpt-image-1", "prompt": "p", "n": 10, "size": "auto", "quality": "auto",
             "background": "auto", "output_format": "png"},
            id="librechat",
        ),
        pytest.param(
            {"model": "wan2.5-t2i-preview", "prompt": "p", "n": 1, "size": "512x512",
             "response_format": "b64_json"},
            id="open-webui",
        ),
        pytest.param({"model": "gpt-image-1", "prompt": "p", "n": 1}, id="lobechat"),
        pytest.param(
            {"model": "gpt-image-1", "prompt": "p", "moderation": "low", "output_compression": 80,
             "partial_images": 0, "user": "u", "safety_identifier": "s", "stream": False},
            id="sdk",
        ),
    ],
)  # fmt: skip
def test_what_other_peoples_clients_send_is_accepted(body):
    draft = draft_of(body)
    assert draft.wait == SYNC
    assert [text for text in complaints(draft) if not text.startswith("n is 10")] == []


def test_wan_parameters_come_through_extra_body():
    request = draft_of(
        {
            "model": "wan2.7-image",
            "prompt": "p",
            "seed": 7,
            "thinking_mode": False,
            "prompt_extend": True,
            "watermark": True,
            "negative_prompt": "text",
            "images": ["https://a.example/1.png"],
            "bbox_list": [[[1, 2, 3, 4]]],
        }
    ).request
    box: Box = (1, 2, 3, 4)
    assert (request.seed, request.thinking, request.rewrite_prompt) == (7, False, True)
    assert (request.watermark, request.negative_prompt) == (True, "text")
    assert request.boxes == ((box,),)


@pytest.mark.parametrize(
    ("extra", "headers", "wait"),
    [
        ({}, {}, SYNC),
        ({"callback_url": "https://a.example/h"}, {}, SYNC),
        ({"async": True}, {}, Wait(None)),
        ({}, {"prefer": "respond-async"}, Wait(None)),
        ({}, {"prefer": "wait=20"}, Wait(20.0, task_on_timeout=True)),
    ],
)
def test_it_is_synchronous_unless_told_otherwise(extra, headers, wait):
    assert draft_of(BICYCLE | extra, **headers).wait == wait


def test_model_and_prompt_are_required():
    with pytest.raises(InvalidRequest) as caught:
        draft_of({"n": 1})
    assert [problem.field for problem in caught.value.problems] == ["model", "prompt"]


@pytest.mark.parametrize("names", [("image",), ("image[]", "image[]"), ("image", "image")])
def test_edits_take_one_picture_a_list_or_a_repeated_name(names):
    files = tuple(picture(name) for name in names)
    draft = edit_of({"model": "wan2.7-image", "prompt": "p", "input_fidelity": "high"}, files)
    assert len(draft.request.images) == len(names)
    assert draft.request.options == {"input_fidelity": "high"}


def test_a_form_spells_numbers_booleans_and_the_mask_is_a_file():
    form = {"model": "gpt-image-1.5", "prompt": "p", "n": "2", "stream": "true"}
    draft = edit_of(form, (picture("image"), picture("mask")))
    assert (draft.request.n, draft.stream) == (2, True)
    assert draft.request.mask is not None


def test_edits_take_json_too():
    body = {"model": "m", "prompt": "p", "images": [{"image_url": "https://a.example/1.png"}]}
    assert len(read("openai", EDITS, body).request.images) == 1


def test_an_edit_needs_a_picture():
    with pytest.raises(InvalidRequest) as caught:
        edit_of({"model": "m", "prompt": "p"}, ())
    assert caught.value.param == "image"


def test_variations_are_gone_and_say_where_to_go():
    with pytest.raises(RouteNotFound, match="/images/edits"):
        read("openai", "/images/variations", {})


def test_the_result_is_created_and_data_and_no_invented_usage():
    task = replace(COMPLETED, echo={"quality": "high", "background": "opaque", "size": "auto"},
                   ignored=("background",))  # fmt: skip
    images = (ResultImage(url="https://a.example/1.png", revised_prompt="A quiet canal"),)
    assert wire(OPENAI.render_result(task, images, VIEW).body) == {
        "created": 1795170001,
        "data": [{"url": "https://a.example/1.png", "revised_prompt": "A quiet canal"}],
        "quality": "high",
    }


@pytest.mark.parametrize(("kind", "event"), [("", "image_generation"), ("edit", "image_edit")])
def test_a_stream_ends_with_one_completed_event_per_picture(kind, event):
    task = replace(COMPLETED, echo={"kind": kind, "quality": "low"})
    images = (ResultImage(b64_json="aGk="), ResultImage(b64_json="aG8="))
    events = OPENAI.stream_event(task, images, VIEW)
    assert [name for name, _ in events] == [f"{event}.completed"] * 2
    assert wire(events[0][1]) == {
        "type": f"{event}.completed",
        "b64_json": "aGk=",
        "created_at": 1795170019,
        "size": "auto",
        "quality": "low",
        "background": "auto",
        "output_format": "png",
    }


def test_a_stream_carries_base64_unless_asked_otherwise():
    assert draft_of(BICYCLE | {"stream": True}).result_format is ResultFormat.B64_JSON


@pytest.mark.parametrize(
    ("error", "status", "kind", "code", "param"),
    [
        (
            InvalidRequest(errors.Problem("size", "size is wrong")),
            400,
            "invalid_request_error",
            "invalid_value",
            "size",
        ),
        (errors.AuthenticationFailed(), 401, "invalid_request_error", "invalid_api_key", None),
        (errors.InsufficientCredits(), 402, "insufficient_quota", "insufficient_quota", None),
        (errors.NotAllowed(), 403, "permission_error", "not_allowed", None),
        (errors.ModelNotFound("x"), 404, "invalid_request_error", "model_not_found", "model"),
        (errors.RouteNotFound(), 404, "invalid_request_error", "unknown_url", None),
        (errors.RateLimited("slow", 1), 429, "rate_limit_error", "rate_limit_exceeded", None),
        (errors.NoHealthyUpstream(), 503, "server_error", "no_healthy_upstream", None),
        (errors.WaitExpired("task-1"), 504, "server_error", "wait_expired", None),
        (
            OPENAI.failure_of(FAILED),
            400,
            "invalid_request_error",
            "content_policy_violation",
            None,
        ),
        (
            OPENAI.failure_of(failed("InternalError.Algo", Blame.PROVIDER)),
            502,
            "server_error",
            "upstream_error",
            None,
        ),
    ],
)
def test_errors_have_openais_type_code_and_param(error, status, kind, code, param):
    reply = OPENAI.render_error(error, VIEW)
    words = wire(reply.body)["error"]
    assert set(words) == {"message", "type", "param", "code"}
    assert (reply.status, words["type"], words["code"], words["param"]) == (
        status,
        kind,
        code,
        param,
    )
