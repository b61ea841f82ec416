"""The native dialect against seeds 000 and 001, and everybody's fields beside them."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import jsonschema_rs
import pytest

from gateway.app.dialect import ListQuery, ResultImage, UploadedFile
from gateway.app.ports import TaskFilter, TaskPage
from gateway.dialects import DIALECTS
from gateway.domain.callback import CallbackSpec
from gateway.domain.errors import Blame, InvalidRequest, WaitExpired
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
    CANCELLED,
    COMPLETED,
    FAILED,
    NOW_MS,
    PENDING,
    PNG,
    PROCESSING,
    VIEW,
    call,
    catalog,
    complaints,
    failed,
    read,
    route,
    wire,
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


def test_a_created_task_has_the_body_of_the_seed():
    seed: dict[str, Any] = {
        "created": 1757156493,
        "id": "task-unified-1757156493-imcg5zqt",
        "model": "wan2.5-text-to-image",
        "object": "image.generation.task",
        "progress": 0,
        "status": "pending",
        "task_info": {"can_cancel": True, "estimated_time": 30},
        "type": "image",
        "usage": {"billing_rule": "per_call", "credits_reserved": 1, "user_group": "default"},
    }
    task = replace(PENDING, id=seed["id"], created_ms=1757156493_000, hold=1_000_000)
    body = wire(NATIVE.render_created(task, VIEW).body)
    assert {key: body[key] for key in seed if key != "usage"} == {
        key: value for key, value in seed.items() if key != "usage"
    }
    assert body["usage"] == seed["usage"] | {"credits_charged": 0}
    assert body["task_id"] == body["id"]
    assert set(body) == {*seed, "task_id"}


def test_a_task_id_has_the_format_of_the_seed():
    task_id = NATIVE.new_task_id(1757156493_999, b"\x07" * 16)
    head, _, tail = task_id.rpartition("-")
    assert head == "task-unified-1757156493"
    assert len(tail) == 8
    assert set(tail) <= set("0123456789abcdefghijklmnopqrstuvwxyz")


@pytest.mark.parametrize(
    ("micro", "number"), [(1_500_000, 1.5), (3_000_000, 3), (0, 0), (1, 0.000001)]
)
def test_credits_are_exact_numbers(micro, number):
    body = NATIVE.render_task(replace(PENDING, hold=micro), VIEW).body
    assert wire(body)["usage"]["credits_reserved"] == number
    assert not isinstance(body["usage"]["credits_reserved"], float)


def test_a_task_at_work_shows_progress_and_the_time_left():
    view = replace(VIEW, now_ms=PENDING.created_ms + 18_000)
    body = wire(NATIVE.render_task(PROCESSING, view).body)
    assert (body["status"], body["progress"]) == ("processing", 65)
    assert body["task_info"] == {"can_cancel": False, "estimated_time": 12}
    assert {"results", "data", "error"}.isdisjoint(body)


def test_a_completed_task_has_results_as_strings_and_data_as_objects():
    body = wire(NATIVE.render_task(COMPLETED, VIEW).body)
    links = ["https://files.example.net/a1/lantern-0.png", "https://gw.example/assets/2c1f.png"]
    assert body["results"] == links
    assert [entry["url"] for entry in body["data"]] == links
    assert body["data"][0] == {
        "url": links[0],
        "expires_at": 1795256419,
        "revised_prompt": "A quiet canal",
    }
    assert (body["status"], body["progress"]) == ("completed", 100)
    assert body["task_info"] == {"can_cancel": False}
    assert body["usage"]["credits_charged"] == 3


def test_a_failed_task_is_back_at_zero_and_says_why():
    body = wire(NATIVE.render_task(FAILED, VIEW).body)
    assert (body["status"], body["progress"]) == ("failed", 0)
    assert body["error"] == {
        "code": "content_policy_violation",
        "message": "The prompt was rejected.",
    }
    assert "results" not in body


def test_a_cancelled_task_has_evolinks_code():
    body = wire(NATIVE.render_task(CANCELLED, VIEW).body)
    assert body["status"] == "cancelled"
    assert body["error"]["code"] == "request_cancelled"


@pytest.mark.parametrize(
    ("code", "blame", "word"),
    [
        ("DataInspectionFailed", Blame.CALLER, "content_policy_violation"),
        ("sensitive_check_error", Blame.CALLER, "content_policy_violation"),
        ("moderation_blocked", Blame.CALLER, "content_policy_violation"),
        ("InvalidParameter", Blame.CALLER, "invalid_parameters"),
        ("InvalidURL.Timeout", Blame.CALLER, "image_processing_error"),
        ("InvalidParameter.DataInspection", Blame.CALLER, "image_processing_error"),
        ("Throttling.RateQuota", Blame.RATE, "rate_limited"),
        ("InternalError.Timeout", Blame.PROVIDER, "generation_timeout"),
        ("deadline_exceeded", Blame.PROVIDER, "generation_timeout"),
        ("InternalError.Algo", Blame.PROVIDER, "upstream_error"),
        ("no_healthy_upstream", Blame.PROVIDER, "service_unavailable"),
        ("Arrearage", Blame.ACCOUNT, "service_unavailable"),
    ],
)
def test_vendors_codes_become_evolinks(code, blame, word):
    body = wire(NATIVE.render_task(failed(code, blame), VIEW).body)
    assert body["error"]["code"] == word


def test_a_synchronous_answer_is_openais_body_plus_the_task():
    images = (ResultImage(b64_json="aGk=", revised_prompt="A quiet canal"),)
    body = wire(NATIVE.render_result(COMPLETED, images, VIEW).body)
    assert body["data"] == [{"b64_json": "aGk=", "revised_prompt": "A quiet canal"}]
    assert body["created"] == 1795170001
    assert body["id"] == body["task_id"] == COMPLETED.id
    assert body["status"] == "completed"
    assert len(body["results"]) == 2


def test_an_error_has_the_five_native_fields():
    error = problems_error()
    reply = NATIVE.render_error(error, VIEW)
    assert reply.status == 400
    assert wire(reply.body) == {
        "error": {
            "message": "There is no field 'sise'. (legal: size)",
            "type": "invalid_request_error",
            "code": "unknown_parameter",
            "param": "sise",
            "request_id": "req_1",
        }
    }


def problems_error():
    with pytest.raises(InvalidRequest) as caught:
        draft_of(PROMPT | {"sise": "1K"})
    return caught.value


def test_a_wait_in_vain_leaves_the_task_id():
    body = wire(NATIVE.render_error(WaitExpired("task-1"), VIEW).body)
    assert (body["id"], body["task_id"], body["error"]["code"]) == (
        "task-1",
        "task-1",
        "wait_expired",
    )


def test_an_unknown_task_is_a_404():
    reply = NATIVE.render_unknown("task-x", VIEW)
    assert (reply.status, wire(reply.body)["error"]["code"]) == (404, "task_not_found")


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({}, ListQuery(TaskFilter())),
        (
            {"status": "completed", "model": "m", "type": "image", "page": "2", "page_size": "5"},
            ListQuery(TaskFilter(status="completed", model="m"), limit=5, page=2),
        ),
        ({"limit": "500", "cursor": "c"}, ListQuery(TaskFilter(), limit=100, cursor="c")),
        (
            {"since": "1795170000", "until": "2026-11-20T09:00:00+08:00"},
            ListQuery(TaskFilter(since_ms=1795170000_000, until_ms=1795136400_000)),
        ),
    ],
)
def test_a_list_is_asked_for_by_page_or_by_cursor(query, wanted):
    assert NATIVE.read_list(call(query=query)) == wanted


@pytest.mark.parametrize(
    "query",
    [
        {"status": "done"},
        {"page": "0"},
        {"limit": "x"},
        {"since": "yesterday"},
        {"page": "1", "cursor": "c"},
        {"color": "red"},
    ],
)
def test_a_list_refuses_what_it_does_not_know(query):
    with pytest.raises(InvalidRequest):
        NATIVE.read_list(call(query=query))


def test_a_list_has_evolinks_entries_and_a_cursor():
    page = TaskPage((COMPLETED, FAILED), "next", 7)
    body = wire(NATIVE.render_list(page, ListQuery(TaskFilter(), 2, page=1), VIEW).body)
    entry = body["data"][0]
    assert (entry["id"], entry["status"], entry["type"]) == (COMPLETED.id, "completed", "image")
    assert (entry["created_at"], entry["has_results"], entry["has_error"]) == (
        1795170001,
        True,
        False,
    )
    assert entry["credits_used"] == 3
    assert body["data"][1]["has_error"] is True
    assert {key: body[key] for key in ("total", "page", "page_size", "has_more")} == {
        "total": 7,
        "page": 1,
        "page_size": 2,
        "has_more": True,
    }
    assert body["next_cursor"] == "next"


def test_the_estimate_never_falls_below_a_second():
    late = replace(VIEW, now_ms=NOW_MS + 10**7)
    assert wire(NATIVE.render_task(PROCESSING, late).body)["task_info"]["estimated_time"] == 1
