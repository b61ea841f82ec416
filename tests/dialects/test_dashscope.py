"""Reading DashScope calls: seed 004 as printed, the four paths and their headers."""

from __future__ import annotations

from decimal import Decimal

import jsonschema_rs
import pytest

from gateway.app.dialect import (
    Operation,
)
from gateway.dialects import DIALECTS
from gateway.domain.errors import InvalidRequest, NotAllowed
from gateway.domain.request import GenerationRequest, InputImage, PaletteColor, ResultFormat, Size
from tests.dialects.samples import (
    VIEW,
    catalog,
    complaints,
    read,
    route,
    wire,
)

DASHSCOPE = DIALECTS["dashscope"]
TEXT2IMAGE = "/services/aigc/text2image/image-synthesis"
IMAGE2IMAGE = "/services/aigc/image2image/image-synthesis"
GENERATION = "/services/aigc/image-generation/generation"
SYNC = "/services/aigc/multimodal-generation/generation"
FLOWERS = "A flower shop with exquisite windows, a beautiful wooden door, and flowers on display"


def draft_of(path, body, **headers):
    if path != SYNC:
        headers.setdefault("x_dashscope_async", "enable")
    return read("dashscope", path, body, **headers)


def prompted(model="wan2.5-t2i-preview", content=None, **parameters):
    return {"model": model, "input": {"prompt": "p"} | (content or {}), "parameters": parameters}


def messaged(*content, model="wan2.7-image", **parameters):
    messages = [{"role": "user", "content": list(content)}]
    return {"model": model, "input": {"messages": messages}, "parameters": parameters}


@pytest.mark.parametrize(
    ("path", "body", "request_"),
    [
        pytest.param(
            GENERATION,
            {
                "model": "wan2.6-t2i",
                "input": {"messages": [{"role": "user", "content": [{"text": FLOWERS}]}]},
                "parameters": {
                    "prompt_extend": True,
                    "watermark": False,
                    "n": 1,
                    "negative_prompt": "",
                    "size": "1280*1280",
                },
            },
            GenerationRequest(
                "wan2.6-t2i",
                FLOWERS,
                size=Size(1280, 1280),
                rewrite_prompt=True,
                watermark=False,
            ),
            id="seed 004",
        ),
        pytest.param(
            TEXT2IMAGE,
            {
                "model": "wan2.5-t2i-preview",
                "input": {
                    "prompt": "Paper lanterns over a canal at dusk",
                    "negative_prompt": "text, watermark",
                },
                "parameters": {
                    "size": "1280*1280",
                    "n": 1,
                    "prompt_extend": True,
                    "watermark": False,
                    "seed": 4711,
                },
            },
            GenerationRequest(
                "wan2.5-t2i-preview",
                "Paper lanterns over a canal at dusk",
                negative_prompt="text, watermark",
                size=Size(1280, 1280),
                rewrite_prompt=True,
                watermark=False,
                seed=4711,
            ),
            id="text to image",
        ),
        pytest.param(
            IMAGE2IMAGE,
            {
                "model": "wan2.5-i2i-preview",
                "input": {
                    "prompt": "Put the teapot of picture 1 on the table of picture 2",
                    "images": [
                        "https://img.example.net/teapot.png",
                        "data:image/jpeg;base64,/9j/4AAQ",
                    ],
                    "negative_prompt": "",
                },
                "parameters": {"n": 1, "size": "1280*1280", "watermark": False},
            },
            GenerationRequest(
                "wan2.5-i2i-preview",
                "Put the teapot of picture 1 on the table of picture 2",
                images=(
                    InputImage("https://img.example.net/teapot.png"),
                    InputImage("data:image/jpeg;base64,/9j/4AAQ"),
                ),
                size=Size(1280, 1280),
                watermark=False,
            ),
            id="image to image",
        ),
        pytest.param(
            GENERATION,
            messaged(
                {"image": "https://img.example.net/kite.png"},
                {"image": "https://img.example.net/field.webp"},
                {"text": "Fly the kite of picture 1 above the field of picture 2"},
                model="wan2.7-image-pro",
                size="2K",
                n=1,
                watermark=False,
                seed=99,
            ),
            GenerationRequest(
                "wan2.7-image-pro",
                "Fly the kite of picture 1 above the field of picture 2",
                images=(
                    InputImage("https://img.example.net/kite.png"),
                    InputImage("https://img.example.net/field.webp"),
                ),
                tier="2K",
                watermark=False,
                seed=99,
            ),
            id="messages with pictures",
        ),
    ],
)
def test_the_documented_examples_are_read_as_printed(path, body, request_):
    draft = draft_of(path, body)
    assert draft.request == request_
    assert complaints(draft) == []
    schema = route(DASHSCOPE, path).request_schema
    assert schema is not None
    jsonschema_rs.validate(dict(schema), body)


@pytest.mark.parametrize(
    ("body", "count"),
    [
        (prompted(), 4),
        (prompted("wan2.2-t2i-plus"), 4),
        (prompted(n=2), 2),
        (messaged({"text": "p"}, model="wan2.6-t2i"), 4),
        (messaged({"text": "p"}), 1),
        (messaged({"text": "p"}, enable_sequential=True), 12),
        (messaged({"text": "p"}, model="wan2.6-image", enable_interleave=True), 5),
        (messaged({"text": "p"}, model="wan2.6-image", enable_interleave=True, max_images=3), 3),
        (prompted("gpt-image-1.5"), 1),
        (prompted("nobody-knows-it"), 1),
    ],
)
def test_without_a_count_each_model_has_dashscopes_own(body, count):
    path = TEXT2IMAGE if "prompt" in body["input"] else GENERATION
    assert draft_of(path, body).request.n == count


def test_wan27_parameters_are_read():
    body = messaged(
        {"image": "https://a.example/1.png"},
        {"image": "https://a.example/2.png"},
        {"text": "p"},
        thinking_mode=False,
        color_palette=[{"hex": "#C2D1E6", "ratio": "23.51%"}],
        bbox_list=[[], [[30, 40, 250, 300]]],
    )
    request = draft_of(GENERATION, body).request
    assert request.thinking is False
    assert request.palette == (PaletteColor("#C2D1E6", Decimal("23.51")),)
    assert request.boxes == ((), ((30, 40, 250, 300),))


def test_a_seed_of_zero_is_a_seed_here():
    assert draft_of(TEXT2IMAGE, prompted(seed=0)).request.seed == 0


def test_texts_that_are_too_long_are_cut_as_dashscope_cuts_them():
    body = prompted(content={"prompt": "a" * 2100, "negative_prompt": "b" * 600})
    request = draft_of(TEXT2IMAGE, body).request
    assert (len(request.prompt), len(request.negative_prompt or "")) == (2000, 500)


@pytest.mark.parametrize("name", ["is_async", "stream", "incremental_output", "result_format"])
def test_what_sdks_leak_into_parameters_is_dropped(name):
    draft = draft_of(TEXT2IMAGE, prompted(**{name: True}))
    assert draft.ignored == ()


@pytest.mark.parametrize("parameters", [None, {}])
def test_parameters_are_optional(parameters):
    body = {"model": "wan2.5-t2i-preview", "input": {"prompt": "p"}, "parameters": parameters}
    assert draft_of(TEXT2IMAGE, body).request.prompt == "p"
    del body["parameters"]
    assert draft_of(TEXT2IMAGE, body).request.prompt == "p"


def test_a_message_may_be_plain_text():
    body = {"model": "m", "input": {"messages": [{"role": "user", "content": "p"}]}}
    assert draft_of(SYNC, body).request.prompt == "p"


@pytest.mark.parametrize("path", [TEXT2IMAGE, GENERATION])
def test_either_protocol_is_taken_on_either_path(path):
    assert draft_of(path, prompted("wan2.7-image")).request.prompt == "p"
    assert draft_of(path, messaged({"text": "p"})).request.prompt == "p"


def test_older_editing_models_have_their_own_fields():
    content = {
        "base_image_url": "https://a.example/1.png",
        "mask_image_url": "https://a.example/m.png",
        "function": "description_edit_with_mask",
    }
    request = draft_of(IMAGE2IMAGE, prompted("wanx2.1-imageedit", content)).request
    assert request.images == (InputImage("https://a.example/1.png"),)
    assert request.mask == InputImage("https://a.example/m.png")
    assert request.options == {"function": "description_edit_with_mask"}


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["model", "input", "input.prompt"]),
        ({"model": "m", "input": ""}, ["input", "input.prompt"]),
        ({"model": "m", "input": {}}, ["input.prompt"]),
        (prompted(sise="1K"), ["parameters.sise"]),
        (prompted(size="huge"), ["parameters.size"]),
        (prompted(n="2"), ["parameters.n"]),
        (prompted(content={"images": ["cat.png"]}), ["input.images[0]"]),
        (prompted(content={"messages": []}), ["input.prompt", "input.messages"]),
        (messaged(), ["input.messages[0].content"]),
        (messaged({"text": "a"}, {"text": "b"}), ["input.messages[0].content"]),
        (messaged({"text": "a"}, {"image": 7}), ["input.messages[0].content[1].image"]),
        (messaged({"text": "a", "video": "x"}), ["input.messages[0].content[0].video"]),
        (messaged("a"), ["input.messages[0].content[0]", "input.messages[0].content"]),
        (
            {"model": "m", "input": {"messages": [{"role": "system", "content": "p"}]}},
            ["input.messages"],
        ),
    ],
)
def test_problems_are_named_by_dashscopes_paths(body, fields):
    with pytest.raises(InvalidRequest) as caught:
        draft_of(GENERATION, body)
    assert [problem.field for problem in caught.value.problems] == fields


@pytest.mark.parametrize("path", [TEXT2IMAGE, IMAGE2IMAGE, GENERATION])
@pytest.mark.parametrize("header", ["", "disable"])
def test_a_task_path_without_the_async_header_is_403(path, header):
    with pytest.raises(NotAllowed, match="does not support synchronous calls") as caught:
        draft_of(path, prompted(), x_dashscope_async=header)
    reply = DASHSCOPE.render_error(caught.value, VIEW)
    assert (reply.status, wire(reply.body)["code"]) == (403, "AccessDenied")


def test_the_synchronous_path_with_the_async_header_is_403():
    with pytest.raises(NotAllowed, match="does not support asynchronous calls"):
        draft_of(SYNC, messaged({"text": "p"}), x_dashscope_async="enable")


def test_the_sse_header_makes_the_synchronous_path_a_stream():
    assert draft_of(SYNC, messaged({"text": "p"}), x_dashscope_sse="enable").stream is True
    assert draft_of(SYNC, messaged({"text": "p"})).stream is False


def test_answers_are_links_always():
    assert draft_of(SYNC, messaged({"text": "p"})).result_format is ResultFormat.URL


@pytest.mark.parametrize(
    "path", [TEXT2IMAGE, GENERATION, SYNC, "/tasks", "/tasks/{task_id}/cancel"]
)
def test_every_address_exists_with_and_without_a_trailing_slash(path):
    paths = {r.path for r in DASHSCOPE.routes}
    assert {path, f"{path}/"} <= paths


def test_only_the_synchronous_path_waits():
    waits = {
        r.path.rstrip("/"): r.sync for r in DASHSCOPE.routes if r.operation is Operation.CREATE
    }
    assert waits == {TEXT2IMAGE: False, IMAGE2IMAGE: False, GENERATION: False, SYNC: True}


def test_the_catalogue_is_only_asked_for_defaults():
    # A model nobody sells is the core's 404, with its close names; not the dialect's.
    assert "nobody-knows-it" not in catalog().aliases
    assert draft_of(TEXT2IMAGE, prompted("nobody-knows-it")).request.model == "nobody-knows-it"
