from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from gateway.simulator import Script, Simulator
from tests.simulator.calls import DASHSCOPE_ASYNC, LANTERNS, data_url, opened

TEXT = "/services/aigc/text2image/image-synthesis"
EDIT = "/services/aigc/image2image/image-synthesis"
NEW_ASYNC = "/services/aigc/image-generation/generation"
NEW_SYNC = "/services/aigc/multimodal-generation/generation"
TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}"
PNG = "https://img.example.net/kite.png"


def old(model: str = "wan2.5-t2i-preview", **parameters: object) -> dict[str, Any]:
    return {"model": model, "input": {"prompt": LANTERNS}, "parameters": parameters}


def new(model: str = "wan2.7-image", images: tuple[str, ...] = (), **parameters: object) -> dict:
    content = [{"image": image} for image in images] + [{"text": LANTERNS}]
    messages = [{"role": "user", "content": content}]
    return {"model": model, "input": {"messages": messages}, "parameters": parameters}


async def post(
    sim: Simulator, web: httpx.AsyncClient, path: str, body: object, *, wait: bool = False
) -> httpx.Response:
    headers = {} if wait else DASHSCOPE_ASYNC
    return await web.post(sim.base_url("dashscope") + path, json=body, headers=headers)


async def show(sim: Simulator, web: httpx.AsyncClient, task_id: str) -> dict[str, Any]:
    answer = await web.get(f"{sim.base_url('dashscope')}/tasks/{task_id}")
    assert answer.status_code == 200
    return answer.json()


async def test_create_answers_pending_and_a_request_id(sim, web):
    answer = await post(sim, web, TEXT, old(n=1))
    body = answer.json()
    assert answer.status_code == 200
    assert body["output"] == {"task_status": "PENDING", "task_id": sim.tasks("dashscope")[0].id}
    assert re.fullmatch(r"[0-9a-f-]{36}", body["request_id"])


async def test_old_protocol_states_and_results(sim, web):
    task_id = (await post(sim, web, TEXT, old(n=2, size="1280*1280"))).json()["output"]["task_id"]
    pending = (await show(sim, web, task_id))["output"]
    assert pending["task_status"] == "PENDING"
    assert pending["task_metrics"] == {"TOTAL": 2, "SUCCEEDED": 0, "FAILED": 0}
    assert re.fullmatch(TIME, pending["submit_time"])
    sim.advance(2_000)
    assert (await show(sim, web, task_id))["output"]["task_status"] == "RUNNING"
    sim.advance(8_000)
    body = await show(sim, web, task_id)
    output = body["output"]
    assert output["task_status"] == "SUCCEEDED"
    assert re.fullmatch(TIME, output["end_time"])
    assert [sorted(entry) for entry in output["results"]] == [
        ["actual_prompt", "orig_prompt", "url"]
    ] * 2
    assert "Expires=" in output["results"][0]["url"]
    assert body["usage"] == {"image_count": 2}
    assert "code" not in body


async def test_actual_prompt_is_told_only_when_the_prompt_was_extended(sim, web):
    answer = await post(sim, web, TEXT, old(n=1, prompt_extend=False))
    sim.advance(10_000)
    output = (await show(sim, web, answer.json()["output"]["task_id"]))["output"]
    assert sorted(output["results"][0]) == ["orig_prompt", "url"]


async def test_a_picture_that_fails_alone_is_an_entry_with_a_code(sim, web):
    sim.script("dashscope", Script(deliver=1))
    task_id = (await post(sim, web, TEXT, old(n=3))).json()["output"]["task_id"]
    sim.advance(10_000)
    body = await show(sim, web, task_id)
    assert body["output"]["task_status"] == "SUCCEEDED"
    assert [entry.get("code") for entry in body["output"]["results"]] == [
        None,
        "InternalError.Timeout",
        "InternalError.Timeout",
    ]
    assert body["output"]["task_metrics"] == {"TOTAL": 3, "SUCCEEDED": 1, "FAILED": 2}
    assert body["usage"] == {"image_count": 1}
    assert sim.bill("dashscope").images == 1


async def test_new_protocol_result_has_choices(sim, web):
    answer = await post(sim, web, NEW_ASYNC, new(n=2, is_async=True))
    sim.advance(10_000)
    body = await show(sim, web, answer.json()["output"]["task_id"])
    output = body["output"]
    assert output["finished"] is True
    assert "results" not in output
    choice = output["choices"][1]
    assert choice["finish_reason"] == "stop"
    assert choice["message"]["role"] == "assistant"
    assert choice["message"]["content"][0]["type"] == "image"
    assert body["usage"]["image_count"] == 2
    assert body["usage"]["size"] == "2048*2048"
    picture = opened((await web.get(choice["message"]["content"][0]["image"])).content)
    assert picture.size == (2048, 2048)


async def test_the_sync_endpoint_answers_choices_without_task(quick, web):
    body = (await post(quick, web, NEW_SYNC, new("wan2.6-t2i", n=1), wait=True)).json()
    assert sorted(body) == ["output", "request_id", "usage"]
    assert sorted(body["output"]) == ["choices", "finished"]
    assert quick.bill("dashscope").images == 1


async def test_the_sync_endpoint_streams_events_when_asked(quick, web):
    web.headers["x-dashscope-sse"] = "enable"
    body = new("wan2.6-image", enable_interleave=True, max_images=2)
    answer = await post(quick, web, NEW_SYNC, body, wait=True)
    assert answer.headers["content-type"] == "text/event-stream"
    head, data = answer.text.strip().split("\ndata:")
    assert head == "id:1\nevent:result\n:HTTP_STATUS/200"
    assert data.count('"type":"image"') == 2
    assert data.count('"type":"text"') == 2


@pytest.mark.parametrize(
    ("path", "asynchronous", "words"),
    [
        (TEXT, False, "does not support synchronous calls"),
        (EDIT, False, "does not support synchronous calls"),
        (NEW_ASYNC, False, "does not support synchronous calls"),
        (NEW_SYNC, True, "does not support asynchronous calls"),
    ],
)
async def test_the_async_header_must_fit_the_endpoint(sim, web, path, asynchronous, words):
    answer = await post(sim, web, path, old(), wait=not asynchronous)
    assert answer.status_code == 403
    assert answer.json()["code"] == "AccessDenied"
    assert words in answer.json()["message"]


@pytest.mark.parametrize(
    ("path", "body", "count"),
    [
        (TEXT, old(), 4),
        (TEXT, old("wan2.2-t2i-flash"), 4),
        (
            EDIT,
            {"model": "wan2.5-i2i-preview", "input": {"prompt": "x", "images": [PNG]}},
            4,
        ),
        (NEW_ASYNC, new("wan2.6-t2i"), 4),
        (NEW_ASYNC, new("wan2.6-image", (PNG,)), 4),
        (NEW_ASYNC, new("wan2.7-image"), 1),
        (NEW_ASYNC, new("wan2.7-image", enable_sequential=True), 12),
        (NEW_ASYNC, new("wan2.6-image", enable_interleave=True), 5),
    ],
)
async def test_the_default_count_is_the_vendors_expensive_one(sim, web, path, body, count):
    assert (await post(sim, web, path, body)).status_code == 200
    assert sim.tasks("dashscope")[0].order.n == count
    sim.advance(10_000)
    assert sim.bill("dashscope").images == count


PALETTE = [{"hex": "#C2D1E6", "ratio": "23.51%"}, {"hex": "#000000", "ratio": "26.49%"}]


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        (TEXT, old("wan9"), "Model.NotExist"),
        (TEXT, {"input": {"prompt": "x"}}, "BadRequest.EmptyModel"),
        (TEXT, {"model": "wan2.5-t2i-preview"}, "BadRequest.EmptyInput"),
        (TEXT, {"model": "wan2.5-t2i-preview", "input": {}}, "InvalidParameter"),
        (TEXT, old(n=5), "InvalidParameter"),
        (TEXT, old(seed=-1), "InvalidParameter"),
        (TEXT, old(size="1280x1280"), "InvalidParameter"),
        (TEXT, old(size="1024*1024"), "InvalidParameter"),
        (TEXT, old(size="1600*1600"), "InvalidParameter"),
        (TEXT, old("wan2.2-t2i-plus", size="500*1000"), "InvalidParameter"),
        (TEXT, old("wan2.7-image"), "InvalidParameter"),
        (EDIT, old("wanx2.1-imageedit"), "InvalidParameter"),
        (EDIT, old("wan2.5-i2i-preview"), "InvalidParameter"),
        (
            EDIT,
            {"model": "wan2.5-i2i-preview", "input": {"prompt": "x", "images": [PNG] * 4}},
            "InvalidParameter",
        ),
        (
            EDIT,
            {"model": "wan2.5-i2i-preview", "input": {"prompt": "x", "images": ["kite.png"]}},
            "InvalidParameter",
        ),
        (NEW_ASYNC, new("wan2.5-t2i-preview"), "InvalidParameter"),
        (NEW_ASYNC, new("wan2.6-t2i", (PNG,)), "InvalidParameter"),
        (NEW_ASYNC, new("wan2.6-t2i", size="1024*1024"), "InvalidParameter"),
        (NEW_ASYNC, new("wan2.6-image"), "InvalidParameter"),
        (NEW_ASYNC, new("wan2.6-image", (PNG,) * 2, enable_interleave=True), "InvalidParameter"),
        (NEW_ASYNC, new("wan2.7-image", (PNG,) * 10), "InvalidParameter"),
        (NEW_ASYNC, new("wan2.7-image", n=5), "InvalidParameter"),
        (NEW_ASYNC, new("wan2.7-image", n=13, enable_sequential=True), "InvalidParameter"),
        (NEW_ASYNC, new("wan2.7-image", size="4K"), "InvalidParameter"),
        (NEW_ASYNC, new("wan2.7-image-pro", (PNG,), size="4K"), "InvalidParameter"),
        (
            NEW_ASYNC,
            new("wan2.7-image-pro", size="4K", enable_sequential=True),
            "InvalidParameter",
        ),
        (NEW_ASYNC, new("wan2.7-image", size="9000*100"), "InvalidParameter"),
        (NEW_ASYNC, new("wan2.7-image", thinking_mode="on"), "InvalidParameter"),
        (NEW_ASYNC, new("wan2.7-image", color_palette=PALETTE), "InvalidParameter"),
        (
            NEW_ASYNC,
            new(color_palette=[*PALETTE, {"hex": "#FFF", "ratio": "50.00%"}]),
            "InvalidParameter",
        ),
        (
            NEW_ASYNC,
            new(color_palette=[*PALETTE, {"hex": "#FFFFFF", "ratio": "49.99%"}]),
            "InvalidParameter",
        ),
        (
            NEW_ASYNC,
            new(color_palette=[*PALETTE, {"hex": "#FFFFFF", "ratio": 50}]),
            "InvalidParameter",
        ),
        (NEW_ASYNC, new("wan2.7-image", (PNG,), bbox_list=[[], []]), "InvalidParameter"),
        (NEW_ASYNC, new("wan2.7-image", (PNG,), bbox_list=[[[9, 9, 1, 1]]]), "InvalidParameter"),
        (NEW_ASYNC, new("wan2.7-image", (PNG,), bbox_list=[[[1, 1, 9.5, 9]]]), "InvalidParameter"),
        (
            NEW_ASYNC,
            new("wan2.7-image", (PNG,), bbox_list=[[[1, 1, 9, 9]] * 3]),
            "InvalidParameter",
        ),
        (NEW_ASYNC, new("wan2.7-image", (data_url(200, 300),)), "InvalidImageResolution"),
        (NEW_ASYNC, new("wan2.7-image", (data_url(400, 400, "RGBA"),)), "InvalidImageFormat"),
        (NEW_ASYNC, new("wan2.7-image", ("oss://nowhere/a.png",)), "InvalidURL"),
    ],
)
async def test_what_the_vendor_refuses_is_refused_flat(sim, web, path, body, code):
    answer = await post(sim, web, path, body)
    assert answer.status_code == (404 if code == "Model.NotExist" else 400)
    assert sorted(answer.json()) == ["code", "message", "request_id"]
    assert answer.json()["code"] == code
    assert sim.tasks("dashscope") == []


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (TEXT, old(size="960*1696")),
        (TEXT, old(size="1440*1440")),
        (TEXT, old("wan2.2-t2i-plus", size="512*1440")),
        (
            EDIT,
            {
                "model": "wanx2.1-imageedit",
                "input": {"prompt": "x", "function": "description_edit", "base_image_url": PNG},
            },
        ),
        (NEW_ASYNC, new("wan2.7-image-pro", size="4K")),
        (NEW_ASYNC, new("wan2.7-image-pro", size="5376*3024")),
        (NEW_ASYNC, new("wan2.7-image", (PNG, PNG), bbox_list=[[], [[1, 1, 9, 9]]])),
        (NEW_ASYNC, new(color_palette=[*PALETTE, {"hex": "#ffffff", "ratio": "50.00%"}])),
        (NEW_ASYNC, {k: v for k, v in new().items() if k != "parameters"}),
    ],
)
async def test_what_the_vendor_takes_is_taken(sim, web, path, body):
    assert (await post(sim, web, path, body)).status_code == 200


async def test_an_overlong_prompt_is_cut_in_silence(sim, web):
    body = old("wan2.2-t2i-plus") | {"input": {"prompt": "x" * 700}}
    await post(sim, web, TEXT, body)
    assert len(sim.tasks("dashscope")[0].order.prompt) == 500


async def test_a_k_size_takes_the_shape_of_the_last_picture(sim, web):
    await post(sim, web, NEW_ASYNC, new("wan2.7-image", (PNG, data_url(800, 400)), size="1K"))
    order = sim.tasks("dashscope")[0].order
    assert order.width == pytest.approx(2 * order.height, rel=0.05)
    assert order.width * order.height == pytest.approx(1024 * 1024, rel=0.05)


async def test_a_failed_task_carries_its_code_inside_the_output(sim, web):
    sim.script("dashscope", Script(fail="content_policy"))
    task_id = (await post(sim, web, TEXT, old(n=1))).json()["output"]["task_id"]
    sim.advance(10_000)
    body = await show(sim, web, task_id)
    assert body["output"]["task_status"] == "FAILED"
    assert body["output"]["code"] == "DataInspectionFailed"
    assert body["output"]["task_metrics"] == {"TOTAL": 1, "SUCCEEDED": 0, "FAILED": 1}
    assert "usage" not in body


async def test_a_failed_sync_call_is_an_http_error(quick, web):
    quick.script("dashscope", Script(fail="content_policy"))
    answer = await post(quick, web, NEW_SYNC, new(), wait=True)
    assert (answer.status_code, answer.json()["code"]) == (400, "DataInspectionFailed")
    assert quick.bill("dashscope").images == 0


async def test_an_unknown_or_expired_task_is_unknown_with_http_200(sim, web):
    assert (await show(sim, web, "nothing"))["output"] == {
        "task_id": "nothing",
        "task_status": "UNKNOWN",
    }
    task_id = (await post(sim, web, TEXT, old())).json()["output"]["task_id"]
    sim.advance(24 * 3600 * 1000)
    assert (await show(sim, web, task_id))["output"]["task_status"] == "UNKNOWN"


@pytest.mark.parametrize("slash", ["", "/"])
async def test_only_a_pending_task_can_be_cancelled(sim, web, slash):
    task_id = (await post(sim, web, TEXT, old())).json()["output"]["task_id"]
    address = f"{sim.base_url('dashscope')}/tasks/{task_id}"
    answer = await web.post(f"{address}/cancel{slash}")
    assert (answer.status_code, list(answer.json())) == (200, ["request_id"])
    assert (await web.get(address + slash)).json()["output"]["task_status"] == "CANCELED"
    late = (await post(sim, web, TEXT, old())).json()["output"]["task_id"]
    sim.advance(2_000)
    answer = await web.post(f"{sim.base_url('dashscope')}/tasks/{late}/cancel")
    assert (answer.status_code, answer.json()["code"]) == (400, "UnsupportedOperation")
    sim.advance(10_000)
    assert sim.bill("dashscope").images == 4


async def test_the_list_filters_and_pages(sim, web):
    for _ in range(3):
        await post(sim, web, TEXT, old())
    await post(sim, web, NEW_ASYNC, new())
    sim.advance(10_000)
    address = sim.base_url("dashscope") + "/tasks"
    body = (
        await web.get(address, params={"model_name": "wan2.5-t2i-preview", "page_size": 2})
    ).json()
    assert (body["total"], body["total_page"], len(body["data"])) == (3, 2, 2)
    row = body["data"][0]
    assert row["status"] == "SUCCEEDED"
    unique = "apikey:v1:aigc:text2image:image-synthesis:wan2.5-t2i-preview"
    assert row["user_api_unique_key"] == unique
    assert (await web.get(address, params={"status": "RUNNING"})).json()["total"] == 0
    early = {"start_time": "20200101000000", "end_time": "20200102000000"}
    assert (await web.get(address, params=early)).json()["total"] == 0
    longer = early | {"end_time": "20200102000001"}
    assert (await web.get(address, params=longer)).json()["code"] == "InvalidParameter"


async def test_what_blocks_makes_no_task_that_is_listed(quick, web):
    assert (await post(quick, web, NEW_SYNC, new(), wait=True)).status_code == 200
    address = quick.base_url("dashscope") + "/tasks"
    assert (await web.get(address)).json()["total"] == 0


async def test_an_uploaded_file_can_be_named_by_its_oss_address(sim, web):
    base = sim.base_url("dashscope")
    asked = {"action": "getPolicy", "model": "wan2.7-image"}
    data = (await web.get(f"{base}/uploads", params=asked)).json()["data"]
    key = f"{data['upload_dir']}/kite.png"
    form = {
        "OSSAccessKeyId": data["oss_access_key_id"],
        "Signature": data["signature"],
        "policy": data["policy"],
        "key": key,
        "success_action_status": "200",
    }
    stored = await web.post(data["upload_host"], data=form, files={"file": b"png"})
    assert stored.status_code == 200
    body = new("wan2.7-image", (f"oss://{key}",))
    refused = await post(sim, web, NEW_ASYNC, body)
    assert refused.json()["code"] == "InvalidURL"
    web.headers["x-dashscope-ossresourceresolve"] = "enable"
    assert (await post(sim, web, NEW_ASYNC, body)).status_code == 200
