"""DashScope: seed 004 as printed, the four paths, and what the documents say of every answer."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import jsonschema_rs
import pytest

from gateway.app.dialect import (
    ListQuery,
    Operation,
    ResultImage,
    Upload,
    UploadDialect,
    UploadedFile,
)
from gateway.app.ports import TaskFilter, TaskPage
from gateway.dialects import DIALECTS
from gateway.domain import errors
from gateway.domain.errors import Blame, InvalidRequest, NotAllowed
from gateway.domain.request import GenerationRequest, InputImage, PaletteColor, ResultFormat, Size
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
    catalog,
    complaints,
    failed,
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
    content = {"images": [url]}
    draft = draft_of(IMAGE2IMAGE, prompted("wan2.5-i2i-preview", content))
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


def test_the_catalogue_is_only_asked_for_defaults():
    # A model nobody sells is the core's 404, with its close names; not the dialect's.
    assert "nobody-knows-it" not in catalog().aliases
    assert draft_of(TEXT2IMAGE, prompted("nobody-knows-it")).request.model == "nobody-knows-it"
