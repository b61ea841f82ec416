"""Draws the pictures a simulated vendor delivers: a landscape of its own, the prompt written on it.

Pictures are drawn when somebody looks at them, in a thread, and the newest are kept. They have a
palette, and are drawn at no more than 2048 pixels a side and enlarged, so that a PNG of 2048² costs
some 40 ms of one core.
"""

from __future__ import annotations

import asyncio
import colorsys
import io
import math
import random
import textwrap
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from PIL import Image, ImageDraw, ImageFont

CANVAS_SIDE = 2048
SKY = 200
SUN = SKY
HILLS = 3
WHITE = SUN + HILLS + 1
HILL_STEPS = 64
PROMPT_LINES = 6
CACHE_BYTES = 64 * 1024 * 1024
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
    chance = random.Random(  # noqa: S311 - decoration
        f"{picture.seed}/{picture.index}/{picture.prompt}"
    )
    shrink = max(1, -(-max(picture.width, picture.height) // CANVAS_SIDE))
    size = (max(1, picture.width // shrink), max(1, picture.height // shrink))
    canvas = Image.linear_gradient("L").point(lambda shade: shade * (SKY - 1) // 255).resize(size)
    pen = ImageDraw.Draw(canvas)
    _sun(pen, chance, size)
    for layer in range(HILLS):
        _hill(pen, chance, size, layer)
    _words(pen, picture, size)
    canvas.putpalette(_palette(chance))
    out = io.BytesIO()
    if picture.format == "png":
        full = canvas.resize((picture.width, picture.height), Image.Resampling.NEAREST)
        full.save(out, "PNG", compress_level=1)
    else:
        rgb = canvas.convert("RGB").resize((picture.width, picture.height))
        rgb.save(out, picture.format.upper(), quality=80, method=0)
    return out.getvalue()


def _palette(chance: random.Random) -> list[int]:
    """Colours by index: a sky from top to horizon, the sun, hills from far to near, white."""
    hue = chance.random()
    far = (hue + chance.uniform(0.08, 0.2)) % 1.0
    top, horizon = chance.uniform(0.3, 0.5), chance.uniform(0.7, 0.8)
    colours = []
    for index in range(SKY):
        part = index / (SKY - 1)
        shade = (hue + ((far - hue + 0.5) % 1.0 - 0.5) * part) % 1.0
        colours.append(colorsys.hls_to_rgb(shade, top + (horizon - top) * part, 0.6))
    colours.append(colorsys.hls_to_rgb(far, 0.9, 0.7))
    colours += [colorsys.hls_to_rgb(hue, 0.42 - 0.11 * layer, 0.4) for layer in range(HILLS)]
    colours.append((1.0, 1.0, 1.0))
    return [int(part * 255) for colour in colours for part in colour]


def _sun(pen: ImageDraw.ImageDraw, chance: random.Random, size: tuple[int, int]) -> None:
    radius = min(size) * chance.uniform(0.07, 0.13)
    across, down = size[0] * chance.uniform(0.55, 0.85), size[1] * chance.uniform(0.4, 0.55)
    pen.ellipse((across - radius, down - radius, across + radius, down + radius), fill=SUN)


def _hill(
    pen: ImageDraw.ImageDraw, chance: random.Random, size: tuple[int, int], layer: int
) -> None:
    width, height = size
    top = height * (0.6 + 0.12 * layer)
    swings = [(chance.uniform(1, 4), chance.uniform(0, math.tau)) for _ in range(3)]
    edge = [
        (
            width * step / HILL_STEPS,
            top
            + height
            * 0.03
            * sum(math.sin(step / HILL_STEPS * math.tau * f + p) for f, p in swings),
        )
        for step in range(HILL_STEPS + 1)
    ]
    pen.polygon([(0, height), *edge, (width, height)], fill=SUN + 1 + layer)


def _words(pen: ImageDraw.ImageDraw, picture: Picture, size: tuple[int, int]) -> None:
    pen.fontmode = "1"
    width, height = size
    letter = max(9, min(size) // 20)
    small = max(8, letter * 2 // 3)
    margin = letter
    columns = max(8, int((width - 2 * margin) / (letter * 0.52)))
    lines = textwrap.wrap(picture.prompt[:300], columns)[:PROMPT_LINES]
    pen.multiline_text(
        (margin, margin), "\n".join(lines), font=ImageFont.load_default(letter), fill=WHITE
    )
    foot = (
        f"{picture.model}  #{picture.index + 1}  seed {picture.seed}\n"
        f"{picture.width}x{picture.height}  simulated"
    )
    pen.multiline_text(
        (margin, height - margin - 3 * small), foot, font=ImageFont.load_default(small), fill=WHITE
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
