"""One valid create call for each API of the simulator, and a PNG to send along."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from typing import Any

import httpx
from PIL import Image

from gateway.simulator import Simulator

DASHSCOPE_ASYNC = {"x-dashscope-async": "enable"}
FAL_KEY = {"authorization": "Key sim-key"}
LANTERNS = "Paper lanterns over a canal"


@dataclass(frozen=True, slots=True)
class Create:
    """Path under the base URL, body and extra headers of a call that asks for one picture."""

    path: str
    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)


CREATES = {
    "evolink": Create("/images/generations", {"model": "wan2.5-text-to-image", "prompt": LANTERNS}),
    "dashscope": Create(
        "/services/aigc/text2image/image-synthesis",
        {
            "model": "wan2.5-t2i-preview",
            "input": {"prompt": LANTERNS},
            "parameters": {"n": 1, "size": "1280*1280"},
        },
        DASHSCOPE_ASYNC,
    ),
    "openai": Create("/images/generations", {"model": "gpt-image-1.5", "prompt": LANTERNS}),
    "modelverse": Create("/tasks/submit", {"model": "wan2.7-image", "input": {"prompt": LANTERNS}}),
    "qingbo": Create("/tasks", {"model": "wan2.7-image", "prompt": LANTERNS}),
    "fal": Create("/fal-ai/wan-25-preview/text-to-image", {"prompt": LANTERNS}, FAL_KEY),
    "replicate": Create(
        "/models/wan-video/wan-2.5-t2i/predictions", {"input": {"prompt": LANTERNS}}
    ),
}


async def create(sim: Simulator, web: httpx.AsyncClient, vendor: str) -> httpx.Response:
    """Send a vendor its valid create call."""
    call = CREATES[vendor]
    return await web.post(sim.base_url(vendor) + call.path, json=call.body, headers=call.headers)


def png(width: int = 512, height: int = 512, mode: str = "RGB") -> bytes:
    """A plain PNG."""
    out = io.BytesIO()
    Image.new(mode, (width, height)).save(out, "PNG")
    return out.getvalue()


def data_url(width: int = 512, height: int = 512, mode: str = "RGB") -> str:
    """A plain PNG as a ``data:`` URL."""
    return "data:image/png;base64," + base64.b64encode(png(width, height, mode)).decode()


def opened(data: bytes) -> Image.Image:
    """A picture, decoded in full."""
    image = Image.open(io.BytesIO(data))
    image.load()
    return image
