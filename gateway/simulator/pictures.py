"""Draws the pictures a simulated vendor delivers: a gradient of its own, with the prompt written on
it.

Pictures are drawn when somebody looks at them, in a thread, and the newest are kept. They are
composed at no more than 1024 pixels a side and enlarged, and PNGs use a palette, so that 2048²
costs about 30 ms of one core.
"""

from __future__ import annotations

import asyncio
import colorsys
import io
import random
import textwrap
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from PIL import Image, ImageDraw, ImageFont

CANVAS_SIDE = 1024
CACHE_BYTES = 64 * 1024 * 1024
PALETTE_COLOURS = 128
CONTENT_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}


@dataclass(frozen=True, slots=True)
class Picture:
    """What is on one picture, its size in pixels and its format (``png``, ``jpeg`` or ``webp``)."""

    prompt: str
    model: str
    index: int
    seed: int
    width: int
    height: int
    format: str


def draw(picture: Picture) -> bytes:
    """Draw a picture and encode it; the same picture always gives the same bytes."""
    shrink = max(1, -(-max(picture.width, picture.height) // CANVAS_SIDE))
    canvas = _gradient(
        f"{picture.seed}/{picture.index}/{picture.prompt}",
        (max(1, picture.width // shrink), max(1, picture.height // shrink)),
    )
    _write(canvas, picture)
    size = (picture.width, picture.height)
    out = io.BytesIO()
    if picture.format == "png":
        image = canvas.quantize(PALETTE_COLOURS, method=Image.Quantize.FASTOCTREE)
        image.resize(size, Image.Resampling.NEAREST).save(out, "PNG", compress_level=1)
    else:
        enlarged = canvas.resize(size, Image.Resampling.BILINEAR)
        enlarged.save(out, picture.format.upper(), quality=80, method=0)
    return out.getvalue()


def _gradient(name: str, size: tuple[int, int]) -> Image.Image:
    chance = random.Random(name)  # noqa: S311 - decoration
    hue = chance.random()
    corners = Image.new("RGB", (2, 2))
    for position in range(4):
        shade = (hue + chance.uniform(-0.12, 0.12)) % 1.0
        colour = colorsys.hls_to_rgb(shade, chance.uniform(0.25, 0.65), chance.uniform(0.45, 0.8))
        red, green, blue = (int(part * 255) for part in colour)
        corners.putpixel((position % 2, position // 2), (red, green, blue))
    return corners.resize(size, Image.Resampling.BILINEAR)


def _write(canvas: Image.Image, picture: Picture) -> None:
    width, height = canvas.size
    letter = max(9, min(width, height) // 18)
    margin = letter
    pen = ImageDraw.Draw(canvas)
    columns = max(8, int((width - 2 * margin) / (letter * 0.55)))
    lines = textwrap.wrap(picture.prompt[:400], columns)[: max(1, height // letter - 5)]
    pen.multiline_text(
        (margin, margin), "\n".join(lines), font=ImageFont.load_default(letter), fill="white"
    )
    small = max(8, letter * 2 // 3)
    foot = (
        f"{picture.model}  #{picture.index + 1}  seed {picture.seed}\n"
        f"{picture.width}x{picture.height}  simulated"
    )
    pen.multiline_text(
        (margin, height - margin - 3 * small),
        foot,
        font=ImageFont.load_default(small),
        fill="white",
    )


class Gallery:
    """Draws pictures in threads, each at most once while it is remembered."""

    def __init__(self, *, distinct: bool) -> None:
        self._distinct = distinct
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="simulator-draw")
        self._drawing: dict[Picture, asyncio.Future[bytes]] = {}
        self._kept: OrderedDict[Picture, bytes] = OrderedDict()
        self._kept_bytes = 0

    async def show(self, picture: Picture) -> bytes:
        """The encoded picture."""
        if not self._distinct:
            picture = replace(picture, prompt="", model="", index=0, seed=0)
        kept = self._kept.get(picture)
        if kept is not None:
            self._kept.move_to_end(picture)
            return kept
        drawing = self._drawing.get(picture)
        if drawing is None:
            loop = asyncio.get_running_loop()
            drawing = loop.run_in_executor(self._threads, draw, picture)
            self._drawing[picture] = drawing
            drawing.add_done_callback(lambda done: self._keep(picture, done))
        return await asyncio.shield(drawing)

    def close(self) -> None:
        """Stop the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _keep(self, picture: Picture, done: asyncio.Future[bytes]) -> None:
        del self._drawing[picture]
        if done.cancelled() or done.exception() is not None:
            return
        self._kept[picture] = done.result()
        self._kept_bytes += len(done.result())
        while self._kept_bytes > CACHE_BYTES:
            self._kept_bytes -= len(self._kept.popitem(last=False)[1])
