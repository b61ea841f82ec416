"""DashScope: two shapes, four endpoints, one task API, one blame table (providers/dashscope.md)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.domain.errors import Sent
from gateway.domain.upstream import Job
from tests.upstreams.dashscope import ACCEPTED, BASE, CHOICES, I2I, T2I
from tests.upstreams.support import (
    FIELD,
    KITE,
    Vendor,
    adapter_at,
    job,
    palette,
    pictures,
    size,
    wire,
)

DATA_URL = "data:image/jpeg;base64,/9j/4AAQ"


def plain(model: str, source: dict[str, Any], **parameters: Any) -> dict[str, Any]:
    """The old shape's JSON."""
    source = {"prompt": "Paper lanterns", **source}
    return {"model": model, "input": source, "parameters": parameters}


def message(model: str, urls: list[str], **parameters: Any) -> dict[str, Any]:
    """The new shape's JSON."""
    content = [*({"image": url} for url in urls), {"text": "Paper lanterns"}]
    source = {"messages": [{"role": "user", "content": content}]}
    return {"model": model, "input": source, "parameters": parameters}


TEXT2IMAGE = "/services/aigc/text2image/image-synthesis"
IMAGE2IMAGE = "/services/aigc/image2image/image-synthesis"
GENERATION = "/services/aigc/image-generation/generation"
CONVERSATION = "/services/aigc/multimodal-generation/generation"


@pytest.mark.parametrize(
    ("sent", "path", "body"),
    [
        # Old shape, text to image.
        (job("dashscope", T2I), TEXT2IMAGE, plain(T2I, {}, size="1280*1280", n=1)),
        (
            job(
                "dashscope",
                T2I,
                n=4,
                size=size("1696x960"),
                negative_prompt="text, watermark",
                rewrite_prompt=True,
                watermark=False,
                seed=4711,
            ),
            TEXT2IMAGE,
            plain(
                T2I,
                {"negative_prompt": "text, watermark"},
                size="1696*960",
                n=4,
                prompt_extend=True,
                watermark=False,
                seed=4711,
            ),
        ),
        (
            job("dashscope", "wan2.2-t2i-flash", seed=0),
            TEXT2IMAGE,
            plain("wan2.2-t2i-flash", {}, size="1024*1024", n=1, seed=0),
        ),
        (
            job("dashscope", "wan2.2-t2i-plus", size=size("512x1440")),
            TEXT2IMAGE,
            plain("wan2.2-t2i-plus", {}, size="512*1440", n=1),
        ),
        # One model, named by region.
        (
            job("dashscope", "wan2.1-t2i-turbo"),
            TEXT2IMAGE,
            plain("wanx2.1-t2i-turbo", {}, size="1024*1024", n=1),
        ),
        (
            job("dashscope", "wan2.1-t2i-plus"),
            TEXT2IMAGE,
            plain("wanx2.1-t2i-plus", {}, size="1024*1024", n=1),
        ),
        (
            job("dashscope", "wanx2.0-t2i-turbo", n=2),
            TEXT2IMAGE,
            plain("wanx2.0-t2i-turbo", {}, size="1024*1024", n=2),
        ),
        # Old shape, pictures; without a size the last picture decides.
        (
            job("dashscope", I2I, images=pictures(KITE, DATA_URL)),
            IMAGE2IMAGE,
            plain(I2I, {"images": [KITE, DATA_URL]}, n=1),
        ),
        (
            job("dashscope", I2I, images=pictures(KITE), size=size("1280x720"), n=3),
            IMAGE2IMAGE,
            plain(I2I, {"images": [KITE]}, size="1280*720", n=3),
        ),
        (
            job(
                "dashscope",
                "wanx2.1-imageedit",
                images=pictures(KITE),
                mask=pictures(FIELD)[0],
                watermark=False,
            ),
            IMAGE2IMAGE,
            plain(
                "wanx2.1-imageedit",
                {
                    "function": "description_edit_with_mask",
                    "base_image_url": KITE,
                    "mask_image_url": FIELD,
                },
                n=1,
                watermark=False,
            ),
        ),
        (
            job(
                "dashscope",
                "wanx2.1-imageedit",
                images=pictures(KITE),
                options={"function": "colorization"},
            ),
            IMAGE2IMAGE,
            plain("wanx2.1-imageedit", {"function": "colorization", "base_image_url": KITE}, n=1),
        ),
        # New shape, wan2.6: the negative prompt is a parameter.
        (
            job(
                "dashscope",
                "wan2.6-t2i",
                n=4,
                size=size("1104x1472"),
                negative_prompt="text",
                rewrite_prompt=False,
                watermark=True,
                seed=5,
            ),
            GENERATION,
            message(
                "wan2.6-t2i",
                [],
                size="1104*1472",
                n=4,
                negative_prompt="text",
                prompt_extend=False,
                watermark=True,
                seed=5,
            ),
        ),
        (
            job("dashscope", "wan2.6-image", images=pictures(KITE, FIELD)),
            GENERATION,
            message("wan2.6-image", [KITE, FIELD], n=1),
        ),
        (
            job("dashscope", "wan2.6-image", interleave=True, n=5),
            GENERATION,
            message(
                "wan2.6-image",
                [],
                size="1280*1280",
                n=1,
                enable_interleave=True,
                max_images=5,
            ),
        ),
        # New shape, wan2.7: tiers, thinking, groups, palettes, boxes.
        (
            job("dashscope", "wan2.7-image"),
            GENERATION,
            message("wan2.7-image", [], size="2K", n=1),
        ),
        (
            job("dashscope", "wan2.7-image-pro", tier="4K", thinking=False, seed=99),
            GENERATION,
            message("wan2.7-image-pro", [], size="4K", n=1, seed=99, thinking_mode=False),
        ),
        (
            job("dashscope", "wan2.7-image", tier="2K", aspect_ratio="16:9"),
            GENERATION,
            message("wan2.7-image", [], size="2688*1512", n=1),
        ),
        (
            job("dashscope", "wan2.7-image", size=size("1024x1024")),
            GENERATION,
            message("wan2.7-image", [], size="1024*1024", n=1),
        ),
        (
            job("dashscope", "wan2.7-image", images=pictures(KITE, FIELD), thinking=True),
            GENERATION,
            message("wan2.7-image", [KITE, FIELD], size="2K", n=1),
        ),
        (
            job("dashscope", "wan2.7-image", group=True, n=12, thinking=True),
            GENERATION,
            message("wan2.7-image", [], size="2K", n=12, enable_sequential=True),
        ),
        (
            job(
                "dashscope",
                "wan2.7-image",
                images=pictures(KITE, FIELD, KITE),
                boxes=((), ((30, 40, 250, 300),), ((5, 5, 90, 90), (120, 10, 300, 280))),
            ),
            GENERATION,
            message(
                "wan2.7-image",
                [KITE, FIELD, KITE],
                size="2K",
                n=1,
                bbox_list=[[], [[30, 40, 250, 300]], [[5, 5, 90, 90], [120, 10, 300, 280]]],
            ),
        ),
        (
            job("dashscope", "wan2.7-image", palette=palette("50", "23.5", "26.5")),
            GENERATION,
            message(
                "wan2.7-image",
                [],
                size="2K",
                n=1,
                color_palette=[
                    {"hex": "#0A2500", "ratio": "50.00%"},
                    {"hex": "#0A2501", "ratio": "23.50%"},
                    {"hex": "#0A2502", "ratio": "26.50%"},
                ],
            ),
        ),
        # The same shape on the blocking endpoint.
        (
            job("dashscope", "wan2.7-image", protocol="multimodal-generation"),
            CONVERSATION,
            message("wan2.7-image", [], size="2K", n=1),
        ),
        (
            job("dashscope", "wan2.6-t2i", protocol="multimodal-generation", n=2),
            CONVERSATION,
            message("wan2.6-t2i", [], size="1280*1280", n=2),
        ),
        (
            job("dashscope", "qwen-image-edit", images=pictures(KITE), watermark=False),
            CONVERSATION,
            message("qwen-image-edit", [KITE], n=1, watermark=False),
        ),
        (
            # What z-image does not know is not sent, not even its default.
            job("dashscope", "z-image-turbo", watermark=False, rewrite_prompt=False),
            CONVERSATION,
            message("z-image-turbo", [], size="1024*1536", n=1, prompt_extend=False),
        ),
    ],
)
async def test_a_job_becomes_exactly_this_json(sent: Job, path: str, body: Any) -> None:
    blocking = path == CONVERSATION
    request = await wire(sent, CHOICES if blocking else ACCEPTED)
    assert str(request.url) == BASE + path
    assert json.loads(request.content) == body
    # Refused on the blocking endpoint, demanded on the others.
    assert request.headers.get("x-dashscope-async") == (None if blocking else "enable")


@pytest.mark.parametrize(
    "ratios", [("33.33", "33.33", "33.33"), ("12.345", "12.345", "75.31"), ("33", "33", "34")]
)
async def test_palette_shares_are_text_that_adds_up_to_exactly_100(ratios: tuple[str, ...]) -> None:
    request = await wire(job("dashscope", "wan2.7-image", palette=palette(*ratios)), ACCEPTED)
    shares = [
        entry["ratio"] for entry in json.loads(request.content)["parameters"]["color_palette"]
    ]
    assert all(len(share.partition(".")[2]) == len("00%") for share in shares)
    assert sum(int(share.replace(".", "").removesuffix("%")) for share in shares) == 10_000


async def test_a_group_drops_the_palette_the_model_would_ignore() -> None:
    sent = job("dashscope", "wan2.7-image", group=True, n=3, palette=palette("50", "30", "20"))
    request = await wire(sent, ACCEPTED)
    assert "color_palette" not in json.loads(request.content)["parameters"]


async def test_the_workspace_option_is_sent_as_a_header() -> None:
    sent = job("dashscope", T2I, upstream_options={"workspace": "ws-1"})
    assert (await wire(sent, ACCEPTED)).headers["x-dashscope-workspace"] == "ws-1"
    assert "x-dashscope-workspace" not in (await wire(job("dashscope", T2I), ACCEPTED)).headers


async def test_a_protocol_nobody_speaks_sends_nothing() -> None:
    vendor = Vendor()
    with pytest.raises(Exception, match="no protocol") as raised:
        await adapter_at(vendor, "dashscope").submit(job("dashscope", T2I, protocol="telex"))
    assert raised.value.sent is Sent.NO  # type: ignore[attr-defined]
    assert not vendor.calls
