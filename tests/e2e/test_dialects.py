"""Each dialect's protocol from create to pictures, against the running gateway."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dashscope
import pytest
from dashscope.aigc import image_generation, image_synthesis
from dashscope.api_entities.http_request import close_shared_sync_session
from PIL import Image

from gateway.simulator import Script
from tests.support.stack import MODEL, Stack

# The SDK's annotations do not describe what it takes and gives.
ImageSynthesis: Any = image_synthesis.ImageSynthesis
ImageGeneration: Any = image_generation.ImageGeneration


@pytest.fixture(autouse=True)
def closed_sockets() -> Iterator[None]:
    """The SDK keeps sockets in a global; nobody else would close them."""
    yield
    close_shared_sync_session()


def picture() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (512, 512), "teal").save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize("prefix", ["/api/v1", "/dashscope/api/v1"])
async def test_the_dashscope_sdk_with_only_its_base_url_changed(stack: Stack, prefix: str) -> None:
    team = await stack.team()
    account = {"api_key": team.key, "base_address": f"{stack.url}{prefix}"}
    submitted = await asyncio.to_thread(
        ImageSynthesis.async_call, MODEL, "a kite", n=2, size="1280*1280", **account
    )
    done = await asyncio.to_thread(ImageSynthesis.wait, submitted, **account)

    assert done.output.task_status == "SUCCEEDED"
    assert len(done.output.results) == 2
    assert done.usage.image_count == 2
    assert await stack.credits(team) == ("97", "0", "97")


async def test_dashscopes_synchronous_call_and_its_stream(stack: Stack) -> None:
    team = await stack.team()
    messages = [{"role": "user", "content": [{"text": "a kite"}]}]
    account = {"api_key": team.key, "base_address": f"{stack.url}/api/v1"}

    def call() -> list[Any]:
        plain = ImageGeneration.call("wan2.6-t2i", messages=messages, n=1, **account)
        stream = ImageGeneration.call("wan2.6-t2i", messages=messages, n=1, stream=True, **account)
        return [plain, *stream]

    answers = await asyncio.to_thread(call)
    assert [answer.status_code for answer in answers] == [200, 200]
    assert all(answer.output.choices[0].message.content[0]["image"] for answer in answers)


async def test_a_local_file_travels_through_our_upload(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The SDK asks for the upload policy at its global address, whatever the call says.
    monkeypatch.setattr(dashscope, "base_http_api_url", f"{stack.url}/api/v1")
    team = await stack.team()
    path = tmp_path / "my kite.png"
    path.write_bytes(picture())

    def call() -> Any:
        submitted = ImageSynthesis.async_call(
            "wan2.5-i2i-preview", "a kite", images=[f"file://{path}"], n=1, api_key=team.key
        )
        return ImageSynthesis.wait(submitted, api_key=team.key)

    done = await asyncio.to_thread(call)
    assert done.output.task_status == "SUCCEEDED"


async def test_an_upload_without_a_ticket_of_ours_is_refused(stack: Stack) -> None:
    for query in ("", "?ticket=" + "a" * 40):
        answer = await stack.client.post(
            f"/api/v1/uploads{query}", files={"file": ("a.png", picture(), "image/png")}
        )
        assert answer.status_code == 401
        assert answer.json()["code"] == "InvalidApiKey"


async def test_a_picture_nobody_uploaded_is_a_400(stack: Stack) -> None:
    team = await stack.team()
    body = {
        "model": "wan2.5-i2i-preview",
        "input": {"prompt": "p", "images": [f"oss://gateway-uploads/{'a' * 40}/cat.png"]},
    }
    answer = await stack.post(
        team,
        body,
        "/api/v1/services/aigc/image2image/image-synthesis",
        {"x-dashscope-async": "enable"},
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "InvalidParameter")
    assert "input.images[0]" in answer.json()["message"]


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
