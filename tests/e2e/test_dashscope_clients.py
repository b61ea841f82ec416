"""The official DashScope SDKs with local files, and the object API of 2.x.

Numbers in brackets are the hard requirements of providers/dashscope.md §7.3.
"""

from __future__ import annotations

from typing import Any

import pytest

from gateway.simulator import Script
from tests.support.dashscope import (
    BEIJING,
    KITE,
    PREFIX,
    ROOT,
    UNDER_WAY,
    WAN25,
    WAN26,
    WAN27,
    idle,
    links,
    message,
)
from tests.support.pictures import png
from tests.support.sdk import Sdks
from tests.support.stack import MODEL

pytestmark = pytest.mark.asyncio(loop_scope="module")

# --- local files ----------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", [ROOT, PREFIX])
async def test_local_files_are_uploaded_and_edited(sdks: Sdks, local: Any, prefix: str) -> None:
    """[15]"""
    callers = await sdks.callers(prefix)
    files = [local(), local("other.png", png(size=(600, 400)))]

    answers = await callers.call(
        "ImageSynthesis.async_call", model=WAN25, prompt="a kite", images=files, n=1
    )

    for answer, team in zip(answers, callers.teams, strict=True):
        task = answer["output"]["task_id"]
        assert (await sdks.stack.ended(team, task))["status"] == "completed"
        request = await sdks.stack.gateway.tasks.request_of(task)
        assert [image.width for image in request.images] == [512, 600]


async def test_a_local_mask_is_uploaded_beside_its_picture(sdks: Sdks, local: Any) -> None:
    """[15]"""
    callers = await sdks.callers(PREFIX)

    answers = await callers.call(
        "ImageSynthesis.call",
        model="wanx2.1-imageedit",
        prompt="a kite",
        function="description_edit_with_mask",
        base_image_url=local(),
        mask_image_url=local("mask.png"),
        n=1,
    )

    for answer in answers:
        assert answer["output"]["task_status"] == "SUCCEEDED"
        request = await sdks.stack.gateway.tasks.request_of(answer["output"]["task_id"])
        assert (request.mask.width, request.images[0].width) == (512, 512)
        assert request.options == {"function": "description_edit_with_mask"}


@pytest.mark.parametrize(
    "name",
    [
        "ImageGeneration.call",
        "AioImageGeneration.call",
        "MultiModalConversation.call",
    ],
)
async def test_local_files_travel_in_messages_too(sdks: Sdks, local: Any, name: str) -> None:
    """[15]"""
    callers = await sdks.callers(PREFIX)

    answers = await callers.call(name, model=WAN27, messages=message("a kite", local()), n=1)

    for answer in answers:
        assert answer["status_code"] == 200, answer["message"]
        assert len(links(answer)) == 1


async def test_a_local_file_that_is_no_picture_is_refused_at_the_upload(
    sdks: Sdks, local: Any
) -> None:
    """[15]"""
    callers = await sdks.callers(PREFIX)

    errors = await callers.refused(
        "ImageSynthesis.async_call",
        model=WAN25,
        prompt="a kite",
        images=[local(content=b"<svg/>")],
    )

    for error in errors:
        assert error["class"] == "UploadFileException"
        assert "InvalidParameter" in error["text"]


# --- the object API of 2.x --------------------------------------------------------------------


async def test_a_client_generates_with_every_model(sdks: Sdks) -> None:
    """[7] [8] [9]"""
    caller = (await sdks.callers(PREFIX)).alone()[0]

    for model in (WAN26, WAN27):
        (job,) = await caller.call(
            "images.generate", model=model, prompt="a kite", n=1, poll_interval=0.1
        )
        assert (job["succeeded"], len(job["image_urls"])) == (True, 1)


async def test_a_clients_job_is_created_fetched_waited_for_and_listed(sdks: Sdks) -> None:
    """[8] [9] [10]"""
    caller = (await sdks.callers(PREFIX)).alone()[0]

    (created,) = await caller.call("images.jobs.create", **KITE, n=1, size="1280x1280")
    (fetched,) = await caller.call("images.jobs.fetch", task_id=created["task_id"])
    (done,) = await caller.call("images.jobs.wait", job=created["task_id"], poll_interval=0.1)
    (listed,) = await caller.call("images.jobs.list", model_name=MODEL, status="SUCCEEDED")
    (late,) = await caller.refused("images.jobs.cancel", task_id=created["task_id"])

    assert created["status"] == "PENDING"
    assert fetched["status"] in UNDER_WAY
    assert (done["status"], len(done["image_urls"])) == ("SUCCEEDED", 1)
    assert BEIJING.fullmatch(done["submitted_at"])
    assert [(job["task_id"], job["status"]) for job in listed["tasks"]] == [
        (created["task_id"], "SUCCEEDED")
    ]
    assert listed["total"] == 1
    assert (late["status_code"], late["code"]) == (400, "UnsupportedOperation")


async def test_a_clients_job_is_cancelled(sdks: Sdks) -> None:
    """[11]"""
    caller = (await sdks.callers(PREFIX)).alone()[0]
    async with idle(sdks.stack):
        (created,) = await caller.call("images.jobs.create", **KITE)
        await caller.call("images.jobs.cancel", task_id=created["task_id"])
        (fetched,) = await caller.call("images.jobs.fetch", task_id=created["task_id"])

    assert fetched["status"] == "CANCELED"


async def test_a_client_uploads_local_files(sdks: Sdks, local: Any) -> None:
    """[15]"""
    caller = (await sdks.callers(PREFIX)).alone()[0]

    (job,) = await caller.call(
        "images.jobs.create",
        model=WAN27,
        prompt="a kite",
        n=1,
        extra_input={"images": [local()]},
    )

    request = await sdks.stack.gateway.tasks.request_of(job["task_id"])
    assert [image.width for image in request.images] == [512]


async def test_a_client_raises_by_code(sdks: Sdks) -> None:
    callers = (await sdks.callers(PREFIX)).alone()[0]
    strangers = (await sdks.callers(PREFIX, wrong_key=True)).alone()[0]
    poor = (await sdks.callers(PREFIX, credits=0)).alone()[0]
    create = "images.jobs.create"

    for caller, changes, kind, code in (
        (callers, {"size": "1*1"}, "BadRequestError", "InvalidParameter"),
        (callers, {"model": "nobody"}, "NotFoundError", "ModelNotFound"),
        (strangers, {}, "AuthenticationError", "InvalidApiKey"),
        (poor, {}, "APIStatusError", "Arrearage"),
    ):
        (error,) = await caller.refused(create, **{**KITE, **changes})
        assert kind in error["classes"], error
        assert error["code"] == code


async def test_a_clients_wait_for_refused_content_raises_a_content_filter_error(
    sdks: Sdks,
) -> None:
    caller = (await sdks.callers(PREFIX)).alone()[0]
    for vendor in ("evolink", "dashscope"):
        sdks.stack.simulator.script(vendor, Script(fail="content_policy"))

    (error,) = await caller.refused("images.generate", **KITE, poll_interval=0.1)

    assert error["class"] == "ContentFilterError"


async def test_a_client_does_not_buy_again_what_failed(sdks: Sdks) -> None:
    """[14]"""
    callers = await sdks.callers(PREFIX, credits=10)
    caller, team = callers.alone()[0], callers.teams[0]
    sdks.stack.simulator.script("dashscope", Script(fail="InternalError.Algo"))

    (error,) = await caller.refused(
        "images.generate", model=WAN26, prompt="a kite", n=1, options={"max_retries": 2}
    )

    assert error["status_code"] >= 500
    tasks = (await sdks.stack.get(team, "/v1/tasks")).json()["data"]
    assert len(tasks) == 1
    assert await sdks.stack.credits(team) == ("10", "0", "10")
