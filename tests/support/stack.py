"""The whole gateway in one loop, against real engines and the simulator, as e2e tests use it."""

from __future__ import annotations

import asyncio
import io
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from PIL import Image

from gateway.domain.money import MICRO
from gateway.domain.task import Task
from gateway.http.app import create_app
from gateway.http.connection import BoundedConnection
from gateway.settings import Settings
from gateway.simulator import Simulator, SimulatorConfig
from gateway.wiring.runtime import Gateway, open_gateway
from gateway.worker import Worker
from tests.support.contract import Contract

MODEL = "wan2.5-t2i-preview"
_DOCUMENT: dict[str, Any] = {}

CONFIGURATION = """
[credits]
per_usd = "68.1818"

[upstreams.cheap]
adapter = "evolink"
base_url = "{evolink}"
api_key = "key-of-cheap"
allow_private = true
offers = [
    {{ model = "wan2.5-t2i-preview", cost_usd = "0.022" }},
    {{ model = "wan2.5-i2i-preview", cost_usd = "0.022" }},
]

[upstreams.dear]
adapter = "dashscope"
base_url = "{dashscope}"
api_key = "key-of-dear"
allow_private = true
offers = [
    {{ model = "wan2.5-t2i-preview", cost_usd = "0.029" }},
    {{ model = "wan2.5-i2i-preview", cost_usd = "0.029" }},
    {{ model = "wanx2.1-imageedit", cost_usd = "0.0206" }},
    {{ model = "wan2.6-t2i", cost_usd = "0.029" }},
    {{ model = "wan2.7-image", cost_usd = "0.0294" }},
    {{ model = "wan2.7-image-pro", cost_usd = "0.0735" }},
]

[upstreams.openai]
adapter = "openai"
base_url = "{openai}"
api_key = "key-of-openai"
allow_private = true
offers = [{{ model = "gpt-image-1.5", cost_usd = "0.04" }}]

[models."wan2.5-t2i-preview"]
price_credits = "1.5"

[models."wan2.7-image"]
price_credits = "2"
aliases = ["gpt-image-1"]
"""


@dataclass
class Team:
    """A team of the test with one key."""

    id: str
    name: str
    key: str
    secret: str

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"}


@dataclass
class Stack:
    """A running gateway: its address, its parts, its simulated vendors."""

    url: str
    gateway: Gateway
    simulator: Simulator
    client: httpx.AsyncClient
    draining: asyncio.Event
    contract: Contract
    """What `client` is answered is held to it."""
    workers: list[tuple[Worker, asyncio.Task[None]]] = field(default_factory=list)
    _teams: int = 0

    async def team(self, credits: str | int = 100) -> Team:
        """Make a team with credits and a key."""
        self._teams += 1
        team = await self.gateway.ledger.create_team(f"team-{self._teams}")
        micro = int(float(credits) * MICRO)
        if micro:
            await self.gateway.ledger.grant(team.id, micro, None)
        _, text = await self.gateway.keys.create(team.id, "test")
        return Team(team.id, team.name, text, team.webhook_secret)

    async def post(
        self,
        team: Team,
        body: object,
        path: str = "/v1/images/generations",
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Send a JSON body with the team's key."""
        merged = {**team.headers, **(headers or {})}
        return await self.client.post(path, json=body, headers=merged)

    async def get(self, team: Team, path: str) -> httpx.Response:
        """Read an address with the team's key."""
        return await self.client.get(path, headers=team.headers)

    async def ended(self, team: Team, task_id: str, timeout_s: float = 30.0) -> dict[str, Any]:
        """Wait until a task is terminal; gives its native body, whichever dialect created it."""
        path = f"/evolink/v1/tasks/{task_id}"
        async with asyncio.timeout(timeout_s):
            while True:
                body: dict[str, Any] = (await self.get(team, path)).json()
                if body["status"] in ("completed", "failed", "cancelled"):
                    return body
                await asyncio.sleep(0.05)

    async def task(self, task_id: str) -> Task:
        """Give a task as Postgres has it."""
        task = await self.gateway.tasks.get(task_id)
        assert task is not None
        return task

    async def credits(self, team: Team) -> tuple[str, str, str]:
        """Give the team's balance, held and available credits."""
        body = (await self.get(team, "/v1/credits")).json()
        return body["balance"], body["held"], body["available"]

    async def start_worker(self) -> Worker:
        """Start one more worker."""
        worker = self.gateway.worker()
        self.workers.append((worker, asyncio.create_task(worker.run())))
        return worker

    async def stop_workers(self) -> None:
        """Drain all workers."""
        workers, self.workers = self.workers, []
        for worker, _ in workers:
            worker.stop()
        await asyncio.gather(*(task for _, task in workers))

    async def assert_ledger_is_clean(self) -> None:
        """Prove the books."""
        report = await self.gateway.ledger.verify()
        assert report.violations == ()


def picture_size(content: bytes) -> tuple[int, int]:
    """Open a picture and give its size."""
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        return image.size


@asynccontextmanager
async def running_stack(
    tmp_path: Path,
    database_url: str,
    redis_url: str,
    *,
    work_ms: tuple[int, int] = (30, 60),
    workers: int = 1,
    configuration: str = CONFIGURATION,
    **settings: object,
) -> AsyncIterator[Stack]:
    """Run simulator, API and workers until the block ends."""
    async with Simulator(SimulatorConfig(work_ms=work_ms)) as simulator:
        names = ("evolink", "dashscope", "openai", "modelverse", "qingbo", "fal", "replicate")
        text = configuration.format(**{name: simulator.base_url(name) for name in names})
        async with running_gateway(
            tmp_path, database_url, redis_url, text, simulator, workers=workers, **settings
        ) as stack:
            yield stack


@asynccontextmanager
async def running_gateway(
    tmp_path: Path,
    database_url: str,
    redis_url: str,
    configuration: str,
    simulator: Simulator,
    *,
    workers: int = 1,
    **settings: object,
) -> AsyncIterator[Stack]:
    """Run API and workers with the text of a `gateway.toml`, beside a simulator that runs."""
    path = tmp_path / "gateway.toml"
    path.write_text(configuration, encoding="utf-8")
    chosen = Settings(config=path, data_dir=tmp_path, **settings)  # type: ignore[arg-type]
    async with (
        open_gateway(chosen, database_url=database_url, redis_url=redis_url) as gateway,
        _serving(gateway, draining := asyncio.Event()) as url,
        httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client,
    ):
        stack = Stack(url, gateway, simulator, client, draining, await _contract(client))
        client.event_hooks = {"response": [stack.contract.check]}
        for _ in range(workers):
            await stack.start_worker()
        try:
            yield stack
        finally:
            await stack.stop_workers()


async def _contract(client: httpx.AsyncClient) -> Contract:
    """Give the contract; its document is the same for every gateway of the process."""
    if not _DOCUMENT:
        _DOCUMENT.update((await client.get("/openapi.json")).json())
    return Contract(_DOCUMENT)


@asynccontextmanager
async def _serving(gateway: Gateway, draining: asyncio.Event) -> AsyncIterator[str]:
    app = create_app(gateway.core, draining=draining)
    config = uvicorn.Config(
        app,
        http=BoundedConnection,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
    )
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    serving = asyncio.create_task(server._serve([listener]))
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await serving


__all__: Sequence[str] = (
    "CONFIGURATION",
    "MODEL",
    "Stack",
    "Team",
    "picture_size",
    "running_gateway",
    "running_stack",
)
