"""The official OpenAI SDKs, newest and older at once, with only their base URL changed."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.simulator import Script
from tests.support.pictures import png
from tests.support.sdk import OLD_PYTHON, SdkProcess, Sdks, sdk_processes
from tests.support.stack import MODEL, Stack, Team, picture_size

pytestmark = pytest.mark.asyncio(loop_scope="module")

GPT, WAN25, WAN27 = "gpt-image-1.5", "wan2.5-i2i-preview", "wan2.7-image"
KITE: dict[str, Any] = {"model": MODEL, "prompt": "a kite"}
QUICK: dict[str, Any] = {"model": GPT, "prompt": "a kite"}
ROOT, PREFIX = "/v1", "/openai/v1"


@pytest.fixture(scope="module")
def processes() -> Iterator[list[SdkProcess]]:
    with sdk_processes("openai_calls") as found:
        yield found


@pytest.fixture
def sdks(calm_stack: Stack, processes: list[SdkProcess]) -> Sdks:
    return Sdks(processes, calm_stack)


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Gives a picture file as an argument of the SDK."""

    def make(name: str = "cat.png", content: bytes | None = None) -> dict[str, str]:
        path = tmp_path / name
        path.write_bytes(png() if content is None else content)
        return {"file": str(path)}

    return make


def inline_size(entry: dict[str, Any]) -> tuple[int, int]:
    return picture_size(base64.b64decode(entry["b64_json"], validate=True))


async def tasks_of(stack: Stack, team: Team) -> list[dict[str, Any]]:
    tasks: list[dict[str, Any]] = (await stack.get(team, "/v1/tasks")).json()["data"]
    return tasks


async def test_both_versions_are_here(processes: list[SdkProcess]) -> None:
    if not OLD_PYTHON.exists():
        pytest.skip("no .venv-old-sdks, so the newest SDKs alone are tested; `make test` makes it")
    assert len(processes) == 2


# --- pictures ------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", [ROOT, PREFIX])
async def test_generate_gives_links(sdks: Sdks, prefix: str) -> None:
    callers = await sdks.callers(prefix, credits=10)

    answers = await callers.call("images.generate", **KITE, size="1024x1024", n=2)

    async with httpx.AsyncClient(trust_env=False) as plain:
        for answer, team in zip(answers, callers.teams, strict=True):
            assert len(answer["data"]) == 2
            content = (await plain.get(answer["data"][0]["url"])).content
            assert picture_size(content) == (1024, 1024)
            assert await sdks.stack.credits(team) == ("7", "0", "7")


@pytest.mark.parametrize("prefix", [ROOT, PREFIX])
@pytest.mark.parametrize(
    "arguments",
    [
        {**QUICK, "response_format": "b64_json"},
        {"model": "gpt-image-1", "prompt": "a kite"},
        {
            **QUICK,
            "quality": "low",
            "background": "opaque",
            "output_format": "png",
            "moderation": "low",
            "user": "u-1",
        },
    ],
    ids=["asked for", "alias of gpt-image", "gpt-image"],
)
async def test_generate_gives_base64(sdks: Sdks, prefix: str, arguments: dict[str, Any]) -> None:
    callers = await sdks.callers(prefix)

    for answer in await callers.call("images.generate", **arguments, size="1024x1024"):
        assert inline_size(answer["data"][0]) == (1024, 1024)


async def test_wan_parameters_travel_in_extra_body(sdks: Sdks) -> None:
    callers = await sdks.callers(PREFIX)
    more = {"enable_sequential": True, "n": 4, "seed": 7}

    answers = await callers.call(
        "images.generate", model=WAN27, prompt="four seasons", extra_body=more
    )

    assert [len(answer["data"]) for answer in answers] == [4] * len(answers)


@pytest.mark.parametrize(
    ("prefix", "model", "count"), [(ROOT, WAN25, 1), (PREFIX, WAN27, 3), (PREFIX, GPT, 2)]
)
async def test_edit_sends_one_picture_or_several(
    sdks: Sdks, file: Any, prefix: str, model: str, count: int
) -> None:
    callers = await sdks.callers(prefix)
    pictures = [file(f"{number}.png") for number in range(count)]

    answers = await callers.call(
        "images.edit",
        model=model,
        prompt="a kite",
        image=pictures if count > 1 else pictures[0],
        response_format="b64_json",
    )

    for answer in answers:
        assert inline_size(answer["data"][0]) >= (512, 512)
    for team in callers.teams:
        (task,) = await tasks_of(sdks.stack, team)
        request = await sdks.stack.gateway.tasks.request_of(task["id"])
        assert len(request.images) == count


async def test_edit_with_a_mask(sdks: Sdks, file: Any) -> None:
    callers = await sdks.callers(PREFIX)
    mask = file("mask.png", png("RGBA"))

    answers = await callers.call("images.edit", **QUICK, image=file(), mask=mask, size="1024x1024")

    for answer, task in zip(answers, sdks.stack.simulator.tasks("openai")[::-1], strict=False):
        assert inline_size(answer["data"][0]) == (1024, 1024)
        assert task.order.traits["mask"] is True


async def test_lists_and_objects_travel_in_the_extra_body_of_a_form(sdks: Sdks, file: Any) -> None:
    callers = await sdks.callers(PREFIX)
    more = {
        "provider": {"only": ["dear"], "allow_fallbacks": False},
        "color_palette": [
            {"hex": "#0A2540", "ratio": 50},
            {"hex": "#F5F5F0", "ratio": 35},
            {"hex": "#E04B3A", "ratio": 15},
        ],
        "bbox_list": "[[[10, 10, 200, 200]]]",
        "seed": 7,
        "watermark": True,
    }

    await callers.call(
        "images.edit", model=WAN27, prompt="a kite", image=file(), n=2, extra_body=more
    )

    for team in callers.teams:
        (task,) = await tasks_of(sdks.stack, team)
        request = await sdks.stack.gateway.tasks.request_of(task["id"])
        assert (request.n, request.seed, request.watermark) == (2, 7, True)
        assert request.rules.only == ("dear",)
        assert [int(color.ratio) for color in request.palette] == [50, 35, 15]
        assert request.boxes == (((10, 10, 200, 200),),)


async def test_models_are_listed_and_found_by_alias(sdks: Sdks) -> None:
    callers = await sdks.callers(PREFIX)

    for models in await callers.call("models.list"):
        assert {"gpt-image-1", MODEL, GPT} <= {model["id"] for model in models}
    for alias in await callers.call("models.retrieve", model="gpt-image-1"):
        assert (alias["id"], alias["object"]) == ("gpt-image-1", "model")
    for error in await callers.refused("models.retrieve", model="nobody"):
        assert error["class"] == "NotFoundError"


# --- streams -------------------------------------------------------------------------------


@pytest.mark.parametrize(("prefix", "arguments"), [(ROOT, KITE), (PREFIX, QUICK)])
async def test_a_stream_ends_with_an_event_per_picture(
    sdks: Sdks, prefix: str, arguments: dict[str, Any]
) -> None:
    callers = await sdks.callers(prefix)

    answers = await callers.call(
        "images.generate", **arguments, n=2, size="1024x1024", stream=True, partial_images=1
    )

    for events in answers:
        assert [event["type"] for event in events] == ["image_generation.completed"] * 2
        assert inline_size(events[1]) == (1024, 1024)


async def test_keep_alives_do_not_disturb_a_stream(
    sdks: Sdks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.http.create.PING_S", 0.1)
    sdks.stack.simulator.script("openai", Script(latency_ms=600))
    callers = await sdks.callers(PREFIX)

    for events in await callers.call("images.generate", **QUICK, stream=True):
        assert [event["type"] for event in events] == ["image_generation.completed"]


async def test_an_edit_streams_its_own_event(sdks: Sdks, file: Any) -> None:
    callers = await sdks.callers(PREFIX)

    for events in await callers.call("images.edit", **QUICK, image=file(), stream=True):
        assert [event["type"] for event in events] == ["image_edit.completed"]
        inline_size(events[0])


async def test_a_stream_that_fails_raises_with_the_code(sdks: Sdks) -> None:
    callers = await sdks.callers(PREFIX, credits=10)
    sdks.stack.simulator.script("openai", Script(error="content_policy_violation"))

    errors = await callers.refused("images.generate", **QUICK, stream=True)

    for error, team in zip(errors, callers.teams, strict=True):
        assert (error["class"], error["code"]) == ("APIError", "content_policy_violation")
        assert await sdks.stack.credits(team) == ("10", "0", "10")


# --- errors --------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", [ROOT, PREFIX])
@pytest.mark.parametrize(
    ("arguments", "kind", "status", "code", "param"),
    [
        ({"n": 40}, "BadRequestError", 400, "invalid_value", "n"),
        ({"prompt": ""}, "BadRequestError", 400, "missing_required_parameter", "prompt"),
        ({"extra_body": {"sise": 1}}, "BadRequestError", 400, "unknown_parameter", "sise"),
        ({"model": "wan2.5-t2i-previeu"}, "NotFoundError", 404, "model_not_found", "model"),
    ],
)
async def test_a_bad_request_raises_the_class_of_its_status(
    sdks: Sdks,
    prefix: str,
    arguments: dict[str, Any],
    kind: str,
    status: int,
    code: str,
    param: str,
) -> None:
    callers = await sdks.callers(prefix)

    for error in await callers.refused("images.generate", **{**KITE, **arguments}):
        assert (error["class"], error["status_code"]) == (kind, status)
        assert (error["code"], error["param"]) == (code, param)
        assert error["request_id"].startswith("req_")


@pytest.mark.parametrize("prefix", [ROOT, PREFIX])
async def test_a_wrong_key_and_an_empty_account_are_told_apart(sdks: Sdks, prefix: str) -> None:
    strangers = await sdks.callers(prefix, wrong_key=True)
    poor = await sdks.callers(prefix, credits=0)

    for error in await strangers.refused("images.generate", **KITE):
        assert (error["class"], error["code"]) == ("AuthenticationError", "invalid_api_key")
    for error in await poor.refused("images.generate", **KITE):
        assert (error["class"], error["status_code"]) == ("APIStatusError", 402)
        assert error["code"].startswith("insufficient_")


async def test_a_picture_that_is_none_is_named_by_its_field(sdks: Sdks, file: Any) -> None:
    callers = await sdks.callers(PREFIX)

    for error in await callers.refused("images.edit", **QUICK, image=file(content=b"<svg/>")):
        assert error["class"] == "BadRequestError"
        assert (error["code"], error["param"]) == ("invalid_image", "image")


async def test_a_form_above_the_cap_is_too_large_however_long_it_is(sdks: Sdks, file: Any) -> None:
    callers = await sdks.callers(PREFIX)
    big = file(content=png().ljust(64 * 2**20))

    for error in await callers.refused("images.edit", **QUICK, image=big):
        assert (error["status_code"], error["code"]) == (413, "request_too_large")


# --- retries -------------------------------------------------------------------------------


async def test_what_failed_at_the_vendor_is_not_bought_again_by_retries(sdks: Sdks) -> None:
    callers = await sdks.callers(PREFIX, credits=10)
    sdks.stack.simulator.script("evolink", Script(fail="service_error"))

    errors = await callers.refused(
        "images.generate",
        **KITE,
        extra_body={"provider": {"only": ["cheap"]}},
        options={"max_retries": 2},
    )

    for error, team in zip(errors, callers.teams, strict=True):
        assert (error["class"], error["status_code"]) == ("InternalServerError", 502)
        assert len(await tasks_of(sdks.stack, team)) == 1
        assert await sdks.stack.credits(team) == ("10", "0", "10")


async def test_a_refused_prompt_is_a_bad_request_and_not_tried_again(sdks: Sdks) -> None:
    callers = await sdks.callers(PREFIX, credits=10)
    sdks.stack.simulator.script("openai", Script(error="content_policy_violation"))

    errors = await callers.refused("images.generate", **QUICK, options={"max_retries": 2})

    for error, team in zip(errors, callers.teams, strict=True):
        assert (error["class"], error["code"]) == ("BadRequestError", "content_policy_violation")
        assert len(await tasks_of(sdks.stack, team)) == 1
