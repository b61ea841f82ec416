from __future__ import annotations

from typing import Any

import httpx
import pytest

from gateway.simulator import Script, Simulator
from tests.simulator.calls import FAL_KEY, LANTERNS

TEXT_APP = "fal-ai/wan-25-preview/text-to-image"
EDIT_APP = "fal-ai/wan-25-preview/image-to-image"
PICTURE = "https://img.example.net/kite.png"


@pytest.fixture
def fal(web: httpx.AsyncClient) -> httpx.AsyncClient:
    web.headers.update(FAL_KEY)
    return web


async def enqueue(
    sim: Simulator, fal: httpx.AsyncClient, app: str = TEXT_APP, **body: object
) -> httpx.Response:
    return await fal.post(f"{sim.base_url('fal')}/{app}", json={"prompt": LANTERNS} | body)


async def predict(sim: Simulator, web: httpx.AsyncClient, **source: object) -> httpx.Response:
    url = sim.base_url("replicate") + "/models/wan-video/wan-2.5-t2i/predictions"
    return await web.post(url, json={"input": {"prompt": LANTERNS} | source})


async def read(web: httpx.AsyncClient, url: str) -> dict[str, Any]:
    return (await web.get(url)).json()


async def test_fal_answers_the_addresses_to_use_with_a_shortened_application(sim, fal):
    body = (await enqueue(sim, fal)).json()
    assert body["status_url"] == body["response_url"] + "/status"
    assert body["cancel_url"] == body["response_url"] + "/cancel"
    base = f"{sim.base_url('fal')}/fal-ai/wan-25-preview/requests/"
    assert body["response_url"] == base + body["request_id"]


async def test_fal_status_and_result_through_every_state(sim, fal):
    body = (await enqueue(sim, fal, num_images=2, image_size="landscape_4_3", seed=5)).json()
    queued = await read(fal, body["status_url"])
    assert (queued["status"], queued["request_id"]) == ("IN_QUEUE", body["request_id"])
    assert (await fal.get(body["response_url"])).status_code == 400
    sim.advance(2_000)
    running = await read(fal, body["status_url"] + "?logs=0")
    assert running == {"status": "IN_PROGRESS", "logs": None}
    sim.advance(8_000)
    done = await read(fal, body["status_url"])
    assert done == {"status": "COMPLETED", "logs": None, "metrics": {"inference_time": 9.0}}
    result = await read(fal, body["response_url"])
    assert result["seed"] == 5
    assert len(result["images"]) == 2
    image = result["images"][0]
    assert (image["width"], image["height"], image["content_type"]) == (1024, 768, "image/png")


async def test_a_failed_fal_request_is_completed_with_an_error(sim, fal):
    sim.script("fal", Script(fail="content_policy"))
    body = (await enqueue(sim, fal)).json()
    sim.advance(10_000)
    done = await read(fal, body["status_url"])
    assert (done["status"], done["error_type"]) == ("COMPLETED", "content_policy_violation")
    result = await fal.get(body["response_url"])
    assert result.status_code == 422
    assert result.headers["x-fal-error-type"] == "content_policy_violation"


async def test_fal_removes_a_queued_request_and_only_signals_a_running_one(sim, fal):
    queued = (await enqueue(sim, fal)).json()
    answer = await fal.put(queued["cancel_url"])
    assert (answer.status_code, answer.json()) == (202, {"status": "CANCELLATION_REQUESTED"})
    assert "error" in await read(fal, queued["status_url"])
    running = (await enqueue(sim, fal)).json()
    sim.advance(2_000)
    assert (await fal.put(running["cancel_url"])).status_code == 202
    sim.advance(10_000)
    assert "metrics" in await read(fal, running["status_url"])
    late = await fal.put(running["cancel_url"])
    assert (late.status_code, late.json()) == (400, {"status": "ALREADY_COMPLETED"})
    assert sim.bill("fal").images == 1


@pytest.mark.parametrize(
    ("app", "body"),
    [
        (TEXT_APP, {"prompt": ""}),
        (TEXT_APP, {"num_images": 5}),
        (TEXT_APP, {"image_size": "huge"}),
        (TEXT_APP, {"image_size": {"width": 100, "height": 100}}),
        (TEXT_APP, {"image_urls": [PICTURE]}),
        (EDIT_APP, {}),
        (EDIT_APP, {"image_urls": [PICTURE] * 3}),
    ],
)
async def test_fal_refuses_with_a_422_that_names_the_argument(sim, fal, app, body):
    answer = await enqueue(sim, fal, app, **body)
    assert answer.status_code == 422
    detail = answer.json()["detail"][0]
    assert sorted(detail) == ["loc", "msg", "type"]
    assert detail["loc"][0] == "body"


async def test_fal_wants_its_own_scheme_and_a_known_application(sim, fal):
    assert (await enqueue(sim, fal, "fal-ai/nothing")).status_code == 404
    fal.headers["authorization"] = "Bearer sim-key"
    answer = await enqueue(sim, fal)
    assert answer.status_code == 401
    assert "detail" in answer.json()


async def test_replicate_answers_201_and_a_prediction(sim, web):
    answer = await predict(sim, web, num_outputs=2)
    body = answer.json()
    assert answer.status_code == 201
    assert (body["status"], body["output"], body["error"]) == ("starting", None, None)
    assert body["input"] == {"prompt": LANTERNS, "num_outputs": 2}
    assert body["created_at"].endswith("Z")
    assert (await read(web, body["urls"]["get"]))["id"] == body["id"]


async def test_replicate_states(sim, web):
    address = (await predict(sim, web, num_outputs=2, size="1280*720")).json()["urls"]["get"]
    sim.advance(2_000)
    assert (await read(web, address))["status"] == "processing"
    sim.advance(8_000)
    done = await read(web, address)
    assert (done["status"], len(done["output"])) == ("succeeded", 2)
    assert done["metrics"] == {"predict_time": 9.0}
    assert sim.tasks("replicate")[0].order.width == 1280


async def test_a_failed_prediction_has_an_error_text(sim, web):
    sim.script("replicate", Script(fail="content_policy"))
    address = (await predict(sim, web)).json()["urls"]["get"]
    sim.advance(10_000)
    body = await read(web, address)
    assert (body["status"], body["output"]) == ("failed", None)
    assert "NSFW" in body["error"]


async def test_a_running_prediction_can_be_cancelled(sim, web):
    urls = (await predict(sim, web)).json()["urls"]
    sim.advance(2_000)
    assert (await web.post(urls["cancel"])).json()["status"] == "canceled"
    sim.advance(10_000)
    assert (await read(web, urls["get"]))["status"] == "canceled"
    assert sim.bill("replicate").images == 0


async def test_replicate_waits_when_preferred(quick, sim, web):
    web.headers["prefer"] = "wait"
    done = await predict(quick, web)
    assert (done.status_code, done.json()["status"]) == (201, "succeeded")
    sim.script("replicate", Script(stuck=True))
    web.headers["prefer"] = "wait=1"
    unfinished = await predict(sim, web)
    assert unfinished.status_code == 202


async def test_replicate_takes_a_version_and_lists(sim, web):
    url = sim.base_url("replicate") + "/predictions"
    body = {"version": "wan-video/wan-2.5-t2i:abc", "input": {"prompt": "x"}}
    made = (await web.post(url, json=body)).json()
    listed = await read(web, url)
    assert [row["id"] for row in listed["results"]] == [made["id"]]
    assert listed["next"] is None


@pytest.mark.parametrize("source", [{"prompt": ""}, {"num_outputs": 9}, {"size": "big"}])
async def test_replicate_refuses_with_a_problem(sim, web, source):
    answer = await predict(sim, web, **source)
    assert answer.status_code == 422
    assert sorted(answer.json()) == ["detail", "instance", "status", "title", "type"]


async def test_replicate_files_vanish_after_an_hour(sim, web):
    address = (await predict(sim, web)).json()["urls"]["get"]
    sim.advance(10_000)
    url = (await read(web, address))["output"][0]
    sim.advance(3600 * 1000)
    assert (await web.get(url)).status_code == 403
