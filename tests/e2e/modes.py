"""The requests of `test_modes.py`: every mode of seeds 002 and 003, and of wan2.5 and OpenAI."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.support.pictures import MASK_DATA, PNG_DATA

WAN25, WAN25_EDIT = "wan2.5-t2i-preview", "wan2.5-i2i-preview"
WAN27, PRO = "wan2.7-image", "wan2.7-image-pro"
GPT = "gpt-image-1.5"
PALETTE: list[dict[str, Any]] = [
    {"hex": "#0A2540", "ratio": 50},
    {"hex": "#F5F5F0", "ratio": 35},
    {"hex": "#e04b3a", "ratio": 15},
]
PERCENT = [{**color, "ratio": f"{color['ratio']}.00%"} for color in PALETTE]
HALVES = [
    {**color, "ratio": color["ratio"] + half}
    for color, half in zip(PALETTE, (0.5, -0.5, 0), strict=True)
]
BOXES = [[[12, 8, 54, 46], [100, 100, 400, 400]]]
NO = " is not supported"
BIGGER = "tier 4K is too large here; wan2.7-image-pro makes it"


@dataclass(frozen=True)
class Row:
    """One request; ``pictures`` are so many addresses in ``image_urls``.

    ``able`` gives for each upstream what it must be sent (dots lead into objects, PICTURES stands
    for the addresses); ``unable`` what its exclusion must say.
    """

    what: str
    model: str
    body: dict[str, Any]
    able: dict[str, dict[str, Any]]
    unable: dict[str, str] = field(default_factory=dict)
    pictures: int = 0

    def __str__(self) -> str:
        return self.what


PICTURES = "the pictures"
ROWS = (
    # --- wan2.5 (seeds 000, 001) ---
    Row(
        "text to image",
        WAN25,
        {"size": "1280x1280", "n": 1},
        {
            "evolink": {"model": "wan2.5-text-to-image", "size": "1280x1280", "n": 1},
            "dashscope": {"parameters.size": "1280*1280", "parameters.n": 1},
            "replicate": {"input.size": "1280*1280"},
            "fal": {"image_size": {"width": 1280, "height": 1280}, "num_images": 1},
        },
    ),
    Row(
        "four pictures",
        WAN25,
        {"n": 4},
        {
            "evolink": {"n": 4},
            "dashscope": {"parameters.n": 4},
            "fal": {"num_images": 4},
        },
        {"replicate": "n is 4 (legal: 1)"},
    ),
    Row(
        "the smallest size",
        WAN25,
        {"size": "768x768"},
        {
            "evolink": {"size": "768x768"},
            "fal": {"image_size": {"width": 768, "height": 768}},
            "replicate": {"input.size": "768*768"},
        },
        {"dashscope": "size 768x768 has 589824 pixels, fewer than 1265x1265"},
    ),
    Row(
        "prompt_extend",
        WAN25,
        {"prompt_extend": False},
        {
            "evolink": {"prompt_extend": False},
            "dashscope": {"parameters.prompt_extend": False},
            "replicate": {"input.enable_prompt_expansion": False},
            "fal": {"enable_prompt_expansion": False},
        },
    ),
    Row(
        "negative prompt",
        WAN25,
        {"negative_prompt": "text"},
        {
            "dashscope": {"input.negative_prompt": "text"},
            "replicate": {"input.negative_prompt": "text"},
            "fal": {"negative_prompt": "text"},
        },
        {"evolink": f"negative_prompt{NO}"},
    ),
    Row(
        "negative prompt in messages",
        "wan2.6-t2i",
        {"negative_prompt": "text"},
        {
            "dashscope": {"parameters.negative_prompt": "text", "input.negative_prompt": None},
            "fal": {"negative_prompt": "text"},
        },
    ),
    Row(
        "seed",
        WAN25,
        {"seed": 7},
        {
            "dashscope": {"parameters.seed": 7},
            "replicate": {"input.seed": 7},
            "fal": {"seed": 7},
        },
        {"evolink": f"seed{NO}"},
    ),
    Row(
        "watermark",
        WAN25,
        {"watermark": True},
        {"dashscope": {"parameters.watermark": True}},
        {"evolink": f"watermark{NO}", "replicate": f"watermark{NO}", "fal": f"watermark{NO}"},
    ),
    Row(
        "image to image",
        WAN25_EDIT,
        {"size": "1280x1280"},
        {
            "evolink": {"model": "wan2.5-image-to-image", "image_urls": PICTURES},
            "dashscope": {"input.images": PICTURES},
            "replicate": {"input.images": PICTURES},
            "fal": {"image_urls": PICTURES},
        },
        pictures=1,
    ),
    Row(
        "fusion of three",
        WAN25_EDIT,
        {},
        {"dashscope": {"input.images": PICTURES}, "replicate": {"input.images": PICTURES}},
        {
            "evolink": "image_urls: 3 pictures were sent (legal: 1 to 2)",
            "fal": "image_urls: 3 pictures were sent (legal: 1 to 2)",
        },
        pictures=3,
    ),
    Row(
        "a picture in the request",
        WAN25_EDIT,
        {"image_urls": [PNG_DATA]},
        {
            "dashscope": {"input.images": [PNG_DATA]},
            "replicate": {"input.images": [PNG_DATA]},
            "fal": {"image_urls": [PNG_DATA]},
        },
        {"evolink": "image_urls[0] is picture data (legal: an http(s) link)"},
    ),
    # --- wan2.7 (seeds 002, 003) ---
    Row(
        "generate",
        WAN27,
        {"size": "1K"},
        {
            "qingbo": {"action": "generate", "resolution": "1K", "aspect_ratio": "1:1"},
            "modelverse": {"parameters.size": "1K", "parameters.n": 1},
            "dashscope": {"parameters.size": "1K", "parameters.n": 1},
        },
    ),
    Row(
        "thinking by default",
        WAN27,
        {},
        {
            "qingbo": {"thinking_mode": True},
            "modelverse": {"parameters.prompt_extend": True},
            "dashscope": {"parameters.thinking_mode": True},
        },
    ),
    Row(
        "no thinking",
        WAN27,
        {"thinking_mode": False},
        {
            "qingbo": {"thinking_mode": False},
            "modelverse": {"parameters.prompt_extend": False},
            "dashscope": {"parameters.thinking_mode": False},
        },
    ),
    Row(
        "edit",
        WAN27,
        {"action": "edit", "size": "1K"},
        {
            "qingbo": {"action": "edit", "image_urls": PICTURES, "thinking_mode": None},
            "modelverse": {"input.images": PICTURES, "parameters.prompt_extend": None},
            "dashscope": {"parameters.thinking_mode": None},
        },
        pictures=1,
    ),
    Row(
        "image2image",
        PRO,
        {"action": "image2image", "size": "1K"},
        {
            "qingbo": {"image_urls": PICTURES, "n": 1},
            "modelverse": {"input.images": PICTURES},
            "dashscope": {"parameters.n": 1},
        },
        pictures=1,
    ),
    *(
        Row(
            f"reference of {count}",
            WAN27,
            {"size": "1K"},
            {
                "qingbo": {"action": "reference", "image_urls": PICTURES},
                "modelverse": {"input.images": PICTURES},
                "dashscope": {"model": WAN27},
            },
            pictures=count,
        )
        for count in (2, 9)
    ),
    Row(
        "group",
        WAN27,
        {"enable_sequential": True, "n": 12, "size": "1K"},
        {
            "qingbo": {"action": "group", "enable_sequential": True, "n": 12},
            "modelverse": {"enable_sequential": True, "n": 12, "size": "1K"},
            "dashscope": {"parameters.enable_sequential": True, "parameters.n": 12},
        },
    ),
    Row(
        "interactive edit",
        WAN27,
        {"bbox_list": BOXES, "size": "1K"},
        {
            "qingbo": {"action": "interactive_edit", "bbox_list": BOXES},
            "dashscope": {"parameters.bbox_list": BOXES},
        },
        {"modelverse": f"bbox_list{NO}"},
        pictures=1,
    ),
    Row(
        "interactive edit of two",
        WAN27,
        {"bbox_list": [[], BOXES[0][:1]], "size": "1K"},
        {"dashscope": {"parameters.bbox_list": [[], BOXES[0][:1]]}},
        {"modelverse": f"bbox_list{NO}", "qingbo": "image_urls: 2 pictures were sent"},
        pictures=2,
    ),
    Row(
        "color_palette",
        WAN27,
        {"color_palette": PALETTE},
        {
            "qingbo": {"color_palette": PALETTE},
            "dashscope": {"parameters.color_palette": PERCENT},
        },
        {"modelverse": f"color_palette{NO}"},
    ),
    Row(
        "shares with decimals",
        WAN27,
        {"color_palette": HALVES},
        {
            "dashscope": {
                "parameters.color_palette": [
                    {**color, "ratio": f"{color['ratio']:.2f}%"} for color in HALVES
                ]
            }
        },
        {
            "modelverse": f"color_palette{NO}",
            "qingbo": "color_palette[0] has the share 50.5 (legal: above 0 to 100, whole numbers)",
        },
    ),
    Row(
        "seed and watermark",
        PRO,
        {"seed": 20260402, "watermark": True},
        {
            "qingbo": {"seed": 20260402, "watermark": True},
            "modelverse": {"parameters.seed": 20260402, "parameters.watermark": True},
            "dashscope": {"parameters.seed": 20260402, "parameters.watermark": True},
        },
    ),
    Row(
        "seed 0",
        WAN27,
        {"seed": 0},
        {"qingbo": {"seed": 0}, "dashscope": {"parameters.seed": 0}},
        {"modelverse": "seed is 0 (legal: 1 to 2147483647)"},
    ),
    Row(
        "a wide 2K",
        WAN27,
        {"resolution": "2K", "aspect_ratio": "16:9"},
        {
            "qingbo": {"resolution": "2K", "aspect_ratio": "16:9"},
            "dashscope": {"parameters.size": "2688*1512"},
        },
        {"modelverse": "aspect_ratio 16:9 is not made here (legal: 1:1)"},
    ),
    Row(
        "a size only DashScope makes",
        WAN27,
        {"size": "1600x896"},
        {"dashscope": {"parameters.size": "1600*896"}},
        {
            "modelverse": "size 1600x896 is not one of the sizes made here",
            "qingbo": "size 1600x896 is not one of the sizes made here",
        },
    ),
    Row(
        "4K under the standard name",
        WAN27,
        {"resolution": "4K"},
        {"qingbo": {"resolution": "4K", "model": WAN27}},
        {
            "modelverse": BIGGER.replace("tier", "resolution"),
            "dashscope": BIGGER.replace("tier", "resolution"),
        },
    ),
    Row(
        "4K of the pro",
        PRO,
        {"size": "4K"},
        {
            "qingbo": {"resolution": "4K"},
            "modelverse": {"parameters.size": "4K"},
            "dashscope": {"parameters.size": "4K"},
        },
    ),
    # --- OpenAI ---
    Row(
        "edit with a mask",
        GPT,
        {"image_urls": [PNG_DATA], "mask": MASK_DATA, "quality": "low"},
        {"openai": {"quality": "low", "n": "1"}},
    ),
)
OFFERS = {
    WAN25: {"evolink", "dashscope", "replicate", "fal"},
    WAN25_EDIT: {"evolink", "dashscope", "replicate", "fal"},
    "wan2.6-t2i": {"dashscope", "fal"},
    WAN27: {"qingbo", "modelverse", "dashscope"},
    PRO: {"qingbo", "modelverse", "dashscope"},
    GPT: {"openai"},
}
