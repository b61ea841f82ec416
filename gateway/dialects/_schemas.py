"""JSON Schema of the request fields, once for all dialects that share a spelling.

The readers take their legal field names from these schemas, so a documented field is an
accepted field and the other way round.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gateway.domain.strategy import SORTS

Schema = dict[str, Any]

ACTIONS = ("generate", "image2image", "edit", "reference", "group", "interactive_edit")
RATIOS = ("1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3")


def text(description: str, **more: Any) -> Schema:
    """Give the schema of a text field."""
    return {"type": "string", "description": description, **more}


def flag(description: str, **more: Any) -> Schema:
    """Give the schema of a boolean field."""
    return {"type": "boolean", "description": description, **more}


def whole(description: str, **more: Any) -> Schema:
    """Give the schema of an integer field."""
    return {"type": "integer", "description": description, **more}


def texts(description: str, **more: Any) -> Schema:
    """Give the schema of a list of texts."""
    return {"type": "array", "items": {"type": "string"}, "description": description, **more}


def obj(properties: Mapping[str, Schema], required: Iterable[str] = (), **more: Any) -> Schema:
    """Give the schema of an object that takes exactly these fields."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(required),
        "additionalProperties": False,
        **more,
    }


_PICTURE: Schema = {
    "anyOf": [
        {"type": "string"},
        obj({"image_url": {"type": "string"}}),
        obj({"url": {"type": "string"}}),
    ]
}
_PICTURES: Schema = {"anyOf": [_PICTURE, {"type": "array", "items": _PICTURE}]}


def pictures(description: str) -> Schema:
    """Give the schema of a picture field: one or several links, data URLs or objects."""
    return {**_PICTURES, "description": description}


PALETTE: Schema = {
    "type": "array",
    "description": "3 to 10 colours; the shares sum to 100. No effect in group mode.",
    "items": obj(
        {
            "hex": text("`#RRGGBB`", pattern="^#[0-9A-Fa-f]{6}$"),
            "ratio": {
                "description": "Share in percent: a number, or a text such as `23.51%`.",
                "anyOf": [{"type": "number"}, {"type": "string"}],
            },
        },
        ("hex", "ratio"),
    ),
    "example": [
        {"hex": "#0A2540", "ratio": 50},
        {"hex": "#F5F5F0", "ratio": 35},
        {"hex": "#E04B3A", "ratio": 15},
    ],
}

BOXES: Schema = {
    "type": "array",
    "description": "Per picture, at most two boxes `[x1, y1, x2, y2]` in its own pixels.",
    "items": {
        "type": "array",
        "items": {
            "type": "array",
            "items": {"type": "number"},
            "minItems": 4,
            "maxItems": 4,
        },
    },
    "example": [[[120, 80, 540, 460]]],
}

PROVIDER: Schema = obj(
    {
        "order": texts("Upstreams or adapters to try first, in this order."),
        "only": texts("Use these upstreams or adapters alone."),
        "ignore": texts("Never use these upstreams or adapters."),
        "allow_fallbacks": flag("Whether another upstream may be tried.", default=True),
        "max_price": {
            "description": "The most one picture may cost us, in USD, as a decimal text.",
            "anyOf": [{"type": "string"}, {"type": "number"}],
            "example": "0.03",
        },
        "sort": text("What comes first, whatever the model's strategy is.", enum=list(SORTS)),
    },
    description="What the caller allows of the route.",
)

# Vendor-neutral extras: passed to models that know them, named in x-ignored-params otherwise.
OPTIONS: dict[str, Schema] = {
    "user": text("An end-user id."),
    "safety_identifier": text("An end-user id."),
    "quality": text("`auto`, `low`, `medium`, `high`, `standard`, `hd`, …"),
    "style": text("`vivid` or `natural`."),
    "background": text("`transparent`, `opaque` or `auto`."),
    "output_format": text("`png`, `webp` or `jpeg`."),
    "output_compression": whole("0 to 100, for webp and jpeg."),
    "moderation": text("`auto` or `low`."),
    "partial_images": whole("0 to 3. Partial pictures are never streamed."),
    "input_fidelity": text("`high` or `low`."),
    "complexity": text("`low`, `med` or `high`."),
    "frame_count": whole("Frames of an animation."),
    "frame_duration_ms": whole("Duration of a frame in milliseconds."),
}

FIELDS: dict[str, Schema] = {
    "model": text("A model id or alias.", example="wan2.5-text-to-image"),
    "prompt": text("What to draw.", example="Paper lanterns over a canal at dusk"),
    "negative_prompt": text("What to avoid."),
    "n": whole("How many pictures.", minimum=1, default=1),
    "size": text("`WxH` (also `W*H`), `1K`, `2K`, `4K` or `auto`.", example="1280x1280"),
    "resolution": text("`1K`, `2K` or `4K`.", example="2K"),
    "aspect_ratio": text("`W:H`.", example="16:9"),
    "image_urls": pictures("Input pictures: http(s) or data URLs."),
    "images": pictures("Input pictures; `image_urls` wins over it."),
    "image": pictures("Input picture; `images` wins over it."),
    "img_url": pictures("Input picture; `image` wins over it."),
    "first_frame_url": pictures("Input picture; `img_url` wins over it."),
    "mask": {**_PICTURE, "description": "Mask picture for models that take one."},
    "seed": whole("-1 or absent: random."),
    "watermark": flag("Whether to mark the picture as generated."),
    "prompt_extend": flag("Whether a language model may rewrite the prompt."),
    "thinking_mode": flag("Whether the model reasons first (no pictures, no group)."),
    "enable_sequential": flag("Group mode: up to 12 pictures that belong together."),
    "color_palette": PALETTE,
    "bbox_list": BOXES,
    "action": text("The mode, if the fields shall be checked against it.", enum=list(ACTIONS)),
    "callback_url": text("https address told of the end.", maxLength=2048),
    "callback_events": texts("`completed` (or `succeeded`), `failed`, `cancelled`. Default: all."),
    "async": flag("true: answer a task at once. false: wait for the pictures."),
    "response_format": text("`url` or `b64_json`; makes the call synchronous."),
    "stream": flag("Answer as server-sent events; makes the call synchronous."),
    "provider": PROVIDER,
    **OPTIONS,
}


def pick(names: Iterable[str], required: Iterable[str] = (), **changes: Schema) -> Schema:
    """Give the schema of a body made of the named shared fields; ``changes`` override some."""
    return obj({**{name: FIELDS[name] for name in names}, **changes}, required)
