"""A provider is one file and TOML, a model is TOML, a dialect is one file: done by the book."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import pytest_asyncio

from gateway.domain.money import MICRO
from gateway.embedded import EmbeddedPostgres, EmbeddedValkey
from gateway.settings import Settings
from gateway.simulator import Simulator, SimulatorConfig, VendorConfig
from gateway.wiring.books import Books, open_books
from tests.extension.extended import block, extend, free_port, ready, running
from tests.support.engines import cloned_database, flush
from tests.support.pictures import PNG
from tests.support.receivers import Received, Receiver, receiver
from tests.support.stack import picture_size

pytestmark = pytest.mark.asyncio(loop_scope="module")

WAN25 = "wan2.5-t2i-preview"
CONFIGURATION = """
[credits]
per_usd = "100"

[upstreams.made-up]
adapter = "acme"
base_url = "{acme}/v1"
api_key = "key-of-acme"
allow_private = true
offers = [{{ model = "wan2.5-t2i-preview", cost_usd = "0.01" }}]

[upstreams.dashscope]
adapter = "dashscope"
base_url = "{dashscope}"
api_key = "any"
allow_private = true
offers = [
    {{ model = "wan2.5-t2i-preview", cost_usd = "0.02" }},
    {{ model = "wan2.8-t2i", cost_usd = "0.03" }},
    {{ model = "wan2.8-t2i-turbo", protocol = "image-generation", cost_usd = "0.01" }},
]

[models."wan2.5-t2i-preview"]
price_credits = "3"
"""


@dataclass
class Acme:
    """The made-up vendor: every job is done at once, unless its prompt says otherwise."""

    port: int = 0
    jobs: list[dict[str, Any]] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)

    async def __call__(self, request: Received, writer: asyncio.StreamWriter) -> None:
        status, kind, body = self._answer(request)
        head = f"HTTP/1.1 {status} .\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n"
        writer.write(f"{head}connection: close\r\n\r\n".encode() + body)

    def _answer(self, request: Received) -> tuple[int, str, bytes]:
        if request.path.endswith(".png"):
            return 200, "image/png", PNG
        self.keys.add(request.headers["authorization"])
        if request.method == "POST":
            job = json.loads(request.body)
            if "unpaid" in job["prompt"]:
                error = {"code": "no_credit", "message": "Pay first."}
                return 402, "application/json", json.dumps({"error": error}).encode()
            self.jobs.append(job)
            return 200, "application/json", json.dumps({"job_id": f"j{len(self.jobs)}"}).encode()
        job = self.jobs[int(request.path.rpartition("/j")[2]) - 1]
        if "indecent" in job["prompt"]:
            error = {"code": "bad_prompt", "message": "Not that."}
            failed = {"state": "failed", "error": error}
            return 200, "application/json", json.dumps(failed).encode()
        links = [f"http://127.0.0.1:{self.port}/{n}.png" for n in range(job["n"])]
        return 200, "application/json", json.dumps({"state": "done", "links": links}).encode()


@dataclass
class Extended:
    """The extended gateway and its made-up vendor."""

    client: httpx.AsyncClient
    acme: Acme
    books: Books

    async def make(self, **body: Any) -> dict[str, Any]:
        """Create a task and give it when it has ended."""
        answer = await self.client.post(
            "/v1/images/generations", json=body, headers={"prefer": "wait=60"}
        )
        shown = await self.client.get(f"/v1/tasks/{answer.headers['x-task-id']}")
        found: dict[str, Any] = shown.json()
        return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def extended(
    tmp_path_factory: pytest.TempPathFactory,
    postgres: EmbeddedPostgres,
    migrated_template: str,
    valkey: EmbeddedValkey,
) -> AsyncIterator[Extended]:
    folder = extend(tmp_path_factory.mktemp("extended"))
    flush(valkey)
    async with AsyncExitStack() as stack:
        acme = Acme()
        vendor: Receiver = await stack.enter_async_context(receiver(acme))
        acme.port = vendor.port
        simulator = await stack.enter_async_context(Simulator(_vendors()))
        url = stack.enter_context(cloned_database(postgres, migrated_template))
        port = free_port()
        path = folder / "gateway.toml"
        studio = block("configuration.md", "toml", "house-style-1")
        studio = studio.replace("http://10.0.4.17:9000/v1", simulator.base_url("openai"))
        studio = studio.replace("file:/run/secrets/studio_key", "any")
        made_up = CONFIGURATION.format(
            acme=f"http://127.0.0.1:{vendor.port}", dashscope=simulator.base_url("dashscope")
        )
        path.write_text(made_up + studio, encoding="utf-8")
        environ = {
            "GATEWAY_DATABASE_URL": url,
            "GATEWAY_REDIS_URL": valkey.url,
            "GATEWAY_CONFIG": str(path),
            "GATEWAY_DATA_DIR": str(folder / "data"),
            "GATEWAY_PORT": str(port),
        }
        settings = Settings(data_dir=folder / "data")
        books = await stack.enter_async_context(open_books(settings, url))
        team = await books.ledger.create_team("extenders")
        await books.ledger.grant(team.id, 100 * MICRO, None)
        _, key = await books.keys.create(team.id, "test")
        await stack.enter_async_context(running(folder, environ, "worker"))
        api = await stack.enter_async_context(running(folder, environ, "api"))
        base = f"http://127.0.0.1:{port}"
        await ready(base, api)
        client = httpx.AsyncClient(
            base_url=base,
            headers={"authorization": f"Bearer {key}"},
            timeout=60,
            trust_env=False,
        )
        await stack.enter_async_context(client)
        yield Extended(client, acme, books)


def _vendors() -> SimulatorConfig:
    vendors = {
        "dashscope": VendorConfig(
            api="dashscope",
            prices={WAN25: 20_000, "wan2.8-t2i": 30_000, "wan2.8-t2i-turbo": 10_000},
        ),
        "openai": VendorConfig(api="openai", prices={"flux-house-lora": 4_000}),
    }
    return SimulatorConfig(vendors=vendors, work_ms=(30, 60), distinct_pictures=False)


async def opened(url: str) -> tuple[int, int]:
    async with httpx.AsyncClient(trust_env=False) as client:
        return picture_size((await client.get(url)).content)


# --- a provider ------------------------------------------------------------------------------


async def test_a_task_goes_through_the_new_adapter_and_is_paid(extended: Extended) -> None:
    body = await extended.make(model=WAN25, prompt="a kite", n=2)

    task = await extended.books.tasks.get(body["id"])
    assert task is not None
    assert (body["status"], len(body["results"])) == ("completed", 2)
    assert await opened(body["results"][1]) == (512, 512)
    assert extended.acme.jobs[-1] == {"model": "acme/wan-2.5", "prompt": "a kite", "n": 2}
    assert extended.acme.keys == {"Bearer key-of-acme"}
    assert [(a.upstream, a.adapter) for a in task.attempts] == [("made-up", "acme")]
    assert (task.charged, task.cost) == (6 * MICRO, 20_000)


async def test_its_limits_and_its_name_are_part_of_routing(extended: Extended) -> None:
    many = {"model": WAN25, "prompt": "p", "n": 3}
    quote = (await extended.client.post("/v1/images/quote", json=many)).json()
    only = {**many, "provider": {"only": ["acme"]}}
    refused = await extended.client.post("/v1/images/quote", json=only)

    assert quote["excluded"] == [{"upstream": "made-up", "reason": "n is 3 (legal: 1 to 2)"}]
    assert [offer["upstream"] for offer in quote["offers"]] == ["dashscope"]
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "n")


async def test_its_blame_table_decides_who_pays(extended: Extended) -> None:
    indecent = await extended.make(model=WAN25, prompt="indecent")
    unpaid = await extended.make(model=WAN25, prompt="unpaid", size="1280x1280")
    tasks = [await extended.books.tasks.get(body["id"]) for body in (indecent, unpaid)]

    assert (indecent["status"], indecent["error"]["message"]) == ("failed", "Not that.")
    assert [len(task.attempts) for task in tasks if task] == [1, 2]
    assert unpaid["status"] == "completed"
    assert indecent["usage"]["credits_charged"] == 0
    report = await extended.books.ledger.verify()
    assert report.violations == ()


# --- models -----------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["wan2.8-t2i", "wan2.8-t2i-turbo", "house-style-1"])
async def test_a_model_made_of_toml_is_sold(extended: Extended, model: str) -> None:
    body = await extended.make(model=model, prompt="a lighthouse")
    assert body["status"] == "completed", body
    assert await opened(body["results"][0])


async def test_what_its_toml_says_is_published_and_judged(extended: Extended) -> None:
    entry = (await extended.client.get("/v1/models/wan2.8-text-to-image")).json()
    long = {"model": "wan2.8-t2i", "prompt": "x" * 3001}
    refused = await extended.client.post("/v1/images/generations", json=long)
    house = {"model": "house-style-1", "prompt": "p", "size": "512x512"}
    small = await extended.client.post("/v1/images/generations", json=house)

    assert (entry["canonical"], entry["limits"]["prompt_max"]) == ("wan2.8-t2i", 3000)
    assert "at most 3000" in refused.json()["error"]["message"]
    assert "1344x768" in small.json()["error"]["message"]


# --- a dialect --------------------------------------------------------------------------------


async def test_the_new_dialect_answers_in_its_own_words(extended: Extended) -> None:
    answer = await extended.client.post(
        "/acme/v1/draw", json={"model": WAN25, "text": "a barn", "count": 2}
    )
    pictures = answer.json()["pictures"]
    task_id = answer.headers["x-task-id"]
    shown = (await extended.client.get(f"/acme/v1/tasks/{task_id}")).json()

    assert answer.status_code == 200
    assert len(pictures) == 2
    assert await opened(pictures[0])
    assert shown["status"] == "completed"
    assert "/acme/v1/draw" in (await extended.client.get("/openapi.json")).json()["paths"]


async def test_its_errors_name_its_own_fields(extended: Extended) -> None:
    wrong = {"model": WAN25, "text": "", "count": 99}
    answer = await extended.client.post("/acme/v1/draw", json=wrong)
    unknown = await extended.client.post("/acme/v1/draw", json={"model": WAN25, "txt": "p"})

    assert answer.status_code == unknown.status_code == 400
    assert "text is required" in answer.json()["error"]["message"]
    assert "count is 99" in answer.json()["error"]["message"]
    assert unknown.json()["error"]["param"] == "txt"
