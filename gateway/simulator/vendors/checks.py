"""Checks of request fields that several vendors share. All raise Refused with
``invalid_parameter``.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import urlsplit

from gateway.simulator.faults import Refused

Fields = Mapping[str, Any]
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
PNG_HEADER_CHARACTERS = 64
ALPHA_COLOUR_TYPES = (4, 6)
_HEX = re.compile(r"#[0-9a-fA-F]{6}")


def wrong(param: str, message: str) -> NoReturn:
    """Refuse a field."""
    raise Refused("invalid_parameter", f"{param}: {message}", param=param)


def text(fields: Fields, name: str, *, most: int | None = None) -> str:
    """A required, non-empty string of at most ``most`` characters."""
    value = fields.get(name)
    if not isinstance(value, str) or not value.strip():
        wrong(name, "a non-empty string is required")
    if most is not None and len(value) > most:
        wrong(name, f"at most {most} characters, got {len(value)}")
    return value


def whole(fields: Fields, name: str, low: int, high: int, default: int) -> int:
    """A whole number within bounds; absent or null gives the default."""
    value = fields.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int):
        wrong(name, "a whole number is required")
    if not low <= value <= high:
        wrong(name, f"must be between {low} and {high}, got {value}")
    return value


def seed(fields: Fields, low: int = 0) -> int | None:
    """The ``seed`` field, up to 2147483647; None when absent."""
    if fields.get("seed") is None:
        return None
    return whole(fields, "seed", low, 2_147_483_647, 0)


def number(query: Mapping[str, str], name: str, default: int) -> int:
    """A positive whole number from a query string; absent gives the default."""
    value = query.get(name) or str(default)
    if not value.isdecimal() or int(value) < 1:
        wrong(name, "a positive whole number is required")
    return int(value)


def flag(fields: Fields, name: str, *, default: bool = False) -> bool:
    """A boolean; absent or null gives the default."""
    value = fields.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        wrong(name, "true or false is required")
    return value


def word(fields: Fields, name: str, words: Sequence[str], default: str) -> str:
    """One of the given words; absent or null gives the default."""
    value = fields.get(name)
    if value is None:
        return default
    if value not in words:
        wrong(name, f"must be one of {', '.join(words)}")
    return str(value)


def pixels(value: object, separator: str, name: str = "size") -> tuple[int, int]:
    """Width and height from ``WxH`` or ``W*H``."""
    found = re.fullmatch(rf"(\d{{1,5}}){re.escape(separator)}(\d{{1,5}})", str(value))
    if found is None:
        wrong(name, f"must look like 1280{separator}1280, got {value!r}")
    return int(found.group(1)), int(found.group(2))


@dataclass(frozen=True, slots=True)
class Area:
    """Legal output sizes: bounds of the area in pixels, and of width : height as ``1:ratio`` to
    ``ratio:1``.
    """

    least: int
    most: int
    ratio: int

    def check(self, width: int, height: int) -> None:
        """Refuse a size outside the bounds."""
        if not self.least <= width * height <= self.most:
            wrong("size", f"total pixels must be between {self.least} and {self.most}")
        if width > self.ratio * height or height > self.ratio * width:
            wrong("size", f"the ratio must be between 1:{self.ratio} and {self.ratio}:1")


@dataclass(frozen=True, slots=True)
class Sides:
    """Legal output sizes as bounds of each side in pixels."""

    least: int
    most: int

    def check(self, width: int, height: int) -> None:
        """Refuse a size outside the bounds."""
        for side in (width, height):
            if not self.least <= side <= self.most:
                wrong("size", f"each side must be between {self.least} and {self.most}")


@dataclass(frozen=True, slots=True)
class PngHeader:
    """Size and transparency of a PNG, read from its first bytes."""

    width: int
    height: int
    alpha: bool


def png_header(data: bytes) -> PngHeader | None:
    """The header of a PNG; None when the bytes are something else."""
    if len(data) < 26 or not data.startswith(PNG_MAGIC):
        return None
    return PngHeader(
        width=int.from_bytes(data[16:20], "big"),
        height=int.from_bytes(data[20:24], "big"),
        alpha=data[25] in ALPHA_COLOUR_TYPES,
    )


def inline_png(url: str) -> PngHeader | None:
    """The header of a PNG given as a ``data:`` URL; None for links and other formats."""
    head, comma, body = url[: min(256, len(url))].partition(",")
    if not head.startswith("data:") or not comma:
        return None
    try:
        return png_header(base64.b64decode(body[:PNG_HEADER_CHARACTERS]))
    except binascii.Error:
        return None


def pictures(value: object, name: str, schemes: Sequence[str]) -> list[str]:
    """A list of picture addresses with one of the schemes (``https:``, ``data:``…); absent gives an
    empty list.
    """
    if value is None:
        return []
    if not isinstance(value, list):
        wrong(name, "a list of picture addresses is required")
    for item in value:
        if not isinstance(item, str) or not item.startswith(tuple(schemes)):
            wrong(name, f"each picture must start with one of {', '.join(schemes)}")
    return value


def public_callback(fields: Fields, name: str = "callback_url") -> None:
    """A callback address, when given: https, at most 2048 characters, not a private literal."""
    value = fields.get(name)
    if value is None:
        return
    if not isinstance(value, str) or len(value) > 2048 or not value.startswith("https://"):
        wrong(name, "an https address of at most 2048 characters is required")
    host = urlsplit(value).hostname or "localhost"
    try:
        private = not ipaddress.ip_address(host).is_global
    except ValueError:
        private = host == "localhost" or host.endswith(".localhost")
    if private:
        wrong(name, "a public address is required")


def palette(value: object, *, percent: bool) -> None:
    """A colour palette: 3 to 10 of hex and ratio, adding up to 100.

    ``percent`` means ratios are text such as ``"23.51%"``, otherwise whole numbers.
    """
    if value is None:
        return
    if not isinstance(value, list) or not 3 <= len(value) <= 10:
        wrong("color_palette", "3 to 10 colours are required")
    total = 0
    for entry in value:
        if not isinstance(entry, dict) or not _HEX.fullmatch(str(entry.get("hex"))):
            wrong("color_palette", "each colour needs a hex like #C2D1E6")
        total += _hundredths(entry.get("ratio"), percent=percent)
    if total != 10_000:
        wrong("color_palette", "the ratios must add up to 100")


def _hundredths(ratio: object, *, percent: bool) -> int:
    if percent:
        found = re.fullmatch(r"(\d{1,3})\.(\d{2})%", str(ratio)) if isinstance(ratio, str) else None
        if found is None:
            wrong("color_palette", 'each ratio must look like "23.51%"')
        return int(found.group(1)) * 100 + int(found.group(2))
    if isinstance(ratio, bool) or not isinstance(ratio, int):
        wrong("color_palette", "each ratio must be a whole number")
    return ratio * 100


def boxes(value: object, picture_count: int) -> None:
    """Edit boxes: one list per picture, at most two boxes each, ``[x1, y1, x2, y2]`` in order."""
    if value is None:
        return
    if not isinstance(value, list) or len(value) != picture_count:
        wrong("bbox_list", f"one list per picture is required, there are {picture_count}")
    for per_picture in value:
        if not isinstance(per_picture, list) or len(per_picture) > 2:
            wrong("bbox_list", "each picture takes a list of at most 2 boxes")
        for box in per_picture:
            if not isinstance(box, list) or [type(side) for side in box] != [int] * 4:
                wrong("bbox_list", "each box is four whole numbers")
            if box[0] >= box[2] or box[1] >= box[3] or min(box) < 0:
                wrong("bbox_list", "each box is x1,y1 top left and x2,y2 bottom right")
