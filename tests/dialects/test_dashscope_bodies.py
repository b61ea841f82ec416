"""DashScope's answers in every state, its lists, errors, frames and uploads."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.app.dialect import (
    ListQuery,
    ResultImage,
    Upload,
    UploadDialect,
    UploadedFile,
)
from gateway.app.ports import TaskFilter, TaskPage
from gateway.dialects import DIALECTS
from gateway.domain import errors
from gateway.domain.errors import Blame, InvalidRequest
from gateway.domain.request import InputImage
from gateway.domain.task import Ending, Image, TaskStatus
from tests.dialects.samples import (
    BASE_URL,
    CANCELLED,
    COMPLETED,
    FAILED,
    PENDING,
    PNG,
    PROCESSING,
    VIEW,
    call,
    failed,
    read,
    wire,
)

DASHSCOPE = DIALECTS["dashscope"]
IMAGE2IMAGE = "/services/aigc/image2image/image-synthesis"


def test_a_submit_is_answered_with_200_and_no_code():
    reply = DASHSCOPE.render_created(PENDING, VIEW)
    assert reply.status == 200
    assert wire(reply.body) == {
        "output": {"task_status": "PENDING", "task_id": PENDING.id},
        "request_id": "req_1",
    }


@pytest.mark.parametrize(
    ("task", "word"),
    [
        (PENDING, "PENDING"),
        (PROCESSING, "RUNNING"),
        (COMPLETED, "SUCCEEDED"),
        (FAILED, "FAILED"),
        (CANCELLED, "CANCELED"),
    ],
)
def test_status_words_and_no_top_level_code(task, word):
    body = wire(DASHSCOPE.render_task(task, VIEW).body)
    assert body["output"]["task_status"] == word
    assert "code" not in body


def test_times_are_beijing_texts():
    output = wire(DASHSCOPE.render_task(COMPLETED, VIEW).body)["output"]
    assert output["submit_time"] == "2026-11-20 18:20:01.100"
    assert output["scheduled_time"] == "2026-11-20 18:20:01.140"
    assert output["end_time"] == "2026-11-20 18:20:19.700"


def test_results_with_prompts_and_one_failed_picture():
    echo = {"kind": "results", "mode": "generate", "prompt": "Paper lanterns"}
    one = Ending(TaskStatus.COMPLETED, COMPLETED.images[:1])
    body = wire(DASHSCOPE.render_task(replace(COMPLETED, echo=echo, ending=one), VIEW).body)
    first, second = body["output"]["results"]
    assert first == {
        "orig_prompt": "Paper lanterns",
        "actual_prompt": "A quiet canal",
        "url": "https://files.example.net/a1/lantern-0.png",
    }
    assert set(second) == {"code", "message"}
    assert body["output"]["task_metrics"] == {"TOTAL": 2, "SUCCEEDED": 1, "FAILED": 1}
    assert body["usage"] == {"image_count": 1}


def test_choices_for_tasks_of_the_messages_protocol():
    body = wire(DASHSCOPE.render_task(replace(COMPLETED, echo={"kind": "choices"}), VIEW).body)
    assert body["output"]["finished"] is True
    assert "results" not in body["output"]
    assert body["output"]["choices"][1] == {
        "finish_reason": "stop",
        "message": {
            "role": "assistant",
            "content": [{"type": "image", "image": f"{BASE_URL}/assets/2c1f.png"}],
        },
    }
    assert body["usage"] == {"image_count": 2}


def test_a_group_that_made_fewer_pictures_did_not_fail():
    echo = {"kind": "choices", "mode": "group"}
    few = Ending(TaskStatus.COMPLETED, (Image("https://a.example/1.png"),))
    task = replace(COMPLETED, n=12, echo=echo, ending=few)
    output = wire(DASHSCOPE.render_task(task, VIEW).body)["output"]
    assert output["task_metrics"] == {"TOTAL": 1, "SUCCEEDED": 1, "FAILED": 0}


def test_a_failure_is_inside_the_output():
    reply = DASHSCOPE.render_task(FAILED, VIEW)
    output = wire(reply.body)["output"]
    assert reply.status == 200
    assert (output["code"], output["message"]) == (
        "DataInspectionFailed",
        "The prompt was rejected.",
    )
    assert output["task_metrics"] == {"TOTAL": 2, "SUCCEEDED": 0, "FAILED": 2}


@pytest.mark.parametrize(
    ("code", "blame", "word"),
    [
        ("IPInfringementSuspect", Blame.CALLER, "IPInfringementSuspect"),
        ("InternalError.Timeout", Blame.PROVIDER, "InternalError.Timeout"),
        ("content_policy_violation", Blame.CALLER, "DataInspectionFailed"),
        ("invalid_parameters", Blame.CALLER, "InvalidParameter"),
        ("rate_limited", Blame.RATE, "Throttling.RateQuota"),
        ("upstream_error", Blame.PROVIDER, "InternalError.Algo"),
        ("no_healthy_upstream", Blame.PROVIDER, "ModelUnavailable"),
        ("InvalidApiKey", Blame.ACCOUNT, "ModelUnavailable"),
    ],
)
def test_own_words_stay_and_others_become_dashscopes(code, blame, word):
    output = wire(DASHSCOPE.render_task(failed(code, blame), VIEW).body)["output"]
    assert output["code"] == word


def test_an_unknown_task_is_200_and_unknown():
    reply = DASHSCOPE.render_unknown("5f2d", VIEW)
    assert reply.status == 200
    assert wire(reply.body) == {
        "request_id": "req_1",
        "output": {"task_id": "5f2d", "task_status": "UNKNOWN"},
    }


def test_a_synchronous_answer_has_an_output_object_without_task_fields():
    images = (ResultImage(url="https://a.example/1.png"),)
    body = wire(DASHSCOPE.render_result(COMPLETED, images, VIEW).body)
    assert set(body) == {"request_id", "output", "usage"}
    assert set(body["output"]) == {"choices", "finished"}


def test_a_cancel_is_answered_with_the_request_id():
    assert wire(DASHSCOPE.render_cancelled(CANCELLED, VIEW).body) == {"request_id": "req_1"}


def test_a_list_is_there_twice_for_old_and_new_sdks():
    query = ListQuery(TaskFilter(), limit=1, page=2)
    body = wire(DASHSCOPE.render_list(TaskPage((COMPLETED,), "c", 7), query, VIEW).body)
    counts = (body["total"], body["total_page"], body["page_no"], body["page_size"])
    assert counts == (7, 7, 2, 1)
    (documented,), (newest,) = body["data"], body["tasks"]
    assert documented["status"] == newest["task_status"] == "SUCCEEDED"
    assert documented["model_name"] == newest["model_name"] == "wan2.5-text-to-image"
    assert documented["gmt_create"] == 1795170001100
    assert newest["submit_time"] == "2026-11-20 18:20:01.100"


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({}, ListQuery(TaskFilter(), limit=10, page=1)),
        (
            {"page_no": "2", "page_size": "5", "status": "CANCELED", "model_name": "m"},
            ListQuery(TaskFilter(status="cancelled", model="m"), limit=5, page=2),
        ),
        (
            {"start_time": "20261120170000", "task_id": "t", "region": "cn-beijing", "n": "4"},
            ListQuery(TaskFilter(since_ms=1795165200_000, task_id="t"), limit=10, page=1),
        ),
    ],
)
def test_a_list_is_asked_for_in_dashscopes_words(query, wanted):
    assert DASHSCOPE.read_list(call(query=query)) == wanted


@pytest.mark.parametrize(
    "query", [{"status": "done"}, {"page_no": "x"}, {"start_time": "2026-11-20"}]
)
def test_a_list_refuses_what_is_no_word_of_dashscopes(query):
    with pytest.raises(InvalidRequest):
        DASHSCOPE.read_list(call(query=query))


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (InvalidRequest(errors.Problem("n", "n is 9")), 400, "InvalidParameter"),
        (DASHSCOPE.failure_of(FAILED), 400, "DataInspectionFailed"),
        (errors.InsufficientCredits(), 400, "Arrearage"),
        (errors.AuthenticationFailed(), 401, "InvalidApiKey"),
        (errors.NotAllowed(), 403, "AccessDenied"),
        (errors.ModelNotFound("x"), 404, "ModelNotFound"),
        (errors.RouteNotFound(), 404, "NotFound"),
        (errors.BodyTooLarge(), 413, "BadRequest.TooLarge"),
        (errors.TooLateToCancel(), 400, "UnsupportedOperation"),
        (errors.RateLimited("slow", 1), 429, "Throttling.RateQuota"),
        (
            DASHSCOPE.failure_of(failed("upstream_error", Blame.PROVIDER)),
            500,
            "InternalError.Algo",
        ),
        (errors.NoHealthyUpstream(), 503, "ModelUnavailable"),
        (errors.StoreUnavailable(), 503, "ServiceUnavailable"),
        (errors.WaitExpired("task-1"), 504, "GatewayTimeout"),
        (errors.GatewayError(), 500, "InternalError"),
    ],
)
def test_errors_are_flat_with_dashscopes_codes(error, status, code):
    reply = DASHSCOPE.render_error(error, VIEW)
    body = wire(reply.body)
    assert (reply.status, body["code"], body["request_id"]) == (status, code, "req_1")
    assert "error" not in body


def test_frames_are_written_as_the_sdk_parses_them():
    assert DASHSCOPE.frame(1, "result", b"{}") == (
        b"id:1\nevent:result\n:HTTP_STATUS/200\ndata:{}\n\n"
    )
    assert DASHSCOPE.frame(2, "error", b"{}", 400) == (
        b"id:2\nevent:error\n:HTTP_STATUS/400\ndata:{}\n\n"
    )


def test_an_upload_policy_has_every_field_the_sdk_puts_into_its_form():
    assert isinstance(DASHSCOPE, UploadDialect)
    data = wire(DASHSCOPE.render_upload_policy("a" * 32, 2**24, 600, VIEW).body)["data"]
    assert {
        "policy",
        "signature",
        "upload_dir",
        "upload_host",
        "oss_access_key_id",
        "x_oss_object_acl",
        "x_oss_forbid_overwrite",
    } <= set(data)
    assert data["upload_host"] == f"{BASE_URL}/dashscope/api/v1/uploads?ticket={'a' * 32}"
    assert data["max_file_size_mb"] == 16


def test_an_uploaded_picture_is_named_by_its_key():
    assert isinstance(DASHSCOPE, UploadDialect)
    url = f"oss://gateway-uploads/{'a' * 32}/my cat.png"
    body = {"model": "wan2.5-i2i-preview", "input": {"prompt": "p", "images": [url]}}
    draft = read("dashscope", IMAGE2IMAGE, body, x_dashscope_async="enable")
    assert draft.request.images == (InputImage(url),)
    assert DASHSCOPE.upload_key(url) == f"gateway-uploads/{'a' * 32}/my cat.png"
    for other in (
        "https://a.example/gateway-uploads/x",
        "oss://other/" + "a" * 32 + "/c.png",
        f"oss://gateway-uploads/{'a' * 32}/b/c.png",
        "oss://gateway-uploads/short/c.png",
    ):
        assert DASHSCOPE.upload_key(other) is None


@pytest.mark.parametrize(
    ("form", "files"),
    [
        ((), ()),
        ((("key", "elsewhere/c.png"),), (UploadedFile("file", "c.png", "image/png", PNG),)),
        ((("key", f"gateway-uploads/{'a' * 32}/c.png"),), ()),
    ],
)
def test_an_upload_needs_a_key_of_ours_and_a_file(form, files):
    assert isinstance(DASHSCOPE, UploadDialect)
    with pytest.raises(InvalidRequest):
        DASHSCOPE.read_upload(call(b"", form=form, files=files, query={"ticket": "a" * 32}))


def test_an_upload_belongs_to_the_ticket_of_its_address():
    assert isinstance(DASHSCOPE, UploadDialect)
    key = f"gateway-uploads/{'a' * 32}/c.png"
    file = UploadedFile("file", "c.png", "image/png", PNG)
    mine = call(b"", form=(("key", key),), files=(file,), query={"ticket": "a" * 32})
    assert DASHSCOPE.read_upload(mine) == Upload(key, file)
    assert DASHSCOPE.read_upload_ticket(mine) == "a" * 32
    with pytest.raises(InvalidRequest):
        DASHSCOPE.read_upload(replace(mine, query={"ticket": "b" * 32}))


def test_a_foreign_task_has_results():
    body = wire(DASHSCOPE.render_task(replace(COMPLETED, echo={"kind": "edit"}), VIEW).body)
    assert len(body["output"]["results"]) == 2


def test_a_task_id_is_a_random_uuid():
    assert DASHSCOPE.new_task_id(0, b"\x00" * 16) == "00000000-0000-4000-8000-000000000000"
