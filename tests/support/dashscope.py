"""What tests of the DashScope SDKs share: addresses, models, how its messages and answers look."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.support.stack import MODEL, Stack

ROOT, PREFIX = "/api/v1", "/dashscope/api/v1"
WAN25, WAN26, WAN27 = "wan2.5-i2i-preview", "wan2.6-t2i", "wan2.7-image"
KITE: dict[str, Any] = {"model": MODEL, "prompt": "a kite"}
# A task may have ended by the time somebody looks.
UNDER_WAY = {"PENDING", "RUNNING", "SUCCEEDED"}
BEIJING = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}")


def message(text: str, *pictures: str) -> list[dict[str, Any]]:
    content = [{"image": picture} for picture in pictures] + [{"text": text}]
    return [{"role": "user", "content": content}]


def links(answer: dict[str, Any]) -> list[str]:
    """Give the links of an answer of either shape."""
    output = answer["output"]
    choices = [choice["message"]["content"][0]["image"] for choice in output.get("choices") or []]
    return [result["url"] for result in output.get("results") or []] + choices


@asynccontextmanager
async def idle(stack: Stack) -> AsyncIterator[None]:
    """Let tasks wait: no worker runs in the block."""
    await stack.stop_workers()
    try:
        yield
    finally:
        await stack.start_worker()
