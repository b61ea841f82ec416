"""Small input pictures, opaque and transparent, as bytes and as data URLs."""

from __future__ import annotations

import io
from base64 import b64encode

from PIL import Image


def png(mode: str = "RGB", size: tuple[int, int] = (512, 512)) -> bytes:
    """Give a PNG in one colour; mode RGBA is transparent."""
    out = io.BytesIO()
    Image.new(mode, size, "teal" if mode == "RGB" else (0, 0, 0, 0)).save(out, "PNG")
    return out.getvalue()


def data_url(content: bytes) -> str:
    """Give a PNG as a data URL."""
    return f"data:image/png;base64,{b64encode(content).decode()}"


PNG, MASK = png(), png("RGBA")
PNG_DATA, MASK_DATA = data_url(PNG), data_url(MASK)
