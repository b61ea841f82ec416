"""The official DashScope SDKs, newest and older at once, with only their base URL changed.

Numbers in brackets are the hard requirements of providers/dashscope.md §7.3.
"""

from __future__ import annotations

from typing import Any

import pytest

from gateway.simulator import Script
from tests.support.dashscope import (
    KITE,
    PREFIX,
    ROOT,
    UNDER_WAY,
    WAN26,
    WAN27,
    idle,
    links,
    message,
)
from tests.support.sdk import OLD_PYTHON, Callers, SdkProcess, Sdks
from tests.support.stack import MODEL

pytestmark = pytest.mark.asyncio(loop_scope="module")

LINK = "https://pictures.example/cat.png"
UNKNOWN_ID = "5f2d0f52-7f0b-4b6e-8f65-0a3f7c0f6d10"
OLD_API = ("ImageSynthesis", "AioImageSynthesis")
NEW_API = ("ImageGeneration", "AioImageGeneration")


def arguments_of(kind: str) -> dict[str, Any]:
    """Give what one class of the SDK is called with to draw a kite."""
    return KITE if kind in OLD_API else {"model": WAN26, "messages": message("a kite"), "n": 1}


async def each(callers: Callers, name: str, tasks: list[str], **more: Any) -> list[Any]:
    """Call a method with each version's own task."""
    found = []
    for caller, task in zip(callers.alone(), tasks, strict=True):
        found += await caller.call(name, task=task, **more)
    return found


async def test_both_versions_are_here(processes: list[SdkProcess]) -> None:
    if not OLD_PYTHON.exists():
        pytest.skip("no .venv-old-sdks, so the newest SDKs alone are tested; `make test` makes it")
    assert len(processes) == 2


# --- the classes: submit, query, wait, cancel, list ---------------------------------------------


@pytest.mark.parametrize(
    ("kind", "prefix"), list(zip([*OLD_API, *NEW_API], [ROOT, PREFIX] * 2, strict=True))
)
async def test_call_gives_pictures(sdks: Sdks, prefix: str, kind: str) -> None:
    """[1] [3] [6] [12]"""
    callers = await sdks.callers(prefix)

    for answer in await callers.call(f"{kind}.call", **{**arguments_of(kind), "n": 2}):
        assert answer["status_code"] == 200
        assert not answer["code"]
        assert len(links(answer)) == 2
        assert answer["usage"]["image_count"] == 2


@pytest.mark.parametrize("kind", [*OLD_API, *NEW_API])
async def test_a_task_is_submitted_fetched_waited_for_listed_and_then_too_late_to_cancel(
    sdks: Sdks, kind: str
) -> None:
    """[1] [3] [7] [10] [11] [12]"""
    callers = await sdks.callers(PREFIX)

    submitted = await callers.call(f"{kind}.async_call", **arguments_of(kind))
    tasks = [answer["output"]["task_id"] for answer in submitted]
    fetched = await each(callers, f"{kind}.fetch", tasks)
    done = await each(callers, f"{kind}.wait", tasks)
    listed = await callers.call(f"{kind}.list", page_no=1, page_size=5)
    late = await each(callers, f"{kind}.cancel", tasks)

    assert [answer["status_code"] for answer in submitted] == [200] * len(tasks)
    assert {answer["output"]["task_status"] for answer in submitted} == {"PENDING"}
    assert [answer["output"]["task_id"] for answer in fetched] == tasks
    assert {answer["output"]["task_status"] for answer in fetched} <= UNDER_WAY
    assert {answer["output"]["task_status"] for answer in done} == {"SUCCEEDED"}
    for answer, page, task in zip(done, listed, tasks, strict=True):
        assert len(links(answer)) == (4 if kind in OLD_API else 1)
        assert [entry["task_id"] for entry in page["output"]["data"]] == [task]
        assert page["output"]["total"] == 1
    assert {(answer["status_code"], answer["code"]) for answer in late} == {
        (400, "UnsupportedOperation")
    }


@pytest.mark.parametrize("kind", [*OLD_API, *NEW_API])
async def test_a_waiting_task_is_cancelled(sdks: Sdks, kind: str) -> None:
    """[3] [11] [13]: CANCELED with one L ends the waiting."""
    callers = await sdks.callers(PREFIX, credits=10)
    async with idle(sdks.stack):
        submitted = await callers.call(f"{kind}.async_call", **arguments_of(kind))
        tasks = [answer["output"]["task_id"] for answer in submitted]
        cancelled = await each(callers, f"{kind}.cancel", tasks)
        ended = await each(callers, f"{kind}.wait", tasks)

    assert [answer["status_code"] for answer in cancelled] == [200] * len(tasks)
    assert {answer["output"]["task_status"] for answer in ended} == {"CANCELED"}
    for team in callers.teams:
        assert await sdks.stack.credits(team) == ("10", "0", "10")


async def test_an_unknown_task_ends_the_waiting(sdks: Sdks) -> None:
    """[4] 200 and UNKNOWN, for nobody's task and for somebody else's."""
    owner, other = await sdks.callers(PREFIX), await sdks.callers(PREFIX)
    (submitted, *_) = await owner.call("ImageSynthesis.async_call", **KITE)

    for task in (UNKNOWN_ID, submitted["output"]["task_id"]):
        for answer in await other.call("ImageSynthesis.wait", task=task):
            assert answer["status_code"] == 200
            assert answer["output"]["task_status"] == "UNKNOWN"


@pytest.mark.parametrize("kind", OLD_API)
async def test_a_task_path_cannot_be_called_synchronously(sdks: Sdks, kind: str) -> None:
    callers = await sdks.callers(PREFIX)

    for answer in await callers.call(f"{kind}.sync_call", **KITE):
        assert (answer["status_code"], answer["code"]) == (403, "AccessDenied")
        assert "synchronous" in answer["message"]


@pytest.mark.parametrize("kind", NEW_API)
async def test_a_stream_ends_with_the_pictures(sdks: Sdks, kind: str) -> None:
    """[6]"""
    callers = await sdks.callers(PREFIX)

    for answers in await callers.call(f"{kind}.call", **arguments_of(kind), stream=True):
        assert [answer["status_code"] for answer in answers] == [200]
        assert len(links(answers[0])) == 1


@pytest.mark.parametrize("kind", ["MultiModalConversation", "AioMultiModalConversation"])
async def test_a_conversation_draws(sdks: Sdks, kind: str) -> None:
    callers = await sdks.callers(PREFIX)

    answers = await callers.call(
        f"{kind}.call",
        model=WAN27,
        messages=message("a kite", LINK),
        n=1,
        size="2K",
        watermark=False,
    )

    for answer in answers:
        assert answer["status_code"] == 200
        assert len(links(answer)) == 1


async def test_each_path_answers_in_its_own_shape_whatever_the_model(sdks: Sdks) -> None:
    """[7]"""
    callers = await sdks.callers(PREFIX)
    old = await callers.call("ImageSynthesis.async_call", model=WAN27, prompt="a kite", n=1)
    new = await callers.call(
        "ImageGeneration.async_call", model=MODEL, messages=message("a kite"), n=1
    )

    old = await each(callers, "ImageSynthesis.wait", [a["output"]["task_id"] for a in old])
    new = await each(callers, "ImageGeneration.wait", [a["output"]["task_id"] for a in new])

    for results, choices in zip(old, new, strict=True):
        assert [len(results["output"]["results"]), len(links(results))] == [1, 1]
        assert [len(choices["output"]["choices"]), len(links(choices))] == [1, 1]


# --- what goes wrong ------------------------------------------------------------------------


async def test_a_picture_that_failed_is_an_object_among_the_results(sdks: Sdks) -> None:
    """[5] and partial delivery is charged by the picture."""
    callers = await sdks.callers(PREFIX, credits=10)
    sdks.stack.simulator.script("evolink", Script(deliver=1))

    answers = await callers.call("ImageSynthesis.call", **KITE, n=2)

    for answer, team in zip(answers, callers.teams, strict=True):
        delivered, failed = answer["output"]["results"]
        assert delivered["url"].startswith("http")
        assert failed["code"] == "InternalError.Algo"
        assert not failed.get("url")
        metrics = answer["output"]["task_metrics"]
        assert metrics == {"TOTAL": 2, "SUCCEEDED": 1, "FAILED": 1}
        assert await sdks.stack.credits(team) == ("8.5", "0", "8.5")


@pytest.mark.parametrize("kind", [*OLD_API, *NEW_API])
async def test_a_failed_task_ends_the_waiting_with_its_code(sdks: Sdks, kind: str) -> None:
    """[3]"""
    callers = await sdks.callers(PREFIX, credits=10)
    for vendor in ("evolink", "dashscope"):
        sdks.stack.simulator.script(vendor, Script(fail="content_policy"))

    submitted = await callers.call(f"{kind}.async_call", **arguments_of(kind))
    tasks = [answer["output"]["task_id"] for answer in submitted]
    for task, team in zip(tasks, callers.teams, strict=True):
        await sdks.stack.ended(team, task)

    for answer, team in zip(await each(callers, f"{kind}.wait", tasks), callers.teams, strict=True):
        assert answer["status_code"] == 200
        assert answer["output"]["task_status"] == "FAILED"
        assert answer["output"]["code"] == "DataInspectionFailed"
        assert answer["output"]["message"]
        assert await sdks.stack.credits(team) == ("10", "0", "10")


async def test_a_synchronous_failure_is_an_error_and_a_streamed_one_too(sdks: Sdks) -> None:
    callers = await sdks.callers(PREFIX)
    sdks.stack.simulator.script("dashscope", Script(error="content_policy"))
    arguments = arguments_of("ImageGeneration")

    plain = await callers.call("ImageGeneration.call", **arguments)
    streamed = await callers.call("ImageGeneration.call", **arguments, stream=True)

    for answer in [*plain, *(answers[-1] for answers in streamed)]:
        assert (answer["status_code"], answer["code"]) == (400, "DataInspectionFailed")


@pytest.mark.parametrize(
    ("changes", "status", "code", "said"),
    [
        ({"size": "1*1"}, 400, "InvalidParameter", "parameters.size"),
        ({"n": 9}, 400, "InvalidParameter", "parameters.n"),
        ({"seed": -5}, 400, "InvalidParameter", "parameters.seed"),
        ({"sise": "1280*1280"}, 400, "InvalidParameter", "parameters.sise"),
        ({"model": "wan2.5-t2i-previeu"}, 404, "ModelNotFound", MODEL),
    ],
)
async def test_a_bad_request_is_refused_flat(
    sdks: Sdks, changes: dict[str, Any], status: int, code: str, said: str
) -> None:
    """[2]"""
    callers = await sdks.callers(PREFIX)

    for answer in await callers.call("ImageSynthesis.async_call", **{**KITE, **changes}):
        assert (answer["status_code"], answer["code"]) == (status, code)
        assert said in answer["message"]
        assert answer["request_id"]


async def test_a_wrong_key_and_an_empty_account_are_told_apart(sdks: Sdks) -> None:
    """[2]"""
    strangers = await sdks.callers(PREFIX, wrong_key=True)
    poor = await sdks.callers(PREFIX, credits=0)

    for kind in ("ImageSynthesis.async_call", "ImageGeneration.call"):
        arguments = arguments_of(kind.partition(".")[0])
        for answer in await strangers.call(kind, **arguments):
            assert (answer["status_code"], answer["code"]) == (401, "InvalidApiKey")
        for answer in await poor.call(kind, **arguments):
            assert (answer["status_code"], answer["code"]) == (400, "Arrearage")


async def test_a_rejected_submit_raises_where_the_sdk_waits(sdks: Sdks) -> None:
    callers = await sdks.callers(PREFIX)

    for error in await callers.refused("ImageSynthesis.call", **KITE, size="1*1"):
        assert error["class"] == "InvalidTask"
        assert "parameters.size" in error["text"]


# --- on the wire ----------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", [ROOT, PREFIX])
async def test_addresses_with_and_without_a_slash_are_answered_directly(
    sdks: Sdks, prefix: str
) -> None:
    """[12] [13]: no redirect; a cancel without a body, or with the async client's."""
    stack = sdks.stack
    team = await stack.team()
    cancel_body = {"model": "", "parameters": {}, "input": ""}

    for slash in ("", "/"):
        queried = await stack.get(team, f"{prefix}/tasks/{UNKNOWN_ID}{slash}?n=1&size=1280*1280")
        listed = await stack.get(team, f"{prefix}/tasks{slash}?unheard=of")
        path = f"{prefix}/tasks/{UNKNOWN_ID}/cancel{slash}"
        bare = await stack.client.post(path, headers=team.headers)
        full = await stack.post(team, cancel_body, path)

        assert [answer.status_code for answer in (queried, listed)] == [200, 200]
        assert bare.status_code == full.status_code == 404
        assert bare.json()["code"] == full.json()["code"] == "NotFound"
