"""What DashScope's models accept, and on which protocol (providers/dashscope.md section 3)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.simulator.faults import Refused
from gateway.simulator.state import Order
from gateway.simulator.vendors import checks
from gateway.simulator.vendors.checks import Area, Sides

SCHEMES = ("http://", "https://", "oss://", "data:image/")
NEGATIVE_CHARACTERS = 500
GROUP_MAX = 12
INTERLEAVE_MAX = 5
K_SIZES = {"1K": 1024, "2K": 2048, "4K": 4096}
BASE64_PER_MIB = 1024 * 1024 * 4 // 3


@dataclass(frozen=True, slots=True)
class ModelRules:
    """One model: its protocols (``text2image``, ``image2image``, ``messages``), prompt length in
    characters, legal sizes and the default one, pictures taken (fewest, most, side bounds, MiB),
    and the counts: most and default.
    """

    protocols: tuple[str, ...]
    prompt: int
    size: Area | Sides
    default_size: tuple[int, int]
    pictures: tuple[int, int] = (0, 0)
    picture_sides: Sides = field(default_factory=lambda: Sides(384, 5000))
    picture_mib: int = 10
    most: int = 4
    count: int = 4


_OLD_SIDES = Sides(512, 1440)
_T2I_AREA = Area(1_600_225, 1440 * 1440, 4)
_EDIT_AREA = Area(768 * 768, 1280 * 1280, 4)
_WAN22 = ModelRules(("text2image",), 500, _OLD_SIDES, (1024, 1024))
_WAN27 = ModelRules(
    ("messages",),
    5000,
    Area(768 * 768, 2048 * 2048, 8),
    (2048, 2048),
    pictures=(0, 9),
    picture_sides=Sides(240, 8000),
    picture_mib=20,
    count=1,
)
_PRO_AREA = Area(768 * 768, 4096 * 4096, 8)

RULES: Mapping[str, ModelRules] = {
    "wan2.5-t2i-preview": ModelRules(("text2image",), 2000, _T2I_AREA, (1280, 1280)),
    "wan2.5-i2i-preview": ModelRules(
        ("image2image",), 2000, _EDIT_AREA, (1280, 1280), pictures=(1, 3)
    ),
    "wan2.6-t2i": ModelRules(("messages",), 2100, _T2I_AREA, (1280, 1280)),
    "wan2.6-image": ModelRules(("messages",), 2000, _EDIT_AREA, (1280, 1280), pictures=(1, 4)),
    "wan2.7-image": _WAN27,
    "wan2.7-image-pro": _WAN27,
    "wan2.2-t2i-plus": _WAN22,
    "wan2.2-t2i-flash": _WAN22,
    "wan2.1-t2i-plus": _WAN22,
    "wan2.1-t2i-turbo": _WAN22,
    "wanx2.1-t2i-plus": _WAN22,
    "wanx2.1-t2i-turbo": _WAN22,
    "wanx2.0-t2i-turbo": ModelRules(("text2image",), 800, _OLD_SIDES, (1024, 1024)),
    "wanx2.1-imageedit": ModelRules(
        ("image2image",), 800, _OLD_SIDES, (1024, 1024), pictures=(1, 1), count=1
    ),
}

ANYTHING = ModelRules(
    ("text2image", "image2image", "messages"),
    5000,
    Area(256 * 256, 4096 * 4096, 8),
    (1024, 1024),
    pictures=(0, 9),
    count=1,
)
"""Rules of a model that only the price table knows."""


def rules_of(model: str) -> ModelRules:
    """The rules of a model that is sold."""
    return RULES.get(model, ANYTHING)


def old_order(body: Mapping[str, Any], rules: ModelRules) -> Order:
    """Validate a ``text2image`` or ``image2image`` request; over-long prompts are cut."""
    source, parameters = _part(body, "input"), _part(body, "parameters")
    sources = checks.pictures(source.get("images"), "images", SCHEMES)
    if body["model"] == "wanx2.1-imageedit":
        checks.text(source, "function")
        sources = checks.pictures([source.get("base_image_url")], "base_image_url", SCHEMES)
    prompt = checks.text(source, "prompt")[: rules.prompt]
    negative = source.get("negative_prompt")
    if negative is not None and not isinstance(negative, str):
        checks.wrong("negative_prompt", "text is required")
    checks.flag(parameters, "watermark")
    _pictures(sources, rules.pictures, rules)
    width, height = _plain_size(parameters, rules, sources)
    return Order(
        model=body["model"],
        prompt=prompt,
        n=checks.whole(parameters, "n", 1, rules.most, rules.count),
        width=width,
        height=height,
        seed=checks.seed(parameters),
        traits={
            "extended": checks.flag(parameters, "prompt_extend", default=True),
            "pictures": len(sources),
        },
    )


def message_order(body: Mapping[str, Any], rules: ModelRules) -> Order:
    """Validate a request of the new protocol, made of one message."""
    parameters = _part(body, "parameters")
    prompt, sources = _content(body)
    for name in ("prompt_extend", "watermark", "thinking_mode"):
        checks.flag(parameters, name)
    order = Order(
        model=body["model"],
        prompt=prompt[: rules.prompt],
        n=1,
        width=0,
        height=0,
        seed=checks.seed(parameters),
    )
    _SHAPES.get(rules_name(body["model"]), _simple)(order, parameters, rules, sources)
    order.traits |= {"text": len(prompt), "pictures": len(sources)}
    return order


def rules_name(model: str) -> str:
    """The family whose extra parameters a model takes."""
    if model.startswith("wan2.7-image"):
        return "wan2.7"
    return "wan2.6-image" if model == "wan2.6-image" else ""


def _simple(
    order: Order, parameters: Mapping[str, Any], rules: ModelRules, sources: Sequence[str]
) -> None:
    _pictures(sources, rules.pictures, rules)
    order.width, order.height = _plain_size(parameters, rules, sources)
    order.n = checks.whole(parameters, "n", 1, rules.most, rules.count)


def _wan26_image(
    order: Order, parameters: Mapping[str, Any], rules: ModelRules, sources: Sequence[str]
) -> None:
    if not checks.flag(parameters, "enable_interleave"):
        _simple(order, parameters, rules, sources)
        return
    _pictures(sources, (0, 1), rules)
    order.width, order.height = _plain_size(parameters, rules, sources)
    checks.whole(parameters, "n", 1, 1, 1)
    order.n = checks.whole(parameters, "max_images", 1, INTERLEAVE_MAX, INTERLEAVE_MAX)
    order.traits["interleave"] = True


def _wan27(
    order: Order, parameters: Mapping[str, Any], rules: ModelRules, sources: Sequence[str]
) -> None:
    group = checks.flag(parameters, "enable_sequential")
    _pictures(sources, rules.pictures, rules)
    checks.boxes(parameters.get("bbox_list"), len(sources))
    if group and parameters.get("color_palette") is not None:
        checks.wrong("color_palette", "not available with enable_sequential")
    checks.palette(parameters.get("color_palette"), percent=True)
    most, default = (GROUP_MAX, GROUP_MAX) if group else (rules.most, rules.count)
    order.n = checks.whole(parameters, "n", 1, most, default)
    large = order.model.endswith("-pro") and not group and not sources
    order.width, order.height = _wan27_size(parameters, sources, large=large)


_Shape = Callable[[Order, Mapping[str, Any], ModelRules, Sequence[str]], None]
_SHAPES: Mapping[str, _Shape] = {"wan2.7": _wan27, "wan2.6-image": _wan26_image}


def _wan27_size(
    parameters: Mapping[str, Any], sources: Sequence[str], *, large: bool
) -> tuple[int, int]:
    size = parameters.get("size") or "2K"
    if size in K_SIZES:
        if size == "4K" and not large:
            checks.wrong("size", "4K is for wan2.7-image-pro without pictures and groups")
        return _shaped_like(sources, K_SIZES[size])
    width, height = checks.pixels(size, "*")
    (_PRO_AREA if large else Area(768 * 768, 2048 * 2048, 8)).check(width, height)
    return width, height


def _plain_size(
    parameters: Mapping[str, Any], rules: ModelRules, sources: Sequence[str]
) -> tuple[int, int]:
    size = parameters.get("size")
    if not size:
        side = rules.default_size[0]
        return _shaped_like(sources, side) if sources else rules.default_size
    width, height = checks.pixels(size, "*")
    rules.size.check(width, height)
    return width, height


def _shaped_like(sources: Sequence[str], side: int) -> tuple[int, int]:
    """A size of about side² pixels with the proportions of the last picture, square if unknown."""
    header = checks.inline_png(sources[-1]) if sources else None
    if header is None or not header.height:
        return side, side
    ratio = min(8.0, max(0.125, header.width / header.height))
    width = int(side * math.sqrt(ratio)) // 16 * 16
    return width, int(width / ratio) // 16 * 16


def _part(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = body.get(name)
    if value is None and name == "parameters":
        return {}
    if not isinstance(value, dict):
        raise Refused("BadRequest.EmptyInput" if name == "input" else "invalid_parameter")
    return value


def _content(body: Mapping[str, Any]) -> tuple[str, list[str]]:
    messages = _part(body, "input").get("messages")
    if not isinstance(messages, list) or len(messages) != 1 or not isinstance(messages[0], dict):
        checks.wrong("messages", "exactly one message is required")
    content = messages[0].get("content")
    if messages[0].get("role") != "user" or not isinstance(content, list):
        checks.wrong("messages", "the message needs the role user and a list of content")
    texts = [item["text"] for item in content if isinstance(item, dict) and "text" in item]
    images = [item["image"] for item in content if isinstance(item, dict) and "image" in item]
    if len(texts) != 1 or len(texts) + len(images) != len(content):
        checks.wrong("content", "exactly one text and otherwise only images are required")
    return checks.text({"text": texts[0]}, "text"), checks.pictures(images, "image", SCHEMES)


def _pictures(sources: Sequence[str], bounds: tuple[int, int], rules: ModelRules) -> None:
    if not bounds[0] <= len(sources) <= bounds[1]:
        checks.wrong("images", f"{bounds[0]} to {bounds[1]} pictures, got {len(sources)}")
    for url in sources:
        if len(url) > rules.picture_mib * BASE64_PER_MIB + 100:
            raise Refused("InvalidImage.ImageSize", f"a picture is over {rules.picture_mib} MB")
        header = checks.inline_png(url)
        if header is None:
            continue
        if header.alpha:
            raise Refused("InvalidImageFormat", "PNG with a transparency channel is not supported")
        sides = rules.picture_sides
        if not all(sides.least <= side <= sides.most for side in (header.width, header.height)):
            raise Refused(
                "InvalidImageResolution", f"sides must be {sides.least} to {sides.most} pixels"
            )
