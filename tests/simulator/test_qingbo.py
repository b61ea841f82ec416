from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from gateway.simulator import Script, Simulator, SimulatorConfig, VendorConfig
from tests.simulator.calls import LANTERNS, opened

PICTURE = "https://img.example.net/kite.png"
COLOURS = [{"hex": "#AABBCC", "ratio": 50}, {"hex": "#aabbcc", "ratio": 30}]


@pytest.fixture
async def ages() -> AsyncIterator[Simulator]:
    """The three generations of the wire format, as vendors A, B and C."""
    vendors = {name: VendorConfig(api="qingbo", generation=name) for name in "ABC"}
    config = SimulatorConfig(work_ms=(10_000, 10_000), queue_ms=1_000, vendors=vendors)
    async with Simulator(config) as simulator:
        yield simulator


async def make(
    sim: Simulator, web: httpx.AsyncClient, vendor: str = "qingbo", **body: object
) -> httpx.Response:
    asked = {"model": "wan2.7-image", "prompt": LANTERNS} | body
    return await web.post(sim.base_url(vendor) + "/tasks", json=asked)


async def show(
    sim: Simulator, web: httpx.AsyncClient, task_id: str, vendor: str = "qingbo"
) -> dict[str, Any]:
    return (await web.get(f"{sim.base_url(vendor)}/tasks/{task_id}")).json()


async def test_create_answers_a_queued_task_in_milliseconds(sim, web):
    body = (await make(sim, web, n=2)).json()
    assert re.fullmatch(r"task-wave\d{13}[a-z]\d+", body["task_id"])
    assert (body["status"], body["action"], body["progress"]) == ("queued", "generate", 0)
    assert body["created_at"] > 1e12
    assert body["pre_consumed_cost"] == 2 * 11_475


async def test_generation_b_has_seconds_costs_and_lists_of_links(sim, web):
    task_id = (await make(sim, web, n=2)).json()["task_id"]
    sim.advance(5_000)
    running = await show(sim, web, task_id)
    assert running["status"] == "processing"
    assert isinstance(running["progress"], int)
    assert running["urls"]["cancel"] == running["urls"]["get"] + "/cancel"
    sim.advance(5_000)
    done = await show(sim, web, task_id)
    assert (done["status"], done["progress"], done["cost"]) == ("completed", 100, 2 * 11_475)
    assert done["completed_at"] - done["created_at"] == 10
    first = done["result"]["images"][0]
    assert first["expires_at"] - done["completed_at"] == 3 * 24 * 3600
    picture = await web.get(first["url"][0])
    assert picture.headers["content-type"] == "image/jpeg"
    assert opened(picture.content).format == "JPEG"


async def test_generation_a_has_plain_links_and_milliseconds(ages, web):
    answer = (await make(ages, web, "A")).json()
    assert "pre_consumed_cost" not in answer
    ages.advance(10_000)
    done = await show(ages, web, answer["task_id"], "A")
    assert done["result"]["images"][0]["url"].startswith("http://")
    assert done["created_at"] > 1e12
    assert "cost" not in done


async def test_generation_c_has_progress_as_text_and_refuses_unknown_parameters(ages, web):
    created = (await make(ages, web, "C", resolution="1k")).json()
    assert created["progress"] == ""
    ages.advance(5_000)
    assert re.fullmatch(r"\d+%", (await show(ages, web, created["task_id"], "C"))["progress"])
    ages.advance(5_000)
    done = await show(ages, web, created["task_id"], "C")
    assert (done["progress"], done["billing_status"]) == ("100%", "charged")
    refused = await make(ages, web, "C", negative_prompt="text")
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "capability_violation"
    assert refused.json()["error"]["param"] == "negative_prompt"


async def test_a_failed_task_costs_nothing(sim, web):
    sim.script("qingbo", Script(fail="content_policy"))
    task_id = (await make(sim, web)).json()["task_id"]
    sim.advance(10_000)
    body = await show(sim, web, task_id)
    assert (body["status"], body["cost"], body["progress"]) == ("failed", 0, 0)
    assert body["error"]["code"] == "upstream_bad_request"
    assert "result" not in body


async def test_only_a_queued_task_can_be_cancelled_and_is_refunded(sim, web):
    task_id = (await make(sim, web)).json()["task_id"]
    address = f"{sim.base_url('qingbo')}/tasks/{task_id}"
    assert (await web.post(f"{address}/cancel")).json() == {
        "task_id": task_id,
        "status": "cancelled",
        "refunded": True,
        "refunded_quota": 11_475,
    }
    body = await show(sim, web, task_id)
    assert (body["status"], body["cost"]) == ("cancelled", 0)
    late = (await make(sim, web)).json()["task_id"]
    sim.advance(2_000)
    answer = await web.post(f"{sim.base_url('qingbo')}/tasks/{late}/cancel")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "task_not_cancellable")


async def test_an_idempotency_key_replays_and_refuses_another_body(sim, web):
    web.headers["idempotency-key"] = "k1"
    first, second = await make(sim, web), await make(sim, web)
    assert second.headers["idempotency-replayed"] == "true"
    assert second.json()["task_id"] == first.json()["task_id"]
    assert (await make(sim, web, prompt="other")).status_code == 409
    sim.advance(24 * 3600 * 1000)
    assert (await make(sim, web)).json()["task_id"] != first.json()["task_id"]


async def test_prefer_wait_answers_the_finished_task_or_its_state(quick, sim, web):
    web.headers["prefer"] = "wait=1"
    assert (await make(quick, web)).json()["status"] == "completed"
    sim.script("qingbo", Script(stuck=True))
    assert (await make(sim, web)).json()["status"] in ("queued", "processing")


@pytest.mark.parametrize(
    "body",
    [
        {"prompt": ""},
        {"n": 5},
        {"n": 13, "enable_sequential": True},
        {"seed": -2},
        {"aspect_ratio": "2:1"},
        {"resolution": "2k"},
        {"resolution": "4K", "enable_sequential": True},
        {"action": "paint"},
        {"action": "generate", "image_urls": [PICTURE]},
        {"action": "image2image"},
        {"action": "edit", "image_urls": [PICTURE] * 2},
        {"action": "reference", "image_urls": [PICTURE]},
        {"action": "group"},
        {"action": "interactive_edit", "image_urls": [PICTURE]},
        {"image_urls": [PICTURE] * 10},
        {"bbox_list": [[[1, 1, 5, 5]]]},
        {"image_urls": [PICTURE], "bbox_list": [[], []]},
        {"color_palette": COLOURS},
        {"color_palette": [*COLOURS, {"hex": "#000000", "ratio": 19}]},
        {"color_palette": [*COLOURS, {"hex": "#000000", "ratio": "20"}]},
        {"callback_url": "http://hooks.example.net"},
        {"callback_events": ["done"]},
        {"model": "wan9"},
    ],
)
async def test_what_the_vendor_refuses_is_a_400_without_type(sim, web, body):
    answer = await make(sim, web, **body)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_request"
    assert "type" not in answer.json()["error"]


@pytest.mark.parametrize(
    ("body", "action", "size"),
    [
        ({}, "generate", (2048, 2048)),
        ({"resolution": "4K", "aspect_ratio": "16:9"}, "generate", (5376, 3024)),
        ({"image_urls": [PICTURE], "resolution": "1K"}, "edit", (1024, 1024)),
        ({"image_urls": [PICTURE] * 3}, "reference", (2048, 2048)),
        ({"enable_sequential": True, "n": 12, "color_palette": "x"}, "group", (2048, 2048)),
        (
            {"image_urls": [PICTURE], "bbox_list": [[[1, 1, 5, 5]]]},
            "interactive_edit",
            (2048, 2048),
        ),
        ({"color_palette": [*COLOURS, {"hex": "#000000", "ratio": 20}]}, "generate", (2048, 2048)),
        ({"seed": -1, "aspect_ratio": "2:3"}, "generate", (1664, 2496)),
    ],
)
async def test_the_action_follows_from_the_fields(sim, web, body, action, size):
    assert (await make(sim, web, **body)).json()["action"] == action
    order = sim.tasks("qingbo")[0].order
    assert (order.width, order.height) == size


async def test_a_used_up_window_tells_when_it_opens(sim, web):
    sim.script("qingbo", Script(error="quota_window_exceeded"))
    answer = await make(sim, web)
    error = answer.json()["error"]
    assert answer.status_code == 429
    assert sorted(error) == ["cap", "code", "message", "reset_at", "used", "window"]
    assert error["reset_at"] > sim.clock.now_ms() // 1000


async def test_the_sync_route_answers_links(quick, web):
    url = quick.base_url("qingbo") + "/images/generations"
    answer = await web.post(url, json={"model": "wan2.7-image", "prompt": "x", "n": 2})
    assert [list(entry) for entry in answer.json()["data"]] == [["url"], ["url"]]
