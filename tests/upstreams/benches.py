"""A simulated vendor with the adapter that talks to it, over the production transport."""

from __future__ import annotations

import base64
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
from PIL import Image

from gateway.app.ports import UpstreamAdapter
from gateway.domain.errors import UpstreamError
from gateway.domain.request import InputImage
from gateway.domain.upstream import Accepted, Delivered, Job
from gateway.egress.clients import GuardedClient, upstream_client
from gateway.simulator import Script, Simulator, SimulatorConfig, VendorConfig
from gateway.upstreams import build
from tests.upstreams.support import FIELD, KITE, job, pictures, size, upstream

WORK_MS = 10_000
QUEUE_MS = 2_000


def a_png() -> str:
    out = io.BytesIO()
    Image.new("RGB", (512, 512), "teal").save(out, "PNG")
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


PNG_URL = a_png()
INLINE = (InputImage(PNG_URL), InputImage(PNG_URL))


@dataclass(frozen=True)
class Case:
    """A job for two pictures (where the vendor makes two) and the vendor that takes it."""

    job: Job
    generation: str = "B"

    @property
    def adapter(self) -> str:
        return self.job.upstream.adapter

    @property
    def blocking(self) -> bool:
        if self.adapter == "modelverse":
            return self.job.offer.protocol == "images" or self.job.request.n > 4
        return self.adapter == "openai" or self.job.offer.protocol == "multimodal-generation"

    @property
    def n(self) -> int:
        return self.job.request.n


T2I, I2I, W27 = "wan2.5-t2i-preview", "wan2.5-i2i-preview", "wan2.7-image"
GPT = "gpt-image-1.5"
CASES = {
    "evolink": Case(job("evolink", T2I, n=2, size=size("768x768"))),
    "evolink-edit": Case(job("evolink", I2I, n=2, images=pictures(KITE, FIELD))),
    "dashscope-text2image": Case(job("dashscope", T2I, n=2, rewrite_prompt=True, seed=7)),
    "dashscope-image2image": Case(job("dashscope", I2I, n=2, images=pictures(KITE, PNG_URL))),
    "dashscope-messages": Case(job("dashscope", W27, n=2, tier="1K", thinking=True)),
    "dashscope-boxes": Case(
        job("dashscope", W27, n=2, images=INLINE, boxes=(((1, 2, 30, 40),), ()))
    ),
    "dashscope-group": Case(job("dashscope", W27, n=2, group=True)),
    "dashscope-wan2.6": Case(job("dashscope", "wan2.6-t2i", n=2, negative_prompt="text")),
    "dashscope-interleave": Case(job("dashscope", "wan2.6-image", n=2, interleave=True)),
    "dashscope-region": Case(job("dashscope", "wan2.1-t2i-turbo", n=2)),
    "dashscope-blocking": Case(job("dashscope", W27, n=2, protocol="multimodal-generation")),
    "modelverse": Case(job("modelverse", W27, n=2, images=pictures(KITE))),
    "modelverse-blocking": Case(job("modelverse", W27, n=2, protocol="images")),
    "modelverse-large-group": Case(job("modelverse", "wan2.7-image-pro", n=5, group=True)),
    "qingbo-a": Case(job("qingbo", W27, n=2, tier="4K"), "A"),
    "qingbo-b": Case(job("qingbo", W27, n=2, images=pictures(KITE, FIELD)), "B"),
    "qingbo-c": Case(job("qingbo", W27, n=2, upstream_options={"generation": "C"}), "C"),
    "qingbo-c-edit": Case(
        job("qingbo", W27, n=2, images=pictures(KITE), upstream_options={"generation": "C"}), "C"
    ),
    "openai": Case(job("openai", GPT, n=2, options={"quality": "low"})),
    "openai-edit": Case(job("openai", GPT, n=2, images=INLINE, mask=INLINE[0])),
    "openai-edit-of-links": Case(job("openai", GPT, n=2, images=pictures(KITE))),
    "fal": Case(job("fal", T2I, n=2, seed=3)),
    "fal-edit": Case(job("fal", I2I, n=2, images=pictures(KITE))),
    "replicate": Case(job("replicate", T2I, n=1, negative_prompt="text")),
    "replicate-edit": Case(job("replicate", I2I, n=1, images=pictures(KITE, FIELD))),
}
# One way of asking per vendor and kind of answer, for what depends on nothing else.
USUAL = (
    "evolink",
    "dashscope-text2image",
    "dashscope-messages",
    "dashscope-blocking",
    "modelverse",
    "modelverse-blocking",
    "qingbo-b",
    "openai",
    "fal",
    "replicate",
)
TASKS = tuple(name for name in USUAL if not CASES[name].blocking)


@dataclass
class Bench:
    """One simulated vendor with the adapter that talks to it."""

    sim: Simulator
    adapter: UpstreamAdapter
    client: GuardedClient
    case: Case

    @property
    def vendor(self) -> str:
        return self.case.adapter

    async def submit(self) -> Accepted | Delivered:
        return await self.adapter.submit(self.case.job)

    async def accepted(self) -> str:
        answer = await self.submit()
        assert isinstance(answer, Accepted)
        return answer.upstream_task_id

    async def finished(self) -> Delivered:
        """Submit and wait for the end, in the simulator's own time."""
        answer = await self.submit()
        if isinstance(answer, Delivered):
            return answer
        self.sim.advance(WORK_MS)
        delivered = await self.adapter.poll(answer.upstream_task_id)
        assert isinstance(delivered, Delivered)
        return delivered

    async def failure(self) -> UpstreamError:
        """Submit and wait for the failure."""
        with pytest.raises(UpstreamError) as raised:
            await self.finished()
        return raised.value

    async def look(self, image: Any) -> Image.Image:
        content = image.content
        if content is None:
            answer = await self.client.get(image.url)
            assert answer.status_code == 200
            content = answer.content
        return Image.open(io.BytesIO(content))


@asynccontextmanager
async def bench(name: str, *scripts: Script, **changes: Any) -> AsyncIterator[Bench]:
    """A vendor under these scripts. Blocking calls work at once, tasks take ten seconds."""
    case = CASES[name]
    vendor = VendorConfig(api=case.adapter, generation=case.generation)
    work = (0, 0) if case.blocking else (WORK_MS, WORK_MS)
    config = SimulatorConfig(vendors={case.adapter: vendor}, work_ms=work, queue_ms=QUEUE_MS)
    if case.blocking:
        config = replace(config, queue_ms=0)
    async with Simulator(config) as sim:
        sim.script(case.adapter, *scripts)
        account = upstream(
            case.adapter,
            base_url=sim.base_url(case.adapter),
            allow_private=True,
            options=case.job.upstream.options,
            **changes,
        )
        client = upstream_client(account)
        adapter = build(account, client, lambda: sim.clock.now_ms() // 1000)
        try:
            yield Bench(sim, adapter, client, case)
        finally:
            await adapter.aclose()
