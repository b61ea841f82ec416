from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from gateway.simulator import Script, Simulator, SimulatorConfig, VendorConfig, usd
from tests.simulator.calls import LANTERNS

PICTURE = "https://img.example.net/kite.png"


async def submit(
    sim: Simulator, web: httpx.AsyncClient, model: str = "wan2.7-image", **parts: object
) -> httpx.Response:
    body = {"model": model, "input": {"prompt": LANTERNS}} | parts
    return await web.post(sim.base_url("modelverse") + "/tasks/submit", json=body)


async def generate(sim: Simulator, web: httpx.AsyncClient, **body: object) -> httpx.Response:
    asked = {"model": "wan2.7-image", "prompt": LANTERNS} | body
    return await web.post(sim.base_url("modelverse") + "/images/generations", json=asked)


async def status(sim: Simulator, web: httpx.AsyncClient, task_id: str) -> dict[str, Any]:
    url = sim.base_url("modelverse") + "/tasks/status"
    answer = await web.get(url, params={"task_id": task_id})
    assert answer.status_code == 200
    return answer.json()


async def test_submit_answers_an_id_and_no_status(sim, web):
    body = (await submit(sim, web)).json()
    assert list(body["output"]) == ["task_id"]
    assert body["request_id"].startswith("req_")


async def test_status_through_every_state(sim, web):
    task_id = (await submit(sim, web, parameters={"n": 2})).json()["output"]["task_id"]
    body = await status(sim, web, task_id)
    assert sorted(body["output"]) == ["submit_time", "task_id", "task_status"]
    assert (body["output"]["task_status"], body["request_id"]) == ("Pending", "")
    sim.advance(2_000)
    assert (await status(sim, web, task_id))["output"]["task_status"] == "Running"
    sim.advance(8_000)
    body = await status(sim, web, task_id)
    assert body["output"]["task_status"] == "Success"
    assert len(body["output"]["urls"]) == 2
    assert body["output"]["finish_time"] - body["output"]["submit_time"] == 10
    assert body["usage"] == {"completion_tokens": 2, "total_tokens": 2}


@pytest.mark.parametrize(
    ("fail", "code"), [("content_policy", "DataInspectionFailed"), ("rate", "Throttling.RateQuota")]
)
async def test_a_failed_task_says_so_in_one_text(sim, web, fail, code):
    sim.script("modelverse", Script(fail=fail))
    task_id = (await submit(sim, web)).json()["output"]["task_id"]
    sim.advance(10_000)
    output = (await status(sim, web, task_id))["output"]
    assert output["task_status"] == "Failure"
    found = re.fullmatch(r"code=([^,]+), message=(.+)", output["error_message"])
    assert found is not None
    assert found.group(1) == code


async def test_a_cancelled_task_has_no_message(sim, web):
    sim.script("modelverse", Script(cancelled=True))
    task_id = (await submit(sim, web)).json()["output"]["task_id"]
    sim.advance(10_000)
    output = (await status(sim, web, task_id))["output"]
    assert output["task_status"] == "Cancelled"
    assert "error_message" not in output


async def test_the_sync_call_answers_links(quick, web):
    body = (await generate(quick, web, n=6, enable_sequential=True)).json()
    assert isinstance(body["created"], int)
    assert [list(entry) for entry in body["data"]] == [["url"]] * 6
    assert quick.bill("modelverse").amount_usd_micros == 6 * 27_000


async def test_a_failed_sync_call_is_an_http_error(quick, web):
    quick.script("modelverse", Script(fail="content_policy"))
    answer = await generate(quick, web)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "sensitive_check_error")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"prompt": ""}, "param_error"),
        ({"prompt": "x" * 5001}, "tokens_too_long"),
        ({"n": 5}, "param_error"),
        ({"n": 13, "enable_sequential": True}, "param_error"),
        ({"size": "1280x720"}, "param_error"),
        ({"size": "4K"}, "param_error"),
        ({"size": "4K", "model": "wan2.7-image-pro", "image": PICTURE}, "param_error"),
        ({"seed": -1}, "param_error"),
        ({"thinking_mode": 1}, "param_error"),
        ({"images": [PICTURE] * 10}, "param_error"),
        ({"images": ["kite"]}, "param_error"),
        ({"model": "wan9"}, "model_error"),
    ],
)
async def test_what_the_vendor_refuses_is_a_400_with_the_request_id_as_param(
    quick, web, body, code
):
    answer = await generate(quick, web, **body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["type"]) == (
        400,
        code,
        "invalid_request_error",
    )
    assert error["param"].startswith("req_")


async def test_the_async_call_takes_four_pictures_even_in_group_mode(sim, web):
    answer = await submit(sim, web, parameters={"n": 5, "enable_sequential": True})
    assert answer.status_code == 400


async def test_pictures_alone_are_enough(quick, web):
    assert (await generate(quick, web, prompt=None, images=[PICTURE])).status_code == 200


async def test_seed_zero_means_unset(quick, web):
    await generate(quick, web, seed=0)
    assert quick.tasks("modelverse")[0].order.seed is None


async def test_models_of_other_families_take_sizes_by_side(web):
    prices = {"Qwen/Qwen-Image": usd("0.0368")}
    vendors = {"modelverse": VendorConfig(api="modelverse", prices=prices)}
    async with Simulator(SimulatorConfig(work_ms=(0, 0), vendors=vendors)) as sim:
        taken = await generate(sim, web, model="Qwen/Qwen-Image", size="1328x800")
        refused = await generate(sim, web, model="Qwen/Qwen-Image", size="2K")
        assert (taken.status_code, refused.status_code) == (200, 400)
        assert sim.bill("modelverse").amount_usd_micros == 36_800
