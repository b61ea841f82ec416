from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from gateway.simulator import Script, Simulator
from tests.simulator.calls import CREATES, LANTERNS, create, opened

KEY = "attempt-0123456789"


async def make(sim: Simulator, web: httpx.AsyncClient, **body: object) -> httpx.Response:
    url = sim.base_url("evolink") + "/images/generations"
    return await web.post(url, json=CREATES["evolink"].body | body)


async def show(sim: Simulator, web: httpx.AsyncClient, task_id: str) -> dict[str, Any]:
    return (await web.get(f"{sim.base_url('evolink')}/tasks/{task_id}")).json()


async def test_create_answers_a_pending_task(sim, web):
    answer = await make(sim, web, n=2)
    body = answer.json()
    assert answer.status_code == 200
    assert re.fullmatch(r"task-unified-\d{10}-[0-9a-z]{8}", body["id"])
    assert body == {
        "created": body["created"],
        "id": body["id"],
        "model": "wan2.5-text-to-image",
        "object": "image.generation.task",
        "progress": 0,
        "status": "pending",
        "task_info": {"can_cancel": True, "estimated_time": 10},
        "type": "image",
        "usage": {"billing_rule": "per_call", "credits_reserved": 3, "user_group": "default"},
    }


async def test_a_task_goes_from_pending_over_processing_to_completed(sim, web):
    task_id = (await make(sim, web, n=2, size="1024x768")).json()["id"]
    assert (await show(sim, web, task_id))["status"] == "pending"
    sim.advance(5_000)
    running = await show(sim, web, task_id)
    assert running["status"] == "processing"
    assert 0 < running["progress"] < 100
    assert "results" not in running
    sim.advance(5_000)
    done = await show(sim, web, task_id)
    assert (done["status"], done["progress"]) == ("completed", 100)
    assert len(done["results"]) == 2
    picture = await web.get(done["results"][1])
    assert picture.headers["content-type"] == "image/png"
    assert opened(picture.content).size == (1024, 768)


async def test_a_failed_task_is_an_http_200_with_an_error_and_no_progress(sim, web):
    sim.script("evolink", Script(fail="content_policy"))
    task_id = (await make(sim, web)).json()["id"]
    sim.advance(10_000)
    body = await show(sim, web, task_id)
    assert (body["status"], body["progress"]) == ("failed", 0)
    assert body["error"]["code"] == "content_policy_violation"
    assert "results" not in body


async def test_a_task_cancelled_by_the_vendor_has_no_results(sim, web):
    sim.script("evolink", Script(cancelled=True))
    task_id = (await make(sim, web)).json()["id"]
    sim.advance(10_000)
    body = await show(sim, web, task_id)
    assert body["status"] == "cancelled"
    assert "results" not in body


async def test_there_is_no_cancel_endpoint(sim, web):
    task_id = (await make(sim, web)).json()["id"]
    answer = await web.post(f"{sim.base_url('evolink')}/tasks/{task_id}/cancel")
    assert answer.status_code == 404


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": "x" * 2001}, "prompt"),
        ({"n": 0}, "n"),
        ({"n": 5}, "n"),
        ({"n": "2"}, "n"),
        ({"n": True}, "n"),
        ({"size": "1280*1280"}, "size"),
        ({"size": "2K"}, "size"),
        ({"size": "512x512"}, "size"),
        ({"size": "1600x1600"}, "size"),
        ({"size": "400x1601"}, "size"),
        ({"prompt_extend": "yes"}, "prompt_extend"),
        ({"callback_url": "http://hooks.example.net/x"}, "callback_url"),
        ({"callback_url": "https://10.0.0.1/x"}, "callback_url"),
        ({"callback_url": "https://localhost/x"}, "callback_url"),
        ({"callback_url": "https://hooks.example.net/" + "x" * 2048}, "callback_url"),
        ({"image_urls": ["https://img.example.net/a.png"]}, "image_urls"),
        ({"model": "wan2.5-image-to-image"}, "image_urls"),
        (
            {"model": "wan2.5-image-to-image", "image_urls": ["https://img.example.net/a.png"] * 3},
            "image_urls",
        ),
    ],
)
async def test_a_wrong_field_is_a_400_that_names_it(sim, web, body, param):
    answer = await make(sim, web, **body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["type"]) == ("invalid_parameters", "invalid_request_error")
    assert error["param"] == param
    assert sim.tasks("evolink") == []


@pytest.mark.parametrize("size", ["768x768", "1440x1440", "2880x720", "720x2880"])
async def test_the_bounds_of_the_size_are_legal(sim, web, size):
    assert (await make(sim, web, size=size)).status_code == 200


async def test_an_unknown_model_is_a_404_with_a_numeric_code(sim, web):
    answer = await make(sim, web, model="wan9")
    assert answer.status_code == 404
    assert answer.json()["error"] == {
        "code": 404,
        "message": "The model wan9 does not exist.",
        "type": "not_found_error",
        "param": "model",
        "fallback_suggestion": None,
    }


async def test_an_unknown_task_is_a_404(sim, web):
    answer = await web.get(sim.base_url("evolink") + "/tasks/task-unified-1-abcdefgh")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "task_not_found"


async def test_the_same_idempotency_key_gives_the_same_task_and_one_bill(sim, web):
    web.headers["idempotency-key"] = KEY
    first, second = await make(sim, web), await make(sim, web)
    sim.advance(10_000)
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    assert second.json() == first.json()
    bill = sim.bill("evolink")
    assert [record.idempotency_key for record in bill.records] == [KEY]


async def test_the_same_idempotency_key_with_another_body_is_a_conflict(sim, web):
    web.headers["idempotency-key"] = KEY
    await make(sim, web)
    answer = await make(sim, web, prompt="another")
    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "idempotency_conflict"
    assert len(sim.tasks("evolink")) == 1


@pytest.mark.parametrize("key", ["short", "x" * 97])
async def test_an_idempotency_key_of_the_wrong_length_is_refused(sim, web, key):
    web.headers["idempotency-key"] = key
    assert (await make(sim, web)).status_code == 400


async def test_a_submit_lost_on_the_way_back_can_be_repeated_with_its_key(sim, web):
    web.headers["idempotency-key"] = KEY
    sim.script("evolink", Script(accept_then="reset", times=1))
    with pytest.raises(httpx.TransportError):
        await make(sim, web)
    answer = await make(sim, web)
    assert answer.headers["idempotency-replayed"] == "true"
    assert answer.json()["id"] == sim.tasks("evolink")[0].id


async def test_list_and_batch_and_credits(sim, web):
    base = sim.base_url("evolink")
    first = (await make(sim, web)).json()["id"]
    sim.advance(10_000)
    second = (await make(sim, web)).json()["id"]
    listed = (await web.get(f"{base}/tasks?status=processing&page=1&page_size=5")).json()
    assert (listed["total"], [row["id"] for row in listed["data"]]) == (1, [second])
    everything = (await web.get(f"{base}/tasks")).json()
    assert [row["status"] for row in everything["data"]] == ["pending", "completed"]
    many = (await web.post(f"{base}/tasks/batch", json={"task_ids": [first, "none"]})).json()
    assert [task["id"] for task in many["data"]] == [first]
    credits_left = (await web.get(f"{base}/credits")).json()
    assert credits_left["data"]["user"]["used_credits"] == 1.496


async def test_a_task_is_forgotten_after_a_day(sim, web):
    task_id = (await make(sim, web)).json()["id"]
    sim.advance(24 * 3600 * 1000)
    answer = await web.get(f"{sim.base_url('evolink')}/tasks/{task_id}")
    assert answer.status_code == 404


async def test_prompt_characters_survive_into_the_task(sim, web):
    await create(sim, web, "evolink")
    assert sim.tasks("evolink")[0].order.prompt == LANTERNS
