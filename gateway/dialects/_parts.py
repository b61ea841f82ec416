"""Parts of a request that several dialects spell alike: pictures, sizes, palettes, boxes, routes.

Each function reads its fields, notes problems in the caller's names, records which of the
caller's fields a canonical field came from, and gives canonical values.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any
from urllib.parse import urlsplit

from gateway.dialects import _pictures
from gateway.dialects._fields import (
    WRONG_TYPE,
    Fields,
    as_decimal,
    decimal_of,
    is_storable,
    shown,
    type_name,
)
from gateway.domain.callback import EVENTS, URL_MAX, CallbackSpec
from gateway.domain.model import parse_size
from gateway.domain.money import parse_micro
from gateway.domain.request import (
    NO_RULES,
    TIER_SIDES,
    Box,
    InputImage,
    PaletteColor,
    RouteRules,
    Size,
)
from gateway.domain.strategy import SORTS, Strategy

SIZE_WORDS = "WIDTHxHEIGHT such as 1280x1280, 1K, 2K, 4K or auto"
PROVIDER_FIELDS = ("order", "only", "ignore", "allow_fallbacks", "max_price", "sort")
_RATIO = re.compile(r"([1-9][0-9]{0,4}):([1-9][0-9]{0,4})")


@dataclass(frozen=True, slots=True)
class SizeWish:
    """What the caller asked for: pixels, or a tier and an aspect ratio, or nothing."""

    size: Size | None = None
    tier: str | None = None
    aspect_ratio: str | None = None


def read_size(fields: Fields, name: str = "size") -> SizeWish:
    """Read one size field: ``WxH`` in any spelling, ``1K``/``2K``/``4K``, or ``auto``."""
    text = fields.text(name)
    fields.reading.names["size"] = f"{fields.path}{name}"
    fields.reading.names["tier"] = f"{fields.path}{name}"
    if text is None or text.strip().lower() in ("", "auto"):
        return SizeWish()
    if text.strip().upper() in TIER_SIDES:
        return SizeWish(tier=text.strip().upper())
    size = parse_size(text)
    if size is None:
        message = f"{fields.path}{name} is no size: {shown(text, 40)!r}."
        fields.refuse(name, message, "invalid_size", SIZE_WORDS)
    return SizeWish(size=size)


def read_resolution(fields: Fields) -> str | None:
    """Read ``resolution``: 1K, 2K or 4K in either case (seed 003)."""
    text = fields.text("resolution")
    if text is None or text.lower() in ("", "auto"):
        return None
    fields.reading.names["tier"] = f"{fields.path}resolution"
    if text.upper() in TIER_SIDES:
        return text.upper()
    legal = ", ".join(TIER_SIDES)
    fields.refuse("resolution", f"resolution does not know {shown(text, 40)!r}.", legal=legal)
    return None


def read_aspect_ratio(fields: Fields, legal: Sequence[str] = ()) -> str | None:
    """Read ``aspect_ratio`` as ``W:H``; ``legal`` makes it an enumeration."""
    text = fields.text("aspect_ratio")
    fields.reading.names["aspect_ratio"] = f"{fields.path}aspect_ratio"
    if text is None or text.lower() in ("", "auto"):
        return None
    if text in legal or (not legal and _RATIO.fullmatch(text)):
        return text
    words = ", ".join(legal) or "WIDTH:HEIGHT such as 16:9"
    fields.refuse("aspect_ratio", f"aspect_ratio is not known: {shown(text, 40)!r}.", legal=words)
    return None


def read_any_size(fields: Fields) -> SizeWish:
    """Read ``size``, ``resolution`` and ``aspect_ratio``; two different tiers are a problem."""
    wish = read_size(fields)
    tier = read_resolution(fields)
    ratio = read_aspect_ratio(fields)
    if tier is None and ratio is None:
        return wish
    if wish.tier and tier and wish.tier != tier:
        fields.refuse("resolution", f"size says {wish.tier} and resolution says {tier}.")
    return SizeWish(wish.size, wish.tier or tier, ratio)


def read_count(fields: Fields, name: str = "n") -> int | None:
    """Read how many pictures are asked for; the model's limits judge the number."""
    fields.reading.names["n"] = f"{fields.path}{name}"
    return fields.integer(name)


def read_images(
    fields: Fields, names: Sequence[str], *, uploads: bool = False
) -> tuple[InputImage, ...]:
    """Read the first picture field of ``names`` that is present (rule R13).

    A field holds a text, an object ``{"image_url"|"url"|"image": …}``, or a list of these.
    Present fields of lower rank are noted as ignored. A bad picture keeps its place, so that
    later checks of the count do not complain about it a second time.
    """
    reading = fields.reading
    present = [name for name in names if fields.raw(name) not in (None, [], "")]
    reading.names.setdefault("images", f"{fields.path}{(present or names)[0]}")
    for name in present[1:]:
        reading.ignore(f"{fields.path}{name}")
    if not present:
        return ()
    name = present[0]
    value = fields.raw(name)
    items = value if isinstance(value, list) else [value]
    labels = [f"{name}[{at}]" for at in range(len(items))] if isinstance(value, list) else [name]
    reading.names |= {f"images[{at}]": fields.path + label for at, label in enumerate(labels)}
    found = [
        image_of(fields, label, item, uploads=uploads)
        for label, item in zip(labels, items, strict=True)
    ]
    return tuple(image or InputImage("") for image in found)


def read_image(fields: Fields, name: str, *, uploads: bool = False) -> InputImage | None:
    """Read one picture field."""
    value = fields.raw(name)
    return None if value in (None, "") else image_of(fields, name, value, uploads=uploads)


def image_of(fields: Fields, label: str, item: Any, *, uploads: bool = False) -> InputImage | None:
    """Read one picture value; ``label`` names it in a problem."""
    if isinstance(item, dict):
        # OpenAI nests once more in chat style: {"image_url": {"url": …}}.
        for key in ("image_url", "url", "image"):
            if key in item:
                return image_of(fields, f"{label}.{key}", item[key], uploads=uploads)
    if not isinstance(item, str):
        got = type_name(item)
        message = f"{fields.path}{label} must be a picture URL or a data URL, not {got}."
        fields.refuse(label, message, WRONG_TYPE, "a string")
        return None
    url = _pictures.picture_url(item, uploads=uploads)
    if url is None:
        fields.refuse(
            label,
            f"{fields.path}{label} is neither a picture URL nor picture data.",
            "invalid_image",
            "an http(s) URL, a data:image/…;base64, URL or base64 picture data",
        )
        return None
    return InputImage(url)


def read_palette(fields: Fields, name: str = "color_palette") -> tuple[PaletteColor, ...]:
    """Read ``[{hex, ratio}]``; the ratio is a number (seed 003) or ``"xx.xx%"`` (DashScope)."""
    fields.reading.names["palette"] = f"{fields.path}{name}"
    found = []
    for index, item in enumerate(fields.items(name) or []):
        label = f"{name}[{index}]"
        if not isinstance(item, dict):
            message = f"{fields.path}{label} must be an object with hex and ratio."
            fields.refuse(label, message, WRONG_TYPE, "an object")
            continue
        for key in item.keys() - {"hex", "ratio"}:
            message = f"{fields.path}{label} has no field {shown(key, 40)!r}."
            fields.refuse(f"{label}.{shown(key, 40)}", message, "unknown_parameter", "hex, ratio")
        hex_text, ratio = item.get("hex"), _share(item.get("ratio"))
        if not isinstance(hex_text, str) or not is_storable(hex_text):
            message = f"{fields.path}{label}.hex must be a colour."
            fields.refuse(f"{label}.hex", message, WRONG_TYPE, "#RRGGBB")
        elif ratio is None:
            message = f"{fields.path}{label}.ratio must be a share in percent."
            fields.refuse(f"{label}.ratio", message, WRONG_TYPE, 'a number or "23.51%"')
        else:
            found.append(PaletteColor(hex_text, ratio))
    return tuple(found)


def _share(value: Any) -> Decimal | None:
    if isinstance(value, str):
        return as_decimal(decimal_of(value.strip().removesuffix("%")))
    return as_decimal(value)


def read_boxes(fields: Fields, name: str = "bbox_list") -> tuple[tuple[Box, ...], ...]:
    """Read the three levels of ``bbox_list``: pictures, boxes, ``[x1, y1, x2, y2]``.

    Fractions of a pixel grow the box to whole pixels. ``[]`` is a picture without boxes.
    """
    fields.reading.names["boxes"] = f"{fields.path}{name}"
    found = []
    for index, boxes in enumerate(fields.items(name) or []):
        if not isinstance(boxes, list):
            message = f"{fields.path}{name}[{index}] must be a list of boxes."
            fields.refuse(f"{name}[{index}]", message, WRONG_TYPE, "[[x1, y1, x2, y2], …] or []")
            continue
        read = [_box(fields, f"{name}[{index}][{at}]", box) for at, box in enumerate(boxes)]
        found.append(tuple(box for box in read if box is not None))
    return tuple(found)


def _box(fields: Fields, label: str, value: Any) -> Box | None:
    numbers = [as_decimal(number) for number in value] if isinstance(value, list) else []
    corners = [number for number in numbers if number is not None and abs(number) < 10**6]
    if len(numbers) != 4 or len(corners) != 4:
        message = f"{fields.path}{label} must be four pixel coordinates."
        fields.refuse(label, message, WRONG_TYPE, "[x1, y1, x2, y2]")
        return None
    left, top, right, bottom = corners
    return (
        int(left.to_integral_value(ROUND_FLOOR)),
        int(top.to_integral_value(ROUND_FLOOR)),
        int(right.to_integral_value(ROUND_CEILING)),
        int(bottom.to_integral_value(ROUND_CEILING)),
    )


def read_seed(fields: Fields, name: str = "seed", random: Sequence[int] = (-1,)) -> int | None:
    """Read a seed; the values in ``random`` mean no seed (D17)."""
    fields.reading.names["seed"] = f"{fields.path}{name}"
    seed = fields.integer(name)
    return None if seed in random else seed


def read_rules(fields: Fields, name: str = "provider") -> RouteRules:
    """Read ``provider``: order, only, ignore, allow_fallbacks, max_price (USD) and sort."""
    provider = fields.child(name, PROVIDER_FIELDS)
    if provider is None:
        return NO_RULES
    fallbacks = provider.flag("allow_fallbacks")
    return RouteRules(
        order=tuple(provider.texts("order") or ()),
        only=tuple(provider.texts("only") or ()),
        ignore=tuple(provider.texts("ignore") or ()),
        allow_fallbacks=fallbacks if fallbacks is not None else True,
        max_price=_max_price(provider),
        sort=_sort(provider),
    )


def _sort(provider: Fields) -> Strategy | None:
    word = provider.text("sort")
    if word is None or word in SORTS:
        return None if word is None else SORTS[word]
    message = f"provider.sort does not know {shown(word, 40)!r}."
    provider.refuse("sort", message, legal=", ".join(SORTS))
    return None


def _max_price(provider: Fields) -> int | None:
    value = provider.raw("max_price")
    if value is None:
        return None
    amount = decimal_of(value) if isinstance(value, str) else as_decimal(value)
    if amount is None or amount < 0:
        message = "provider.max_price must be an amount of USD."
        provider.refuse("max_price", message, legal='a decimal text such as "0.03"')
        return None
    try:
        return parse_micro(amount)
    except ValueError as error:
        provider.refuse("max_price", f"provider.max_price: {error}.")
        return None


def read_callback(fields: Fields) -> CallbackSpec | None:
    """Read ``callback_url`` and ``callback_events`` (rule R18; ``succeeded`` is ``completed``)."""
    fields.reading.names["callback_url"] = f"{fields.path}callback_url"
    url = fields.text("callback_url")
    events = _events(fields)
    if not url:
        if "callback_events" in fields:
            fields.reading.ignore("callback_events")
        return None
    if len(url) > URL_MAX:
        message = f"callback_url is longer than {URL_MAX} characters."
        fields.refuse("callback_url", message, "string_above_max_length", f"at most {URL_MAX}")
    elif not is_https_url(url):
        legal = "an https:// address without user name"
        fields.refuse("callback_url", "callback_url must be an https URL.", legal=legal)
    return CallbackSpec(url, events)


def _events(fields: Fields) -> tuple[str, ...]:
    found = []
    for index, word in enumerate(fields.texts("callback_events") or []):
        event = "completed" if word == "succeeded" else word
        if event in EVENTS:
            found.append(event)
        else:
            message = f"callback_events does not know {shown(word, 40)!r}."
            fields.refuse(
                f"callback_events[{index}]", message, legal="completed, failed, cancelled"
            )
    return tuple(event for event in EVENTS if event in found) or EVENTS


def is_https_url(url: str) -> bool:
    """Whether a text is an https URL with a host, without credentials or control characters."""
    if not is_storable(url) or any(char <= " " or char == "\x7f" for char in url):
        return False
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme.lower() == "https" and bool(parts.hostname) and parts.username is None
