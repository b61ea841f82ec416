"""The native bodies: seed 001, every state, errors and lists."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway.app.dialect import ListQuery, ResultImage
from gateway.app.ports import TaskFilter, TaskPage
from gateway.dialects import DIALECTS
from gateway.domain.errors import Blame, InvalidRequest, Problem, WaitExpired
from tests.dialects.samples import (
    CANCELLED,
    COMPLETED,
    FAILED,
    NOW_MS,
    PENDING,
    PROCESSING,
    VIEW,
    call,
    failed,
    wire,
)

NATIVE = DIALECTS["evolink"]


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
    problem = Problem("sise", "There is no field 'sise'.", "unknown_parameter", "size")
    reply = NATIVE.render_error(InvalidRequest(problem), VIEW)
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
