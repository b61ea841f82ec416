"""Reading native calls: seeds 000 and 001, and everybody's fields beside them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import jsonschema_rs
import pytest

from gateway.app.dialect import UploadedFile
from gateway.dialects import DIALECTS
from gateway.domain.callback import CallbackSpec
from gateway.domain.errors import InvalidRequest
from gateway.domain.request import (
    GenerationRequest,
    InputImage,
    PaletteColor,
    ResultFormat,
    RouteRules,
    Size,
)
from gateway.domain.submission import Wait
from tests.dialects.samples import (
    PNG,
    call,
    catalog,
    complaints,
    read,
    route,
)

NATIVE = DIALECTS["evolink"]
GENERATIONS = "/images/generations"
LAKE: dict[str, Any] = {"model": "wan2.5-text-to-image", "prompt": "一片宁静的湖水倒映着夕阳的美景"}
PROMPT: dict[str, Any] = {"model": "wan2.7-image", "prompt": "p"}


def draft_of(body, **headers):
    return read("evolink", GENERATIONS, body, **headers)


def request_of(**fields):
    return draft_of(PROMPT | fields).request


def problems_of(body, **headers):
    with pytest.raises(InvalidRequest) as caught:
        draft_of(body, **headers)
    return caught.value.problems


@pytest.mark.parametrize(
    ("body", "request_"),
    [
        (LAKE, GenerationRequest(**LAKE)),
        (
            {
                "model": "wan2.5-text-to-image",
                "prompt": "A cat playing in the grass",
                "size": "1280x1280",
                "n": 1,
                "prompt_extend": True,
            },
            GenerationRequest(
                model="wan2.5-text-to-image",
                prompt="A cat playing in the grass",
                size=Size(1280, 1280),
                n=1,
                rewrite_prompt=True,
            ),
        ),
    ],
)
def test_the_examples_of_the_seeds_are_read_as_printed(body, request_):
    draft = draft_of(body)
    assert draft.request == request_
    assert draft.wait is None
    assert complaints(draft) == []
    schema = route(NATIVE, GENERATIONS).request_schema
    assert schema is not None
    jsonschema_rs.validate(dict(schema), body)


def test_the_seeds_callback_is_read_and_makes_the_call_asynchronous():
    url = "https://your-domain.com/webhooks/image-task-completed"
    draft = draft_of(LAKE | {"callback_url": url})
    assert draft.callback == CallbackSpec(url, ("completed", "failed", "cancelled"))
    assert draft.wait == Wait(None)


@pytest.mark.parametrize(
    ("field", "value", "canonical"),
    [
        ("negative_prompt", "text", {"negative_prompt": "text"}),
        ("n", 4, {"n": 4}),
        ("size", "1280*1280", {"size": Size(1280, 1280)}),
        ("size", "1280X1280", {"size": Size(1280, 1280)}),
        ("size", "1280×1280", {"size": Size(1280, 1280)}),
        ("size", "4K", {"tier": "4K"}),
        ("size", "2k", {"tier": "2K"}),
        ("size", "auto", {}),
        ("resolution", "1K", {"tier": "1K"}),
        ("resolution", "1k", {"tier": "1K"}),
        ("aspect_ratio", "16:9", {"aspect_ratio": "16:9"}),
        ("seed", 4711, {"seed": 4711}),
        ("seed", 0, {"seed": 0}),
        ("seed", -1, {}),
        ("watermark", True, {"watermark": True}),
        ("prompt_extend", False, {"rewrite_prompt": False}),
        ("thinking_mode", True, {"thinking": True}),
        ("enable_sequential", True, {"group": True}),
        ("color_palette", [{"hex": "#0a2540", "ratio": 50}], {"palette": (("#0a2540", "50"),)}),
        (
            "color_palette",
            [{"hex": "#0A2540", "ratio": "23.51%"}],
            {"palette": (("#0A2540", "23.51"),)},
        ),
        ("bbox_list", [[[120, 80, 540, 460]], []], {"boxes": (((120, 80, 540, 460),), ())}),
        ("bbox_list", [[[1.5, 2.5, 3.5, 4.5]]], {"boxes": (((1, 2, 4, 5),),)}),
        ("action", "group", {"group": True}),
        ("quality", "high", {"options": {"quality": "high"}}),
        ("output_compression", 80, {"options": {"output_compression": 80}}),
        ("user", "u-1", {"options": {"user": "u-1"}}),
        ("mask", "https://a.example/m.png", {"mask": InputImage("https://a.example/m.png")}),
    ],
)
def test_every_field_of_every_seed_has_its_canonical_place(field, value, canonical):
    if "palette" in canonical:
        colors = tuple(PaletteColor(code, Decimal(share)) for code, share in canonical["palette"])
        canonical = {"palette": colors}
    assert request_of(**{field: value}) == GenerationRequest(**PROMPT, **canonical)


@pytest.mark.parametrize("field", ["image_urls", "images", "image", "img_url", "first_frame_url"])
@pytest.mark.parametrize(
    "value",
    [
        "https://a.example/cat.png",
        ["https://a.example/cat.png"],
        [{"image_url": "https://a.example/cat.png"}],
        [{"url": "https://a.example/cat.png"}],
        {"image_url": {"url": "https://a.example/cat.png"}},
    ],
)
def test_pictures_are_read_from_every_field_in_every_form(field, value):
    assert request_of(**{field: value}).images == (InputImage("https://a.example/cat.png"),)


def test_of_several_picture_fields_the_highest_counts_and_the_rest_is_named():
    draft = draft_of(
        PROMPT | {"image": "https://a.example/1.png", "image_urls": ["https://a.example/2.png"]}
    )
    assert draft.request.images == (InputImage("https://a.example/2.png"),)
    assert draft.ignored == ("image",)
    assert draft.field_names["images"] == "image_urls"


def test_bare_base64_becomes_a_data_url_of_the_type_its_bytes_announce():
    text = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ"
    assert request_of(image=text).images == (InputImage(f"data:image/png;base64,{text}"),)


@pytest.mark.parametrize(
    "value",
    [
        "cat.png",
        "file:///etc/passwd",
        "ftp://a.example/cat.png",
        "oss://gateway-uploads/x/cat.png",
        "https://",
        "https:// a.example/cat.png",
        "https://a.example/cat\n.png",
        "data:text/html;base64,PGI+",
        "data:image/png,rawbytes",
        "A" * 64,
        7,
        [None],
        [["https://a.example/cat.png"]],
        "https://a.example/" + "x" * 9000,
    ],
)
def test_what_is_no_picture_is_refused_by_its_place(value):
    (problem,) = problems_of(PROMPT | {"images": value})
    assert problem.field.startswith("images")


def test_route_rules_are_read():
    rules = request_of(
        provider={
            "order": ["qingbo"],
            "only": ["qingbo", "dashscope"],
            "ignore": ["evolink"],
            "allow_fallbacks": False,
            "max_price": "0.03",
        }
    ).rules
    assert rules == RouteRules(("qingbo",), ("qingbo", "dashscope"), ("evolink",), False, 30_000)


@pytest.mark.parametrize("price", ["-1", "cheap", True, "0.0000001", [1], "1e3"])
def test_a_price_limit_is_an_exact_amount_of_usd(price):
    (problem,) = problems_of(PROMPT | {"provider": {"max_price": price}})
    assert problem.field == "provider.max_price"


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"model": None}, ["model"]),
        ({"model": ""}, ["model"]),
        ({"size": "huge"}, ["size"]),
        ({"size": "0x5"}, ["size"]),
        ({"resolution": "8K"}, ["resolution"]),
        ({"aspect_ratio": "wide"}, ["aspect_ratio"]),
        ({"size": "2K", "resolution": "4K"}, ["resolution"]),
        ({"response_format": "jpeg"}, ["response_format"]),
        ({"callback_url": "http://a.example/hook"}, ["callback_url"]),
        ({"callback_url": "https://user:pw@a.example/hook"}, ["callback_url"]),
        ({"callback_url": "https://a.example/" + "x" * 2048}, ["callback_url"]),
        ({"callback_url": "https://a.example:99999/"}, ["callback_url"]),
        (
            {"callback_url": "https://a.example/", "callback_events": ["done", "failed"]},
            ["callback_events[0]"],
        ),
        ({"color_palette": [{"hex": 1, "ratio": 5}]}, ["color_palette[0].hex"]),
        ({"color_palette": [{"hex": "#FFFFFF", "ratio": "half"}]}, ["color_palette[0].ratio"]),
        ({"bbox_list": [[[1, 2, 3]]]}, ["bbox_list[0][0]"]),
        ({"bbox_list": [1]}, ["bbox_list[0]"]),
        ({"stream": True, "async": True}, ["stream"]),
        ({"sise": "1K", "promt": "x"}, ["sise", "promt"]),
        ({"n": True, "seed": "x", "async": 1}, ["n", "seed", "async"]),
        ({"output_compression": "much"}, ["output_compression"]),
        ({"quality": "x" * 300}, ["quality"]),
    ],
)
def test_every_problem_is_named_as_the_caller_wrote_it(changes, fields):
    assert [p.field for p in problems_of(PROMPT | changes)] == fields


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"action": "generate", "image_urls": ["https://a.example/1.png"]}, "action"),
        ({"action": "edit"}, "action"),
        ({"action": "reference", "image_urls": ["https://a.example/1.png"]}, "action"),
        ({"action": "group", "enable_sequential": False}, "action"),
        ({"action": "interactive_edit", "image_urls": ["https://a.example/1.png"]}, "bbox_list"),
        (
            {
                "action": "edit",
                "image_urls": ["https://a.example/1.png"],
                "bbox_list": [[[1, 2, 3, 4]]],
            },
            "bbox_list",
        ),
        ({"action": "paint"}, "action"),
    ],
)
def test_an_action_that_contradicts_the_fields_is_refused(changes, field):
    (problem,) = problems_of(PROMPT | changes)
    assert problem.field == field


@pytest.mark.parametrize(
    ("body", "headers", "wait"),
    [
        ({}, {}, None),
        ({"async": True}, {"prefer": "wait=5"}, Wait(None)),
        ({"async": False}, {}, Wait(float("inf"))),
        ({"async": False}, {"prefer": "wait=5"}, Wait(5.0, task_on_timeout=True)),
        ({}, {"prefer": "respond-async"}, Wait(None)),
        ({}, {"prefer": "wait=10"}, Wait(10.0, task_on_timeout=True)),
        ({"response_format": "url"}, {"prefer": "respond-async"}, Wait(None)),
        ({"callback_url": "https://a.example/h"}, {"prefer": "wait=10"}, Wait(10.0, True)),
        ({"callback_url": "https://a.example/h", "response_format": "url"}, {}, Wait(None)),
        ({"response_format": "url"}, {}, Wait(float("inf"))),
        ({"stream": True}, {}, Wait(float("inf"))),
        ({"stream": False}, {}, None),
    ],
)
def test_sync_or_async_follows_the_order_of_the_rules(body, headers, wait):
    assert draft_of(PROMPT | body, **headers).wait == wait


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ("wait=10", 10),
        ("Wait=10", 10),
        ("wait = 10", 10),
        ('wait="10"', 10),
        ("handling=lenient, wait=10", 10),
        ("wait=10; foo=bar, respond-async", 10),
        ("wait=10, wait=20", 10),
        ("respond-async, wait=10", 10),
        ('note="wait=99", wait=10', 10),
    ],
)
def test_prefer_is_read_as_rfc_7240_writes_it(header, wait):
    assert draft_of(PROMPT, prefer=header).wait == Wait(float(wait), task_on_timeout=True)


@pytest.mark.parametrize(
    "header", ["", "wait", "wait=", "wait=soon", "wait=-5", "waiting=5", ";;,,"]
)
def test_a_preference_that_is_not_understood_is_ignored(header):
    assert draft_of(PROMPT, prefer=header).wait is None


def test_a_stream_without_a_format_carries_the_pictures_themselves():
    draft = draft_of(PROMPT | {"stream": True})
    assert (draft.stream, draft.result_format) == (True, ResultFormat.B64_JSON)


def test_succeeded_is_another_word_for_completed():
    draft = draft_of(
        PROMPT | {"callback_url": "https://a.example/h", "callback_events": ["succeeded"]}
    )
    assert draft.callback == CallbackSpec("https://a.example/h", ("completed",))


def test_an_edit_takes_a_form_with_files_in_their_order():
    files = (
        UploadedFile("image[]", "a.png", "application/octet-stream", PNG),
        UploadedFile("image[]", "b.jpg", "image/jpeg", b"\xff\xd8\xff\xe0rest"),
        UploadedFile("mask", "m.png", "image/png", PNG),
    )
    form = (("model", "wan2.7-image"), ("prompt", "p"), ("n", "2"), ("watermark", "true"))
    edits = route(NATIVE, "/images/edits")
    draft = NATIVE.read_create(call(b"", form=form, files=files), edits, catalog())
    kinds = [image.url.split(";")[0] for image in draft.request.images]
    assert kinds == ["data:image/png", "data:image/jpeg"]
    assert draft.request.mask is not None
    assert (draft.request.n, draft.request.watermark) == (2, True)


def test_an_edit_without_a_picture_and_a_file_out_of_place_are_refused():
    edits = route(NATIVE, "/images/edits")
    files = (UploadedFile("prompt", "a.txt", "text/plain", b"hello"),)
    with pytest.raises(InvalidRequest) as caught:
        NATIVE.read_create(call(b"", form=(("model", "m"),), files=files), edits, catalog())
    assert [problem.field for problem in caught.value.problems] == ["prompt", "image"]
