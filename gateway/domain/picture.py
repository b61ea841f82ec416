"""What the first bytes of a picture say: format, size, transparency. Nothing is decoded.

The bytes are a stranger's: every length is checked before it is believed, and every walk through a
file ends after a fixed number of steps. Whatever cannot be read is None, never an exception.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

STEPS_MAX = 10_000

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_WITH_ALPHA = (4, 6)
_PNG_FIRST_CHUNK = 33
_JPEG_ALONE = (0x01, *range(0xD0, 0xD9))
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_ENDS = (0xD9, 0xDA)
_GIF_CONTROL = 0xF9
_GIF_EXTENSIONS_MAX = 100


@dataclass(frozen=True, slots=True)
class PictureHeader:
    """A picture's facts. Sides in pixels, as stored (a rotation in EXIF is not applied)."""

    media_type: str
    width: int
    height: int
    has_alpha: bool


class _TooShortError(Exception):
    """The bytes end before the field that is read."""


def sniff(data: bytes) -> str | None:
    """Give the media type that the first bytes show; None when it is none we know."""
    if data.startswith(_PNG):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "image/webp"
    if data.startswith(b"BM"):
        return "image/bmp"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    return None


def read_header(data: bytes) -> PictureHeader | None:
    """Read a PNG, JPEG, WEBP, BMP or GIF header; None when it is none, or cut off, or broken.

    The whole file may be given, or its beginning as far as it was fetched.
    """
    media_type = sniff(data)
    if media_type is None:
        return None
    try:
        facts = _READERS[media_type](data)
    except _TooShortError:
        return None
    if facts is None or facts[0] < 1 or facts[1] < 1:
        return None
    return PictureHeader(media_type, *facts)


def read_data_url(url: str, bytes_max: int) -> bytes:
    """Give the bytes of a ``data:…;base64,…`` URL, read strictly.

    Raises ValueError, with a sentence for the caller, when it is no such URL, holds nothing, is
    not clean base64, or holds more than ``bytes_max`` bytes (judged before decoding).
    """
    head, comma, text = url.partition(",")
    if not head.lower().startswith("data:") or not comma:
        raise ValueError("it is no data URL")
    if not head.lower().endswith(";base64"):
        raise ValueError("a data URL must be base64 encoded")
    if len(text) // 4 * 3 > bytes_max + 2:
        raise ValueError(f"it holds more than {bytes_max} bytes")
    try:
        content = binascii.a2b_base64(text, strict_mode=True)
    except (binascii.Error, ValueError):
        raise ValueError("it is not valid base64") from None
    if not content:
        raise ValueError("it holds no bytes")
    if len(content) > bytes_max:
        raise ValueError(f"it holds more than {bytes_max} bytes")
    return content


Facts = tuple[int, int, bool]


def _number(data: bytes, start: int, size: int, order: Literal["big", "little"]) -> int:
    field = data[start : start + size]
    if len(field) < size:
        raise _TooShortError
    return int.from_bytes(field, order)


def _png(data: bytes) -> Facts | None:
    if data[12:16] != b"IHDR":
        return None
    width, height = _number(data, 16, 4, "big"), _number(data, 20, 4, "big")
    color_type = _number(data, 25, 1, "big")
    return width, height, color_type in _PNG_WITH_ALPHA or _png_has_transparency(data)


def _png_has_transparency(data: bytes) -> bool:
    """Whether a tRNS chunk stands before the pixels."""
    at = _PNG_FIRST_CHUNK
    for _ in range(STEPS_MAX):
        kind = data[at + 4 : at + 8]
        if kind == b"tRNS":
            return True
        if kind == b"IDAT" or len(kind) < 4:
            return False
        at += 12 + _number(data, at, 4, "big")
    return False


def _jpeg(data: bytes) -> Facts | None:
    """Walk the segments to the frame header, the first that knows the size."""
    at = 2
    for _ in range(STEPS_MAX):
        if _number(data, at, 1, "big") != 0xFF:
            return None
        marker = _number(data, at + 1, 1, "big")
        if marker in _JPEG_FRAMES:
            return _number(data, at + 7, 2, "big"), _number(data, at + 5, 2, "big"), False
        if marker in _JPEG_ENDS:
            return None
        if marker == 0xFF:
            at += 1
        elif marker in _JPEG_ALONE:
            at += 2
        else:
            at += 2 + max(_number(data, at + 2, 2, "big"), 2)
    return None


def _webp(data: bytes) -> Facts | None:
    kind = data[12:16]
    if kind == b"VP8X":
        flags = _number(data, 20, 1, "little")
        sides = _number(data, 24, 3, "little") + 1, _number(data, 27, 3, "little") + 1
        return *sides, bool(flags & 0x10)
    if kind == b"VP8L" and data[20:21] == b"\x2f":
        bits = _number(data, 21, 4, "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1)
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = _number(data, 26, 2, "little"), _number(data, 28, 2, "little")
        return width & 0x3FFF, height & 0x3FFF, False
    return None


def _bmp(data: bytes) -> Facts | None:
    header = _number(data, 14, 4, "little")
    if header == 12:
        return _number(data, 18, 2, "little"), _number(data, 20, 2, "little"), False
    if header < 40:
        return None
    width, height = _number(data, 18, 4, "little"), _number(data, 22, 4, "little")
    if height >= 2**31:  # negative: the rows are stored from the top down
        height = 2**32 - height
    masked = header >= 56 and _number(data, 28, 2, "little") == 32
    return width, height, masked and _number(data, 66, 4, "little") != 0


def _gif(data: bytes) -> Facts | None:
    width, height = _number(data, 6, 2, "little"), _number(data, 8, 2, "little")
    return width, height, _gif_has_transparency(data)


def _gif_has_transparency(data: bytes) -> bool:
    """Whether the first picture's control block names a transparent colour."""
    flags = _number(data, 10, 1, "little")
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    for _ in range(_GIF_EXTENSIONS_MAX):
        if data[at : at + 1] != b"!":
            return False
        if _number(data, at + 1, 1, "little") == _GIF_CONTROL:
            return bool(_number(data, at + 3, 1, "little") & 1)
        at = _after_blocks(data, at + 2)
    return False


def _after_blocks(data: bytes, at: int) -> int:
    """Give the place behind a list of length-prefixed blocks."""
    for _ in range(STEPS_MAX):
        length = _number(data, at, 1, "little")
        at += 1 + length
        if not length:
            return at
    raise _TooShortError


_READERS: Mapping[str, Callable[[bytes], Facts | None]] = {
    "image/png": _png,
    "image/jpeg": _jpeg,
    "image/webp": _webp,
    "image/bmp": _bmp,
    "image/gif": _gif,
}
