"""Edits: pictures and masks from forms and JSON, through every upstream that can do them."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from gateway.simulator import Script, SimTask
from tests.support.pictures import data_url, png
from tests.support.stack import Stack, Team, picture_size

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATHS = ("/v1/images/edits", "/openai/v1/images/edits")
WAIT = {"prefer": "wait=30"}
LINK = "https://pictures.example/cat.png"
WAN25, WAN27, GPT = "wan2.5-i2i-preview", "wan2.7-image", "gpt-image-1.5"

# The header of a GIF of 512 by 512 pixels, and its end.
GIF = b"GIF89a\x00\x02\x00\x02\x00\x00\x00;"

Part = tuple[str, tuple[str, bytes, str]]


@pytest.fixture
def stack(calm_stack: Stack) -> Stack:
    return calm_stack


def drawn(width: int = 512, height: int = 512, mode: str = "RGB") -> bytes:
    return png(mode, (width, height))


def part(name: str, content: bytes | None = None, filename: str = "cat.png") -> Part:
    return name, (filename, drawn() if content is None else content, "image/png")


def mask(width: int = 512, height: int = 512) -> Part:
    return part("mask", drawn(width, height, "RGBA"))


async def send(
    stack: Stack,
    team: Team,
    *parts: Part,
    path: str = PATHS[1],
    headers: Mapping[str, str] | None = None,
    **fields: Any,
) -> httpx.Response:
    """Send a form as the OpenAI SDKs do: texts first, then the files."""
    texts = [(name, (None, text)) for name, text in {"prompt": "a kite", **fields}.items()]
    merged = {**team.headers, **(headers or {})}
    return await stack.client.post(path, files=[*texts, *parts], headers=merged)


async def size_behind(entry: dict[str, Any]) -> tuple[int, int]:
    """Give the size of an answered picture, inline or behind its link."""
    if "b64_json" in entry:
        return picture_size(base64.b64decode(entry["b64_json"], validate=True))
    async with httpx.AsyncClient(trust_env=False) as client:
        return picture_size((await client.get(entry["url"])).content)


def last_order(stack: Stack, vendor: str) -> SimTask:
    return stack.simulator.tasks(vendor)[-1]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("model", "upstream", "vendor", "parts"),
    [
        (WAN25, "dear", "dashscope", [part("image")]),
        (WAN25, "dear", "dashscope", [part("image[]")] * 3),
        (WAN27, "dear", "dashscope", [part("image")] * 9),
        (GPT, "openai", "openai", [part("image[]")] * 16),
    ],
)
async def test_a_form_with_pictures_gives_a_picture(
    stack: Stack, path: str, model: str, upstream: str, vendor: str, parts: list[Part]
) -> None:
    team = await stack.team()

    answer = await send(stack, team, *parts, path=path, headers=WAIT, model=model)

    assert answer.status_code == 200, answer.text
    assert await size_behind(answer.json()["data"][0]) >= (512, 512)
    task = await stack.task(answer.headers["x-task-id"])
    assert [attempt.upstream for attempt in task.attempts] == [upstream]
    assert last_order(stack, vendor).order.traits["pictures"] == len(parts)
    assert (task.charged, task.unit_price) == (task.unit_price, task.hold)


async def test_links_in_json_go_to_the_cheapest_upstream(stack: Stack) -> None:
    team = await stack.team()
    body = {"model": WAN25, "prompt": "a kite", "images": [{"image_url": LINK}]}

    answer = await stack.post(team, body, PATHS[1])

    task = await stack.task(answer.headers["x-task-id"])
    assert answer.status_code == 200
    assert [attempt.upstream for attempt in task.attempts] == ["cheap"]


async def test_pictures_keep_their_order_and_the_last_one_gives_the_shape(stack: Stack) -> None:
    team = await stack.team()
    parts = [part("image[]", drawn(side, 512)) for side in (400, 500, 1024)]

    answer = await send(stack, team, *parts, model=WAN27)

    request = await stack.gateway.tasks.request_of(answer.headers["x-task-id"])
    assert [image.width for image in request.images] == [400, 500, 1024]
    width, height = await size_behind(answer.json()["data"][0])
    assert round(width / height) == 2


@pytest.mark.parametrize("path", PATHS)
async def test_a_mask_travels_with_its_picture(stack: Stack, path: str) -> None:
    team = await stack.team()

    answer = await send(
        stack, team, part("image"), mask(), path=path, headers=WAIT, model=GPT, size="1024x1024"
    )

    assert answer.status_code == 200, answer.text
    assert await size_behind(answer.json()["data"][0]) == (1024, 1024)
    assert last_order(stack, "openai").order.traits["mask"] is True


async def test_a_mask_behind_a_link_goes_as_json(stack: Stack) -> None:
    team = await stack.team()
    inline = data_url(drawn())
    body = {"model": GPT, "prompt": "a kite", "images": [inline], "mask": {"image_url": LINK}}

    answer = await stack.post(team, body, PATHS[1])

    assert answer.status_code == 200
    assert last_order(stack, "openai").order.traits["mask"] is True


@pytest.mark.parametrize(
    ("model", "parts", "field", "said"),
    [
        (WAN27, [], "image", "picture"),
        (WAN27, [part("image", b"<svg/>")], "image", "PNG"),
        (WAN27, [part("image", drawn(200, 200))], "image", "240"),
        (WAN27, [part("image[]"), part("image[]", b"GIF89a")], "image[1]", "PNG"),
        (WAN27, [part("image[]")] * 10, "image", "0 to 9"),
        (WAN27, [part("image", drawn(mode="RGBA"))], "image", "opaque"),
        (WAN25, [part("image", GIF)], "image", "image/png"),
        (WAN27, [part("image"), mask()], "mask", "not supported"),
        (GPT, [part("image"), mask(256, 512)], "mask", "size of the first picture"),
        (GPT, [part("image"), part("mask")], "mask", "transparency"),
        (GPT, [part("image"), part("mask", b"\x89PNG\r\n\x1a\n")], "mask", "known kind"),
        (GPT, [part("image"), part("mask", drawn(mode="RGBA").ljust(2**22))], "mask", "4194303"),
        (WAN27, [part("image"), part("video")], "video", "image"),
    ],
)
async def test_what_is_wrong_with_a_picture_is_said_under_the_callers_name_and_costs_nothing(
    stack: Stack, model: str, parts: list[Part], field: str, said: str
) -> None:
    team = await stack.team(credits=10)

    answer = await send(stack, team, *parts, model=model)

    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert (error["param"], said in error["message"]) == (field, True), error
    assert await stack.credits(team) == ("10", "0", "10")


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b"--x\r\n\r\n--x--"),
        ("multipart/form-data; boundary=x", b"nothing of the kind"),
        ("multipart/form-data; boundary=x", b""),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="a'),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\na\r\n"),
    ],
)
async def test_a_broken_form_is_a_400(stack: Stack, content_type: str, body: bytes) -> None:
    team = await stack.team()
    headers = {**team.headers, "content-type": content_type}

    answer = await stack.client.post(PATHS[0], content=body, headers=headers)

    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_a_form_with_too_many_parts_is_a_400(stack: Stack) -> None:
    team = await stack.team()

    files = await send(stack, team, *[part("image[]", b"x")] * 33, model=WAN27)
    numbers: dict[str, Any] = dict.fromkeys(map(str, range(70)), "x")
    fields = await send(stack, team, part("image"), **numbers)

    assert [answer.status_code for answer in (files, fields)] == [400, 400]
    assert "files" in files.json()["error"]["message"]


async def test_a_form_above_the_cap_is_a_413(stack: Stack) -> None:
    team = await stack.team(credits=10)

    answer = await send(stack, team, part("image", drawn().ljust(46 * 2**20)), model=WAN27)

    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "request_too_large"
    assert await stack.credits(team) == ("10", "0", "10")


async def test_texts_of_a_form_are_read_as_what_they_mean(stack: Stack) -> None:
    team = await stack.team()
    boxes = json.dumps([[[10, 10, 200, 200]]])

    answer = await send(
        stack,
        team,
        part("image"),
        model=WAN27,
        prompt="Drachen über dem See 🪁\nin Öl",
        n="2",
        seed="7",
        watermark="true",
        bbox_list=boxes,
        input_fidelity="high",
    )

    request = await stack.gateway.tasks.request_of(answer.headers["x-task-id"])
    assert (request.n, request.seed, request.watermark) == (2, 7, True)
    assert request.boxes == (((10, 10, 200, 200),),)
    assert request.prompt == "Drachen über dem See 🪁\nin Öl"
    assert answer.headers["x-ignored-params"] == "input_fidelity"
    assert len(answer.json()["data"]) == 2


async def test_a_picture_part_may_be_a_link_or_data_as_text(stack: Stack) -> None:
    team = await stack.team()
    inline = data_url(drawn())

    answers = [await send(stack, team, model=WAN27, image=text) for text in (LINK, inline)]

    assert [answer.status_code for answer in answers] == [200, 200]


async def test_an_edit_streams_its_own_events_one_per_picture(stack: Stack) -> None:
    team = await stack.team()

    answer = await send(stack, team, part("image"), model=WAN27, n="2", stream="true")

    blocks = [block for block in answer.text.split("\n\n") if block.startswith("event:")]
    assert [block.split("\n")[0] for block in blocks] == ["event: image_edit.completed"] * 2
    for block in blocks:
        await size_behind(json.loads(block.split("\ndata: ")[1]))


async def test_a_partial_edit_is_charged_by_the_picture(stack: Stack) -> None:
    team = await stack.team(credits=10)
    stack.simulator.script("dashscope", Script(deliver=1))

    answer = await send(stack, team, part("image"), model=WAN27, n="3")

    assert len(answer.json()["data"]) == 1
    assert await stack.credits(team) == ("8", "0", "8")
    await stack.assert_ledger_is_clean()


async def test_a_picture_of_a_message_is_named_by_its_place_in_the_message(stack: Stack) -> None:
    team = await stack.team()
    good, bad = (data_url(drawn(side, side)) for side in (512, 100))
    content = [{"text": "a kite"}, {"image": good}, {"image": bad}]
    body = {"model": WAN27, "input": {"messages": [{"role": "user", "content": content}]}}

    answer = await stack.post(team, body, "/api/v1/services/aigc/multimodal-generation/generation")

    assert (answer.status_code, answer.json()["code"]) == (400, "InvalidParameter")
    assert answer.json()["message"].startswith("input.messages[0].content[2].image is 100x100")
