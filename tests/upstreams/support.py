"""What the adapter tests share: jobs made from the real catalogue, and a vendor on a table.

`job` resolves a request exactly as the gateway does (offer limits, concrete size). `Vendor` is
an httpx transport that answers from a list and remembers what it was asked.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest

from gateway.app.ports import HttpAnswer, UpstreamAdapter
from gateway.catalog import load
from gateway.catalog.builtin import builtin
from gateway.domain.errors import UpstreamError
from gateway.domain.model import Catalog, Secret, Upstream
from gateway.domain.request import GenerationRequest, InputImage, PaletteColor, Size
from gateway.domain.sizes import resolve
from gateway.domain.upstream import Job
from gateway.upstreams import build

NOW_S = 1_795_170_000
KEY = "sk-very-secret-vendor-key"
ATTEMPT_ID = "0b1d5c9e-2f44-4b0f-9a57-6f0f8f0d3c21"
KITE = "https://img.example.net/kite.png"
FIELD = "https://img.example.net/field.webp"
DAY = 86_400


@cache
def catalog() -> Catalog:
    """Every built-in model at an upstream of each adapter, as an operator's file would say it."""
    lines = []
    for name, provider in builtin().providers.items():
        lines += [f"[upstreams.{name}]", f'adapter = "{name}"', f'api_key = "{KEY}"']
        lines += [f'base_url = "{provider.base_url}"', "offers = ["]
        extra = ["wanx2.1-imageedit"] if name == "dashscope" else []
        for model in dict.fromkeys([*provider.models, *extra]):
            if model in builtin().models:
                protocol = ', protocol = "image2image"' if model in extra else ""
                lines.append(f'  {{ model = "{model}", cost_usd = "0.02"{protocol} }},')
        lines.append("]")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "gateway.toml"
        path.write_text("\n".join(lines), encoding="utf-8")
        return load(path, {})


def upstream(adapter: str, **changes: Any) -> Upstream:
    """The configured upstream of an adapter."""
    return replace(catalog().upstreams[adapter], api_key=Secret(KEY), **changes)


def job(adapter: str, model: str, *, protocol: str | None = None, **fields: Any) -> Job:
    """A job as the gateway would make it; ``fields`` are canonical request fields."""
    fields.setdefault("prompt", "Paper lanterns")
    options = fields.pop("upstream_options", {})
    request = GenerationRequest(model=model, **fields)
    offer = next(offer for offer in catalog().offers[model] if offer.adapter == adapter)
    if protocol is not None:
        offer = replace(offer, protocol=protocol)
    resolved = resolve(request, offer.limits.size)
    return Job(
        attempt_id=ATTEMPT_ID,
        request=request,
        offer=offer,
        upstream=upstream(adapter, options=options),
        size=resolved.size,
        tier=resolved.tier,
    )


def pictures(*urls: str) -> tuple[InputImage, ...]:
    return tuple(InputImage(url=url) for url in urls)


def palette(*ratios: str) -> tuple[PaletteColor, ...]:
    return tuple(
        PaletteColor(f"#0A25{index:02d}", Decimal(ratio)) for index, ratio in enumerate(ratios)
    )


def size(text: str) -> Size:
    width, _, height = text.partition("x")
    return Size(int(width), int(height))


@dataclass
class Vendor:
    """Answers one call after another, and remembers the calls."""

    answers: list[httpx.Response | Exception] = field(default_factory=list)
    calls: list[httpx.Request] = field(default_factory=list)

    def answer(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.calls.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def last(self) -> httpx.Request:
        return self.calls[-1]

    @property
    def body(self) -> Any:
        return json.loads(self.last.content)


class TableClient(httpx.AsyncClient):
    """Sends to a function through httpx, in the place of the guarded client."""

    def __init__(self, answer: Callable[[httpx.Request], Any]) -> None:
        super().__init__(transport=httpx.MockTransport(answer), trust_env=False)

    @asynccontextmanager
    async def opened(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes = b"",
        times: Mapping[str, float | None] | None = None,
    ) -> AsyncIterator[HttpAnswer]:
        request = self.build_request(
            method, url, headers=dict(headers), content=body, extensions={"timeout": times}
        )
        answer = await self.send(request, stream=True)
        try:
            yield TableAnswer(answer)
        finally:
            await answer.aclose()


class TableAnswer:
    """An answer of a table, as a client's."""

    def __init__(self, answer: httpx.Response) -> None:
        self.status = answer.status_code
        self.raw_headers = answer.headers.raw
        self._parts = answer.aiter_bytes()

    async def read(self) -> bytes:
        return await anext(self._parts, b"")


def adapter_at(
    vendor: Vendor, adapter: str, now_s: Callable[[], int] = lambda: NOW_S, **changes: Any
) -> UpstreamAdapter:
    """An adapter whose upstream is this vendor."""
    return build(upstream(adapter, **changes), TableClient(vendor.answer), now_s)


def says(body: Any, status: int = 200, **headers: str) -> httpx.Response:
    """A JSON answer."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json=body, headers=named)


async def wire(sent: Job, answer: Any, status: int = 200) -> httpx.Request:
    """The request a job becomes, the vendor answering with a body that means success."""
    vendor = Vendor([says(answer, status)])
    await adapter_at(vendor, sent.upstream.adapter, options=sent.upstream.options).submit(sent)
    return vendor.last


async def submit_error(sent: Job, answer: httpx.Response | Exception) -> UpstreamError:
    """The error a submit ends in."""
    with pytest.raises(UpstreamError) as raised:
        await adapter_at(Vendor([answer]), sent.upstream.adapter).submit(sent)
    return raised.value


async def poll(adapter: str, *answers: httpx.Response | Exception, task_id: str = "t1") -> Any:
    """What a poll gives."""
    return await adapter_at(Vendor(list(answers)), adapter).poll(task_id)


async def poll_error(
    adapter: str, *answers: httpx.Response | Exception, task_id: str = "t1"
) -> UpstreamError:
    """The error a poll ends in."""
    with pytest.raises(UpstreamError) as raised:
        await poll(adapter, *answers, task_id=task_id)
    return raised.value
