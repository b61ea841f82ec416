from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from gateway.simulator import Script, Simulator, SimulatorConfig, VendorConfig, usd
from tests.simulator.calls import LANTERNS, opened, png

SPARE = "openai-spare"


@pytest.fixture
async def two() -> AsyncIterator[Simulator]:
    """OpenAI itself, and a compatible vendor that sells the old names and a wan model for less."""
    prices = dict.fromkeys(("dall-e-2", "dall-e-3", "wan2.5-t2i-preview"), usd("0.01"))
    vendors = {
        "openai": VendorConfig(api="openai"),
        SPARE: VendorConfig(api="openai", prices=prices),
    }
    async with Simulator(SimulatorConfig(work_ms=(0, 0), vendors=vendors)) as simulator:
        yield simulator


async def make(
    sim: Simulator, web: httpx.AsyncClient, vendor: str = "openai", **body: object
) -> httpx.Response:
    asked = {"model": "gpt-image-1.5", "prompt": LANTERNS, "size": "1024x1024"} | body
    return await web.post(sim.base_url(vendor) + "/images/generations", json=asked)


def events(text: str) -> list[tuple[str, Any]]:
    blocks = [block.split("\n") for block in text.strip().split("\n\n")]
    return [
        (first.removeprefix("event: "), json.loads(second.removeprefix("data: ")))
        for first, second in blocks
    ]


async def test_gpt_image_models_answer_base64_with_usage(quick, web):
    answer = await make(quick, web, n=2, quality="medium")
    body = answer.json()
    assert answer.status_code == 200
    assert answer.headers["x-request-id"].startswith("req_")
    assert [list(entry) for entry in body["data"]] == [["b64_json"], ["b64_json"]]
    picture = opened(base64.b64decode(body["data"][0]["b64_json"]))
    assert (picture.format, picture.size) == ("PNG", (1024, 1024))
    assert {name: body[name] for name in ("background", "output_format", "quality", "size")} == {
        "background": "opaque",
        "output_format": "png",
        "quality": "medium",
        "size": "1024x1024",
    }
    usage = body["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert usage["input_tokens_details"] == {"text_tokens": 6, "image_tokens": 0}
    assert quick.bill("openai").amount_usd_micros == 80_000


@pytest.mark.parametrize(("output_format", "name"), [("jpeg", "JPEG"), ("webp", "WEBP")])
async def test_the_output_format_is_the_one_asked_for(quick, web, output_format, name):
    body = (await make(quick, web, output_format=output_format)).json()
    assert opened(base64.b64decode(body["data"][0]["b64_json"])).format == name


async def test_other_models_answer_links_and_take_extra_fields(two, web):
    answer = await make(two, web, SPARE, model="wan2.5-t2i-preview", seed=3, thinking_mode=True)
    entry = answer.json()["data"][0]
    assert sorted(entry) == ["revised_prompt", "url"]
    assert opened((await web.get(entry["url"])).content).size == (1024, 1024)
    inline = await make(two, web, SPARE, model="dall-e-3", response_format="b64_json")
    assert "b64_json" in inline.json()["data"][0]
    assert two.bill(SPARE).amount_usd_micros == 20_000
    assert two.bill("openai").amount_usd_micros == 0


async def test_links_of_old_models_die_after_an_hour(two, web):
    url = (await make(two, web, SPARE, model="dall-e-3")).json()["data"][0]["url"]
    two.advance(3600 * 1000)
    assert (await web.get(url)).status_code == 403


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"prompt": ""}, "missing_required_parameter"),
        ({"prompt": "x" * 32_001}, "string_above_max_length"),
        ({"n": 11}, "invalid_value"),
        ({"size": "1280x1280"}, "invalid_size"),
        ({"size": "big"}, "invalid_size"),
        ({"model": "gpt-image-2", "size": "1000x1000"}, "invalid_size"),
        ({"model": "gpt-image-2", "size": "3200x1024"}, "invalid_size"),
        ({"model": "gpt-image-2", "size": "3840x2176"}, "invalid_size"),
        ({"quality": "hd"}, "invalid_value"),
        ({"output_format": "svg"}, "invalid_value"),
        ({"background": "transparent", "output_format": "jpeg"}, "invalid_value"),
        ({"partial_images": 4}, "invalid_value"),
        ({"response_format": "url"}, "unknown_parameter"),
        ({"seed": 7}, "unknown_parameter"),
    ],
)
async def test_gpt_image_models_are_strict(quick, web, body, code):
    answer = await make(quick, web, **body)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == code
    assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_later_models_take_any_size_of_sixteens(quick, web):
    body = (await make(quick, web, model="gpt-image-2", size="1600x640")).json()
    assert opened(base64.b64decode(body["data"][0]["b64_json"])).size == (1600, 640)


async def test_an_unknown_or_retired_model_is_a_404(quick, web):
    answer = await make(quick, web, model="dall-e-3")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


async def test_a_multipart_edit_takes_several_pictures_and_a_mask(quick, web):
    answer = await web.post(
        quick.base_url("openai") + "/images/edits",
        data={"model": "gpt-image-1.5", "prompt": "add a kite", "n": "1", "size": "1024x1024"},
        files=[
            ("image[]", ("a.png", png(), "image/png")),
            ("image[]", ("b.png", png(), "image/png")),
            ("mask", ("m.png", png(mode="RGBA"), "image/png")),
        ],
    )
    assert answer.status_code == 200
    assert len(answer.json()["data"]) == 1


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ([], "invalid_value"),
        ([("image", ("a.txt", b"hello", "text/plain"))], "invalid_image_format"),
        ([("image", ("a.png", png(), "image/png"))] * 17, "invalid_value"),
        (
            [("image", ("a.png", png(), "image/png")), ("mask", ("m.png", png(64, 64), ""))],
            "invalid_size",
        ),
        (
            [("image", ("a.png", png(), "")), ("mask", ("m.jpg", b"jpeg", ""))],
            "invalid_image_format",
        ),
        ([("picture", ("a.png", png(), ""))], "unknown_parameter"),
    ],
)
async def test_an_edit_with_wrong_files_is_refused(quick, web, files, code):
    fields = [(name, (None, value)) for name, value in (("prompt", "x"), ("model", "gpt-image-2"))]
    answer = await web.post(quick.base_url("openai") + "/images/edits", files=[*fields, *files])
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)


async def test_an_edit_can_be_json(quick, web):
    url = quick.base_url("openai") + "/images/edits"
    body = {"prompt": "x", "images": [{"image_url": "https://img.example.net/a.png"}]}
    assert (await web.post(url, json=body)).status_code == 200
    assert (await web.post(url, json=body | {"images": []})).status_code == 400


async def test_a_stream_sends_partial_pictures_and_then_each_completed_one(quick, web):
    answer = await make(quick, web, stream=True, partial_images=2, n=2)
    assert answer.headers["content-type"] == "text/event-stream"
    seen = events(answer.text)
    assert [name for name, _ in seen] == [
        "image_generation.partial_image",
        "image_generation.partial_image",
        "image_generation.completed",
        "image_generation.completed",
    ]
    assert seen[1][1]["partial_image_index"] == 1
    last = seen[-1][1]
    assert last["type"] == "image_generation.completed"
    assert "usage" in last
    assert opened(base64.b64decode(last["b64_json"])).size == (1024, 1024)


async def test_an_edit_streams_under_its_own_names(quick, web):
    answer = await web.post(
        quick.base_url("openai") + "/images/edits",
        data={"model": "gpt-image-2", "prompt": "x", "stream": "true"},
        files={"image": ("a.png", png(), "image/png")},
    )
    assert [name for name, _ in events(answer.text)] == ["image_edit.completed"]


async def test_a_failure_in_a_stream_is_an_event_after_the_200(quick, web):
    quick.script("openai", Script(fail="content_policy"))
    answer = await make(quick, web, stream=True)
    assert answer.status_code == 200
    [(name, data)] = events(answer.text)
    assert name == "error"
    assert data["error"]["code"] == "moderation_blocked"


async def test_a_failure_without_stream_is_an_http_error(quick, web):
    quick.script("openai", Script(fail="server_error"))
    answer = await make(quick, web)
    assert answer.status_code == 500
    assert quick.bill("openai").images == 0


async def test_models_are_listed_and_shown(quick, web):
    base = quick.base_url("openai")
    listed = (await web.get(f"{base}/models")).json()
    assert listed["object"] == "list"
    assert "gpt-image-1.5" in [row["id"] for row in listed["data"]]
    assert (await web.get(f"{base}/models/gpt-image-2")).json()["object"] == "model"
    assert (await web.get(f"{base}/models/nothing")).status_code == 404
    assert (await web.post(f"{base}/images/variations")).status_code == 404
