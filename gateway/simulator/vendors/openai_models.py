"""What OpenAI's image models accept (providers/openai.md sections 2 to 4, models.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from gateway.simulator.faults import Refused
from gateway.simulator.state import Order
from gateway.simulator.vendors.checks import png_header

GPT_FIELDS = frozenset(
    {
        "prompt",
        "model",
        "n",
        "size",
        "quality",
        "background",
        "output_format",
        "output_compression",
        "moderation",
        "stream",
        "partial_images",
        "user",
        "safety_identifier",
        "input_fidelity",
        "images",
        "mask",
    }
)
"""Fields GPT image models know; real OpenAI refuses every other, ``response_format`` included."""

GPT_SIZES = ("1024x1024", "1536x1024", "1024x1536")
OLD_SIZES = {
    "dall-e-2": ("256x256", "512x512", "1024x1024"),
    "dall-e-3": ("1024x1024", "1792x1024", "1024x1792"),
}
PROMPT_MAX = {"dall-e-2": 1000, "dall-e-3": 4000}
QUALITIES = ("auto", "low", "medium", "high", "xhigh", "max")
PICTURES_MAX = 16
PICTURE_BYTES_MAX = 50 * 1024 * 1024
LONG_SIDE = 3840
AREA_MAX = 3840 * 2160


def refuse(param: str, message: str, code: str = "invalid_value") -> NoReturn:
    """Refuse a field with one of OpenAI's codes."""
    raise Refused(code, message, param=param)


def is_gpt_image(model: str) -> bool:
    """Whether a model is of the GPT image family, which always answers base64."""
    return model.startswith(("gpt-image", "chatgpt-image"))


def order_of(fields: Mapping[str, Any], model: str) -> Order:
    """Validate the fields generations and edits share. Numbers may come as text, as forms send
    them.
    """
    strict = is_gpt_image(model)
    if strict:
        for name in fields:
            if name not in GPT_FIELDS:
                refuse(name, f"Unknown parameter: '{name}'.", "unknown_parameter")
    prompt = fields.get("prompt")
    if not isinstance(prompt, str) or not prompt:
        refuse("prompt", "Missing required parameter: 'prompt'.", "missing_required_parameter")
    longest = PROMPT_MAX.get(model, 32_000)
    if len(prompt) > longest:
        refuse(
            "prompt", f"The prompt is longer than {longest} characters.", "string_above_max_length"
        )
    width, height = _size(str(fields.get("size") or "auto"), model)
    output_format = _word(fields, "output_format", ("png", "webp", "jpeg"), "png")
    background = _word(fields, "background", ("auto", "opaque", "transparent"), "auto")
    if background == "transparent" and output_format == "jpeg":
        refuse("background", "Transparent backgrounds need png or webp.")
    _word(fields, "moderation", ("auto", "low"), "auto")
    _number(fields, "output_compression", 0, 100, 100)
    qualities = ("standard", "hd") if model == "dall-e-3" else QUALITIES
    traits = {
        "quality": _word(fields, "quality", qualities, qualities[0]),
        "background": "opaque" if background == "auto" else background,
        "as_url": not strict and fields.get("response_format", "url") == "url",
        "stream": str(fields.get("stream", "")).lower() == "true",
        "partials": _number(fields, "partial_images", 0, 3, 0),
    }
    _word(fields, "response_format", ("url", "b64_json"), "url")
    return Order(
        model=model,
        prompt=prompt,
        n=_number(fields, "n", 1, 1 if model == "dall-e-3" else 10, 1),
        width=width,
        height=height,
        seed=_number(fields, "seed", 0, 2_147_483_647, 0) if fields.get("seed") else None,
        format=output_format,
        traits=traits,
    )


def check_pictures(pictures: Sequence[bytes], mask: bytes | None, model: str) -> None:
    """Refuse edit pictures of a wrong number, size or format, and a mask that does not fit."""
    most = 1 if model == "dall-e-2" else PICTURES_MAX
    if not 1 <= len(pictures) <= most:
        refuse("image", f"1 to {most} pictures are required, got {len(pictures)}.")
    for data in pictures:
        if len(data) > PICTURE_BYTES_MAX:
            raise Refused("too_large", "A picture is over 50 MB.", param="image")
        if not is_picture(data):
            refuse("image", "Pictures must be png, webp or jpeg.", "invalid_image_format")
    if mask is None:
        return
    mask_header, first = png_header(mask), png_header(pictures[0])
    if mask_header is None:
        refuse("mask", "The mask must be a PNG.", "invalid_image_format")
    if first is not None and (mask_header.width, mask_header.height) != (first.width, first.height):
        refuse("mask", "The mask must have the size of the first picture.", "invalid_size")


def is_picture(data: bytes) -> bool:
    """Whether bytes begin like a PNG, JPEG or WebP."""
    if data.startswith(b"RIFF"):
        return data[8:12] == b"WEBP"
    return data.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"))


def _size(size: str, model: str) -> tuple[int, int]:
    if size == "auto":
        return 1024, 1024
    sides = size.split("x")
    if len(sides) != 2 or not all(side.isdecimal() and 0 < len(side) < 6 for side in sides):
        refuse("size", f"Invalid size '{size}'.", "invalid_size")
    width, height = int(sides[0]), int(sides[1])
    named = OLD_SIZES.get(model)
    if named is None and model.startswith(("gpt-image-1", "chatgpt-image")):
        named = GPT_SIZES
    if named is not None:
        if size not in named:
            refuse("size", f"Size must be one of {', '.join(named)}.", "invalid_size")
    elif is_gpt_image(model):
        _check_free_size(width, height)
    elif not 64 * 64 <= width * height <= 4096 * 4096:
        refuse("size", f"Invalid size '{size}'.", "invalid_size")
    return width, height


def _check_free_size(width: int, height: int) -> None:
    """The rule of gpt-image-2 and later."""
    if width % 16 or height % 16 or not width or not height:
        refuse("size", "Both sides must be divisible by 16.", "invalid_size")
    if max(width, height) > 3 * min(width, height):
        refuse("size", "The ratio must be between 1:3 and 3:1.", "invalid_size")
    if max(width, height) > LONG_SIDE or width * height > AREA_MAX:
        refuse("size", "The largest size is 3840x2160.", "invalid_size")


def _word(fields: Mapping[str, Any], name: str, words: Sequence[str], default: str) -> str:
    value = fields.get(name, default)
    if value not in words:
        refuse(name, f"Invalid value: '{value}'. Supported values are: {', '.join(words)}.")
    return str(value)


def _number(fields: Mapping[str, Any], name: str, low: int, high: int, default: int) -> int:
    value = fields.get(name)
    if value is None:
        return default
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        refuse(name, f"'{name}' must be a whole number between {low} and {high}.")
    return value
