"""Each dialect's protocol from create to pictures, against the running gateway."""

from __future__ import annotations

import asyncio

import pytest

from gateway.simulator import Script
from tests.support.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def stack(calm_stack: Stack) -> Stack:
    return calm_stack


async def test_an_unknown_task_is_unknown_to_dashscope_and_404_elsewhere(stack: Stack) -> None:
    team = await stack.team()
    unknown = (await stack.get(team, "/api/v1/tasks/5f2d")).json()
    assert unknown["output"] == {"task_id": "5f2d", "task_status": "UNKNOWN"}
    for path in ("/v1/tasks/5f2d", "/qingbo/v1/tasks/5f2d", "/v1/tasks/status?task_id=5f2d"):
        assert (await stack.get(team, path)).status_code == 404


async def test_modelverse_submits_and_asks_for_the_status(stack: Stack) -> None:
    team = await stack.team()
    body = {
        "model": "wan2.7-image",
        "input": {"prompt": "a kite"},
        "parameters": {"size": "1K", "n": 2},
    }
    task_id = (await stack.post(team, body, "/v1/tasks/submit")).json()["output"]["task_id"]
    async with asyncio.timeout(30):
        while True:
            body = (await stack.get(team, f"/v1/tasks/status?task_id={task_id}")).json()
            if body["output"]["task_status"] not in ("Pending", "Running"):
                break
            await asyncio.sleep(0.05)
    assert body["output"]["task_status"] == "Success"
    assert len(body["output"]["urls"]) == 2


async def test_modelverse_waits_on_its_own_prefix(stack: Stack) -> None:
    team = await stack.team()
    body = {"model": "wan2.7-image", "prompt": "a kite", "size": "1K"}
    answer = await stack.post(team, body, "/modelverse/v1/images/generations")
    assert set(answer.json()) == {"created", "data"}


async def test_qingbo_waits_and_answers_a_failed_task_as_a_task(stack: Stack) -> None:
    team = await stack.team()
    waits = {"prefer": "wait=30"}
    body = {"model": "wan2.7-image", "prompt": "a kite"}
    done = await stack.post(team, body, "/v1/tasks", waits)
    stack.simulator.script("dashscope", Script(fail="content_policy"))
    failed = await stack.post(team, body | {"prompt": "again"}, "/v1/tasks", waits)

    assert (done.status_code, done.json()["status"]) == (200, "completed")
    assert isinstance(done.json()["result"]["images"][0]["url"], list)
    assert (failed.status_code, failed.json()["status"]) == (200, "failed")
    assert failed.json()["error"]["code"] == "upstream_bad_request"


async def test_at_the_root_a_task_speaks_as_it_was_created_and_elsewhere_as_asked(
    stack: Stack,
) -> None:
    team = await stack.team()
    created = await stack.post(team, {"model": "wan2.7-image", "prompt": "a kite"}, "/v1/tasks")
    task_id = created.json()["task_id"]
    root = (await stack.get(team, f"/v1/tasks/{task_id}")).json()
    native = (await stack.get(team, f"/evolink/v1/tasks/{task_id}")).json()
    alibaba = (await stack.get(team, f"/api/v1/tasks/{task_id}")).json()

    assert root["action"] == "generate"
    assert native["object"] == "image.generation.task"
    assert alibaba["output"]["task_id"] == task_id


async def test_every_address_has_its_own_name_in_the_openapi_document(stack: Stack) -> None:
    document = (await stack.client.get("/openapi.json")).json()
    names = [
        operation["operationId"]
        for methods in document["paths"].values()
        for operation in methods.values()
        if "operationId" in operation
    ]
    assert len(names) == len(set(names))
    assert "/api/v1/uploads" in document["paths"]
