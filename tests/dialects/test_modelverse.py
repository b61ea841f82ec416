"""Modelverse: every example of seed 002, its rules and its traps."""

from __future__ import annotations

from dataclasses import replace

import jsonschema_rs
import pytest

from gateway.app.dialect import ResultImage
from gateway.dialects import DIALECTS
from gateway.domain import errors
from gateway.domain.errors import Blame, InvalidRequest
from gateway.domain.request import GenerationRequest, InputImage, Size
from gateway.domain.task import Ending, Image, TaskStatus
from tests.dialects.samples import (
    CANCELLED,
    COMPLETED,
    FAILED,
    PENDING,
    PROCESSING,
    VIEW,
    call,
    complaints,
    failed,
    read,
    route,
    wire,
)

MODELVERSE = DIALECTS["modelverse"]
SYNC = "/images/generations"
SUBMIT = "/tasks/submit"
CENTER = "A futuristic cloud data center floating above the sea at sunrise"
CAT = "把这只猫改成赛博朋克风格，霓虹灯光，电影感构图"
POSTER = "融合两张参考图的主体特征，生成一张高级感品牌海报"
SEASONS = "生成一组同一角色在春夏秋冬四季中的海报，人物形象保持一致"
PICTURE = "https://umodelverse-inference.cn-wlcb.ufileos.com/亿恩科技-maxcot.jpg"

SYNC_EXAMPLES = [
    (
        {"model": "wan2.7-image", "prompt": CENTER, "size": "1K", "seed": 123456,
         "watermark": False},
        GenerationRequest("wan2.7-image", CENTER, tier="1K", seed=123456, watermark=False,
                          thinking=False),
    ),
    (
        {"model": "wan2.7-image-pro", "prompt": CAT, "image": PICTURE, "size": "2K",
         "thinking_mode": True, "watermark": False},
        GenerationRequest("wan2.7-image-pro", CAT, images=(InputImage(PICTURE),), tier="2K",
                          thinking=True, watermark=False),
    ),
    (
        {"model": "wan2.7-image-pro", "prompt": POSTER, "images": [PICTURE, PICTURE],
         "size": "2048x2048", "thinking_mode": True, "seed": 20260402},
        GenerationRequest("wan2.7-image-pro", POSTER, images=(InputImage(PICTURE),) * 2,
                          size=Size(2048, 2048), thinking=True, seed=20260402),
    ),
    (
        {"model": "wan2.7-image-pro", "prompt": SEASONS, "size": "2K", "thinking_mode": True,
         "enable_sequential": True, "n": 4},
        GenerationRequest("wan2.7-image-pro", SEASONS, tier="2K", thinking=True, group=True, n=4),
    ),
]  # fmt: skip
TASK_EXAMPLES = [
    (
        {"model": "wan2.7-image-pro",
         "input": {"prompt": "一只坐在咖啡馆窗边的布偶猫", "images": [PICTURE]},
         "parameters": {"size": "2K", "prompt_extend": True, "enable_sequential": True, "n": 4,
                        "seed": 123456, "watermark": False}},
        GenerationRequest("wan2.7-image-pro", "一只坐在咖啡馆窗边的布偶猫",
                          images=(InputImage(PICTURE),), tier="2K", thinking=True, group=True,
                          n=4, seed=123456, watermark=False),
    ),
    (
        {"model": "wan2.7-image", "input": {"prompt": CENTER},
         "parameters": {"size": "1K", "seed": 123456}},
        GenerationRequest("wan2.7-image", CENTER, tier="1K", seed=123456, thinking=False),
    ),
    (
        {"model": "wan2.7-image-pro", "input": {"prompt": CAT, "img_url": PICTURE},
         "parameters": {"size": "2K", "prompt_extend": True, "watermark": False}},
        GenerationRequest("wan2.7-image-pro", CAT, images=(InputImage(PICTURE),), tier="2K",
                          thinking=True, watermark=False),
    ),
    (
        {"model": "wan2.7-image-pro", "input": {"prompt": POSTER, "images": [PICTURE, PICTURE]},
         "parameters": {"size": "2048x2048", "prompt_extend": True, "seed": 20260402}},
        GenerationRequest("wan2.7-image-pro", POSTER, images=(InputImage(PICTURE),) * 2,
                          size=Size(2048, 2048), thinking=True, seed=20260402),
    ),
    (
        {"model": "wan2.7-image-pro", "input": {"prompt": SEASONS},
         "parameters": {"size": "2K", "prompt_extend": True, "enable_sequential": True, "n": 4}},
        GenerationRequest("wan2.7-image-pro", SEASONS, tier="2K", thinking=True, group=True, n=4),
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "body", "request_"),
    [(SYNC, *example) for example in SYNC_EXAMPLES]
    + [(SUBMIT, *example) for example in TASK_EXAMPLES],
)
def test_the_examples_of_the_seed_are_read_as_printed(path, body, request_):
    draft = read("modelverse", path, body)
    assert draft.request == request_
    assert complaints(draft) == []
    schema = route(MODELVERSE, path).request_schema
    assert schema is not None
    jsonschema_rs.validate(dict(schema), body)


def test_one_call_waits_and_the_other_does_not():
    assert route(MODELVERSE, SYNC).sync is True
    assert route(MODELVERSE, SUBMIT).sync is False


@pytest.mark.parametrize("seed", [0, None])
def test_seed_zero_means_random(seed):
    body = {"model": "wan2.7-image", "prompt": "p", "seed": seed}
    assert read("modelverse", SYNC, body).request.seed is None


def test_several_pictures_win_over_one():
    body = {"model": "m", "images": ["https://a.example/1.png"], "image": "https://a.example/2.png"}
    draft = read("modelverse", SYNC, body)
    assert draft.request.images == (InputImage("https://a.example/1.png"),)
    assert draft.ignored == ("image",)


@pytest.mark.parametrize(
    ("fields", "winner"),
    [
        (("images", "img_url", "first_frame_url"), "images"),
        (("first_frame_url", "img_url"), "img_url"),
        (("first_frame_url",), "first_frame_url"),
    ],
)
def test_the_rank_of_the_task_protocols_picture_fields(fields, winner):
    content = {field: f"https://a.example/{field}.png" for field in fields}
    draft = read("modelverse", SUBMIT, {"model": "m", "input": content})
    assert draft.request.images == (InputImage(f"https://a.example/{winner}.png"),)
    assert draft.field_names["images"] == f"input.{winner}"


def test_base64_is_taken_for_a_picture():
    text = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ"
    draft = read("modelverse", SYNC, {"model": "m", "image": text})
    assert draft.request.images[0].url == f"data:image/png;base64,{text}"


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (SYNC, {"model": "m"}, "prompt"),
        (SUBMIT, {"model": "m", "input": {}}, "input.prompt"),
        (SUBMIT, {"model": "m"}, "input"),
        (SUBMIT, {"model": "m", "input": {"prompt": "p"}, "parameters": {"n": 5}}, "parameters.n"),
        (SYNC, {"prompt": "p"}, "model"),
        (SYNC, {"model": "m", "prompt": "p", "color_palette": []}, "color_palette"),
        (SYNC, {"model": "m", "prompt": "p", "bbox_list": []}, "bbox_list"),
        (
            SUBMIT,
            {"model": "m", "input": {"prompt": "p"}, "parameters": {"sise": "1K"}},
            "parameters.sise",
        ),
        (SUBMIT, {"model": "m", "input": {"prompt": 7}}, "input.prompt"),
    ],
)
def test_what_the_protocol_does_not_take_is_refused(path, body, field):
    with pytest.raises(InvalidRequest) as caught:
        read("modelverse", path, body)
    assert field in [problem.field for problem in caught.value.problems]


def test_a_group_may_be_larger_than_four_on_the_synchronous_call():
    body = {"model": "wan2.7-image", "prompt": "p", "enable_sequential": True, "n": 12}
    draft = read("modelverse", SYNC, body)
    assert draft.request.n == 12
    assert complaints(draft) == []


def test_thinking_is_off_unless_said_here_whatever_the_model_does():
    said = read("modelverse", SYNC, {"model": "wan2.7-image", "prompt": "p"}).request
    other = read("modelverse", SYNC, {"model": "wan2.5-t2i-preview", "prompt": "p"}).request
    assert (said.thinking, other.thinking) == (False, None)


def test_the_answer_to_a_submit_is_the_id_alone():
    task = replace(PENDING, id="3c7d6b6c-7cdb-4f37-bf41-7f2b0f1a9f0d")
    assert wire(MODELVERSE.render_created(task, VIEW).body) == {
        "output": {"task_id": "3c7d6b6c-7cdb-4f37-bf41-7f2b0f1a9f0d"},
        "request_id": "req_1",
    }


def test_the_success_example_of_the_seed():
    links = [f"https://example.com/generated-image-{n}.png" for n in (1, 2, 3, 4)]
    task = replace(
        COMPLETED,
        id="3c7d6b6c-7cdb-4f37-bf41-7f2b0f1a9f0d",
        created_ms=1775115000_000,
        finished_ms=1775115038_000,
        ending=Ending(TaskStatus.COMPLETED, tuple(Image(link) for link in links)),
    )
    assert wire(MODELVERSE.render_task(task, replace(VIEW, request_id="")).body) == {
        "output": {
            "task_id": "3c7d6b6c-7cdb-4f37-bf41-7f2b0f1a9f0d",
            "task_status": "Success",
            "urls": links,
            "submit_time": 1775115000,
            "finish_time": 1775115038,
        },
        "usage": {"completion_tokens": 4, "total_tokens": 4},
        "request_id": "",
    }


def test_the_failure_example_of_the_seed():
    task = replace(
        failed("InvalidParameter", Blame.CALLER, "invalid image url"),
        id="3c7d6b6c-7cdb-4f37-bf41-7f2b0f1a9f0d",
        created_ms=1775115000_000,
        finished_ms=1775115012_000,
    )
    reply = MODELVERSE.render_task(task, replace(VIEW, request_id=""))
    assert reply.status == 200
    assert wire(reply.body) == {
        "output": {
            "task_id": "3c7d6b6c-7cdb-4f37-bf41-7f2b0f1a9f0d",
            "task_status": "Failure",
            "submit_time": 1775115000,
            "finish_time": 1775115012,
            "error_message": "code=InvalidParameter, message=invalid image url",
        },
        "request_id": "",
    }


@pytest.mark.parametrize(
    ("task", "word"),
    [
        (PENDING, "Pending"),
        (PROCESSING, "Running"),
        (COMPLETED, "Success"),
        (FAILED, "Failure"),
        (CANCELLED, "Cancelled"),
    ],
)
def test_status_words(task, word):
    assert wire(MODELVERSE.render_task(task, VIEW).body)["output"]["task_status"] == word


def test_a_failure_elsewhere_is_told_in_dashscopes_codes():
    task = failed("content_policy_violation", Blame.CALLER, "no")
    output = wire(MODELVERSE.render_task(task, VIEW).body)["output"]
    assert output["error_message"] == "code=DataInspectionFailed, message=no"


def test_the_synchronous_answer_is_created_and_data():
    images = (ResultImage(url="https://a.example/1.png"),)
    assert wire(MODELVERSE.render_result(COMPLETED, images, VIEW).body) == {
        "created": 1795170001,
        "data": [{"url": "https://a.example/1.png"}],
    }


def test_the_task_id_of_a_query_is_in_the_query_string():
    assert MODELVERSE.read_task_id(call(query={"task_id": "t"})) == "t"
    with pytest.raises(InvalidRequest):
        MODELVERSE.read_task_id(call())


@pytest.mark.parametrize(
    ("error", "status", "kind", "code"),
    [
        (
            InvalidRequest(errors.Problem("n", "n is 9")),
            400,
            "invalid_request_error",
            "param_error",
        ),
        (
            InvalidRequest(errors.Problem("prompt", "long", "string_above_max_length")),
            400,
            "invalid_request_error",
            "tokens_too_long",
        ),
        (MODELVERSE.failure_of(FAILED), 400, "invalid_request_error", "sensitive_check_error"),
        (errors.ModelNotFound("x"), 400, "invalid_request_error", "model_error"),
        (errors.AuthenticationFailed(), 401, "invalid_request_error", "auth_error"),
        (errors.InsufficientCredits(), 403, "permission_error", "forbidden"),
        (errors.TaskNotFound(), 404, "invalid_request_error", "param_error"),
        (errors.RateLimited("slow", 1), 429, "rate_limit_error", "rate_limit"),
        (errors.GatewayError(), 500, "internal_error", "internal_error"),
        (
            MODELVERSE.failure_of(failed("InternalError.Algo", Blame.PROVIDER)),
            500,
            "internal_error",
            "model_server_error",
        ),
        (errors.WaitExpired("task-1"), 504, "timeout", "gateway_timeout_error"),
    ],
)
def test_errors_are_openai_shaped_with_the_request_id_as_param(error, status, kind, code):
    reply = MODELVERSE.render_error(error, VIEW)
    words = wire(reply.body)["error"]
    assert reply.status == status
    assert words == {
        "message": error.message,
        "type": kind,
        "param": "req_1",
        "code": code,
    }


def test_a_task_id_is_a_random_uuid():
    assert MODELVERSE.new_task_id(0, b"\xff" * 16) == "ffffffff-ffff-4fff-bfff-ffffffffffff"
