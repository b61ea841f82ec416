"""Qingbo: the examples of seed 003, the six actions, its units of time and money."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import jsonschema_rs
import pytest

from gateway.dialects import DIALECTS
from gateway.dialects.qingbo import Qingbo
from gateway.domain import errors
from gateway.domain.callback import CallbackSpec
from gateway.domain.errors import Blame, InvalidRequest
from gateway.domain.request import GenerationRequest, InputImage, PaletteColor
from gateway.domain.submission import Wait
from gateway.domain.task import TaskStatus
from tests.dialects.samples import (
    CANCELLED,
    COMPLETED,
    FAILED,
    PENDING,
    PROCESSING,
    VIEW,
    complaints,
    failed,
    read,
    route,
    wire,
)

QINGBO = DIALECTS["qingbo"]
SCROLL = "古风山水长卷，水墨意境，远山如黛，近水含烟"
PROMPT = {"model": "wan2.7-image", "prompt": "p"}
ECHO = {"action": "generate", "credits_per_usd": "68.1818"}


def draft_of(body, **headers):
    return read("qingbo", "/tasks", body, **headers)


def links(count):
    return [f"https://cdn.example.com/{n}.jpg" for n in range(count)]


def test_the_example_of_the_seed_is_read_as_printed_4k_included():
    body = {
        "model": "wan2.7-image",
        "prompt": SCROLL,
        "resolution": "4K",
        "aspect_ratio": "16:9",
        "thinking_mode": True,
    }
    draft = draft_of(body)
    assert draft.request == GenerationRequest(
        "wan2.7-image", SCROLL, tier="4K", aspect_ratio="16:9", thinking=True
    )
    assert complaints(draft) == []
    schema = route(QINGBO, "/tasks").request_schema
    assert schema is not None
    jsonschema_rs.validate(dict(schema), body)


def test_the_palette_example_of_the_seed():
    palette = [
        {"hex": "#0A2540", "ratio": 50},
        {"hex": "#F5F5F0", "ratio": 35},
        {"hex": "#E04B3A", "ratio": 15},
    ]
    draft = draft_of(PROMPT | {"color_palette": palette})
    assert draft.request.palette == (
        PaletteColor("#0A2540", Decimal(50)),
        PaletteColor("#F5F5F0", Decimal(35)),
        PaletteColor("#E04B3A", Decimal(15)),
    )
    assert complaints(draft) == []


@pytest.mark.parametrize(
    ("pictures", "boxes"),
    [
        (["https://cdn.example.com/cat.jpg"], [[[120, 80, 540, 460]]]),
        (
            ["https://cdn.example.com/scene.jpg"],
            [[[100, 100, 400, 400], [500, 200, 800, 500]]],
        ),
        (
            ["https://cdn.example.com/img-a.jpg", "https://cdn.example.com/img-b.jpg"],
            [[[120, 80, 540, 460]], [[200, 150, 600, 500]]],
        ),
    ],
)
@pytest.mark.parametrize("action", [None, "interactive_edit"])
def test_the_box_examples_of_the_seed(pictures, boxes, action):
    draft = draft_of(PROMPT | {"image_urls": pictures, "bbox_list": boxes, "action": action})
    assert draft.request.images == tuple(InputImage(url) for url in pictures)
    assert [[list(box) for box in row] for row in draft.request.boxes] == boxes
    assert draft.echo["action"] == "interactive_edit"
    assert complaints(draft) == []


@pytest.mark.parametrize(
    ("fields", "action"),
    [
        ({}, "generate"),
        ({"image_urls": links(1)}, "image2image"),
        ({"image_urls": links(2)}, "reference"),
        ({"enable_sequential": True, "n": 12}, "group"),
        ({"action": "edit", "image_urls": links(1)}, "edit"),
        ({"action": "group"}, "group"),
        ({"action": "generate"}, "generate"),
    ],
)
def test_the_action_is_what_was_said_or_what_the_fields_ask_for(fields, action):
    assert draft_of(PROMPT | fields).echo["action"] == action


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"action": "generate", "image_urls": links(1)}, "action"),
        ({"action": "image2image"}, "action"),
        ({"action": "edit", "image_urls": links(2)}, "action"),
        ({"action": "reference", "image_urls": links(1)}, "action"),
        ({"action": "reference", "image_urls": links(10)}, "action"),
        ({"action": "group", "enable_sequential": False}, "action"),
        ({"action": "interactive_edit", "image_urls": links(1)}, "bbox_list"),
        (
            {"action": "edit", "image_urls": links(1), "bbox_list": [[[1, 1, 2, 2]]]},
            "bbox_list",
        ),
        ({"action": "upscale"}, "action"),
        ({"resolution": "8K"}, "resolution"),
        ({"aspect_ratio": "21:9"}, "aspect_ratio"),
        ({"prompt": ""}, "prompt"),
        ({"extra": {}}, "extra"),
        (
            {"callback_url": "https://a.example/", "callback_events": ["ended"]},
            "callback_events[0]",
        ),
    ],
)
def test_contradictions_and_unknown_words_are_refused(fields, field):
    with pytest.raises(InvalidRequest) as caught:
        draft_of(PROMPT | fields)
    assert [problem.field for problem in caught.value.problems] == [field]


def test_its_own_defaults_are_said_aloud():
    request = draft_of(PROMPT).request
    assert (request.tier, request.aspect_ratio, request.thinking) == ("2K", "1:1", True)
    assert (request.n, request.seed, request.watermark) == (1, None, None)


@pytest.mark.parametrize("fields", [{"image_urls": links(1)}, {"enable_sequential": True}])
def test_thinking_is_not_claimed_where_it_has_no_effect(fields):
    assert draft_of(PROMPT | fields).request.thinking is None


def test_a_model_without_tiers_keeps_its_own_size():
    request = draft_of({"model": "wan2.5-t2i-preview", "prompt": "p"}).request
    assert (request.tier, request.aspect_ratio, request.thinking) == (None, None, None)


@pytest.mark.parametrize("resolution", ["1K", "1k", "4k"])
def test_resolution_is_read_in_either_case(resolution):
    assert draft_of(PROMPT | {"resolution": resolution}).request.tier == resolution.upper()


def test_seed_minus_one_is_random_and_zero_is_a_seed():
    assert draft_of(PROMPT | {"seed": -1}).request.seed is None
    assert draft_of(PROMPT | {"seed": 0}).request.seed == 0


def test_callback_events_are_qingbos_words():
    body = PROMPT | {
        "callback_url": "https://a.example/hook",
        "callback_events": ["succeeded", "cancelled"],
    }
    draft = draft_of(body)
    assert draft.callback == CallbackSpec("https://a.example/hook", ("completed", "cancelled"))
    assert draft.wait == Wait(None)


@pytest.mark.parametrize(
    ("prefer", "wait"),
    [
        ("", Wait(None)),
        ("respond-async", Wait(None)),
        ("wait=0", Wait(None)),
        ("wait=30", Wait(30.0, task_on_timeout=True, task_on_failure=True)),
        ("wait=600", Wait(60.0, task_on_timeout=True, task_on_failure=True)),
    ],
)
def test_waiting_is_at_most_a_minute_and_always_answers_a_task(prefer, wait):
    assert draft_of(PROMPT, prefer=prefer).wait == wait


def test_a_submitted_task_has_the_body_of_the_seed():
    task = replace(
        PENDING,
        id="task-wave1775290140a830128812",
        requested_model="wan2.7-image",
        created_ms=1775290140120,
        echo=ECHO,
        hold=1_656_818,
    )
    assert wire(QINGBO.render_created(task, VIEW).body) == {
        "task_id": "task-wave1775290140a830128812",
        "model": "wan2.7-image",
        "action": "generate",
        "status": "queued",
        "created_at": 1775290140120,
        "progress": 0,
        "pre_consumed_cost": 12150,
    }


def test_a_task_id_has_the_format_of_the_seed():
    task_id = QINGBO.new_task_id(1775290140_120, b"\x01" * 16)
    assert task_id.startswith("task-wave1775290140")
    tail = task_id.removeprefix("task-wave1775290140")
    assert tail[0].islower()
    assert tail[1:].isdigit()
    assert len(tail) == 10


@pytest.mark.parametrize(
    ("task", "word"),
    [
        (PENDING, "queued"),
        (PROCESSING, "processing"),
        (COMPLETED, "completed"),
        (FAILED, "failed"),
        (CANCELLED, "cancelled"),
    ],
)
def test_status_words(task, word):
    assert wire(QINGBO.render_task(task, VIEW).body)["status"] == word


def test_a_completed_task_has_a_list_in_a_list_and_milliseconds():
    body = wire(QINGBO.render_task(replace(COMPLETED, echo=ECHO, charged=1_656_818), VIEW).body)
    assert body["result"]["images"][0] == {
        "url": ["https://files.example.net/a1/lantern-0.png"],
        "expires_at": 1795256419000,
    }
    assert (body["created_at"], body["completed_at"]) == (1795170001100, 1795170019700)
    assert (body["progress"], body["cost"]) == (100, 12150)
    link = f"https://gw.example/qingbo/v1/tasks/{COMPLETED.id}"
    assert body["urls"] == {"get": link, "cancel": f"{link}/cancel"}


def test_times_can_be_seconds():
    body = wire(Qingbo(ms_per_tick=1000).render_task(COMPLETED, VIEW).body)
    assert (body["created_at"], body["completed_at"]) == (1795170001, 1795170019)
    assert body["result"]["images"][0]["expires_at"] == 1795256419


@pytest.mark.parametrize(
    ("code", "blame", "word"),
    [
        ("DataInspectionFailed", Blame.CALLER, "upstream_bad_request"),
        ("InvalidParameter", Blame.CALLER, "upstream_bad_request"),
        ("Throttling", Blame.RATE, "upstream_rate_limited"),
        ("Arrearage", Blame.ACCOUNT, "upstream_unavailable"),
        ("InternalError.Timeout", Blame.PROVIDER, "upstream_unavailable"),
        ("InternalError.Algo", Blame.PROVIDER, "task_failed"),
    ],
)
def test_a_failed_task_costs_nothing_and_has_qingbos_code(code, blame, word):
    body = wire(QINGBO.render_task(replace(failed(code, blame), echo=ECHO), VIEW).body)
    assert (body["status"], body["progress"], body["cost"]) == ("failed", 0, 0)
    assert body["error"]["code"] == word
    assert body["error"]["message"].startswith(f"[{word}] ")


def test_a_cancelled_task_has_neither_result_nor_error():
    body = wire(QINGBO.render_task(replace(CANCELLED, echo=ECHO), VIEW).body)
    assert {"result", "error"}.isdisjoint(body)
    assert body["cost"] == 0


def test_a_cancel_says_what_was_given_back():
    task = replace(CANCELLED, echo=ECHO, hold=1_656_818)
    assert wire(QINGBO.render_cancelled(task, VIEW).body) == {
        "task_id": task.id,
        "status": "cancelled",
        "refunded": True,
        "refunded_quota": 12150,
    }


def test_a_waiting_call_is_answered_with_the_task():
    assert QINGBO.render_result(COMPLETED, (), VIEW) == QINGBO.render_task(COMPLETED, VIEW)


def test_a_foreign_task_is_told_in_these_words_too():
    body = wire(QINGBO.render_task(replace(COMPLETED, echo={"mode": "reference"}), VIEW).body)
    assert (body["action"], "cost" in body) == ("reference", False)


@pytest.mark.parametrize(
    ("error", "status", "code", "param"),
    [
        (InvalidRequest(errors.Problem("n", "n is 9")), 400, "invalid_request", "n"),
        (
            InvalidRequest(errors.Problem("x", "no x", "unknown_parameter")),
            400,
            "capability_violation",
            "x",
        ),
        (
            InvalidRequest(errors.Problem("boxes", "no boxes", "unsupported_parameter")),
            400,
            "capability_violation",
            "boxes",
        ),
        (errors.TooLateToCancel(), 400, "task_not_cancellable", None),
        (errors.InsufficientCredits(), 402, "insufficient_credits", None),
        (errors.TaskNotFound(), 404, "task_not_found", None),
        (errors.NoHealthyUpstream(), 503, "upstream_unavailable", None),
    ],
)
def test_errors_are_message_code_and_param(error, status, code, param):
    reply = QINGBO.render_error(error, VIEW)
    words = wire(reply.body)["error"]
    assert (reply.status, words["code"], words.get("param")) == (status, code, param)
    assert "type" not in words


def test_a_settling_task_is_still_processing():
    ending = replace(COMPLETED, status=TaskStatus.PROCESSING, progress=100)
    body = wire(QINGBO.render_task(ending, VIEW).body)
    assert (body["status"], body["progress"], "result" in body) == ("processing", 99, False)
