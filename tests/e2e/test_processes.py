"""Limits, logins and revocations over several real API processes: nobody is let through twice."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.domain.access import KeyRules
from gateway.domain.administration import Role
from gateway.settings import Settings
from gateway.wiring.books import Books, open_books
from tests.support.ports import free_port
from tests.support.stack import CONFIGURATION, MODEL

LANTERN = {"model": MODEL, "prompt": "a lantern"}
PROCESSES = 3
CLIENTS = 200
CREDIT = 1_000_000
PASSWORD = "correct horse battery"


@dataclass
class Site:
    """API processes on the same engines, and the books as a command opens them."""

    clients: list[httpx.AsyncClient]
    books: Books
    team_id: str

    async def key(self, **rules: Any) -> tuple[str, str]:
        """Add a key; gives its id and text."""
        key, text = await self.books.keys.create(self.team_id, rules=KeyRules(**rules))
        return key.id, text

    async def post(self, number: int, key: str, **body: Any) -> httpx.Response:
        """Send a create call to one of the processes."""
        return await self.clients[number % PROCESSES].post(
            "/v1/images/generations",
            json={**LANTERN, **body},
            headers={"authorization": f"Bearer {key}"},
        )

    async def flood(self, key: str, calls: int = 3 * CLIENTS) -> Counter[int]:
        """Send calls by 200 clients at once, in turn to all processes; counts the statuses."""
        began_s, numbers = time.monotonic(), iter(range(calls))
        found: Counter[int] = Counter()

        async def client() -> None:
            for number in numbers:
                found[(await self.post(number, key)).status_code] += 1

        await asyncio.gather(*(client() for _ in range(CLIENTS)))
        assert time.monotonic() - began_s < 60, "nothing may have come back meanwhile"
        return found


def started(folder: Path, environment: dict[str, str], port: int) -> subprocess.Popen[bytes]:
    with (folder / "api.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "gateway", "api", "--port", str(port)],
            env=environment,
            stdout=log,
            stderr=log,
        )


async def ready(client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                if (await client.get("/readyz")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.1)


@pytest.fixture
async def site(tmp_path: Path, database_url: str, redis_url: str) -> AsyncIterator[Site]:
    """Three processes and no worker: what is accepted stays under way."""
    config = tmp_path / "gateway.toml"
    urls = dict.fromkeys(("evolink", "dashscope", "openai"), "http://127.0.0.1:1")
    config.write_text(CONFIGURATION.format(**urls), encoding="utf-8")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GATEWAY_")} | {
        "GATEWAY_DATABASE_URL": database_url,
        "GATEWAY_REDIS_URL": redis_url,
        "GATEWAY_DATA_DIR": str(tmp_path),
        "GATEWAY_CONFIG": str(config),
    }
    async with AsyncExitStack() as stack:
        settings = Settings(data_dir=tmp_path)
        books = await stack.enter_async_context(open_books(settings, database_url))
        team = await books.ledger.create_team("crowd")
        await books.ledger.grant(team.id, 10_000 * CREDIT, None)
        clients = []
        for _ in range(PROCESSES):
            port = free_port()
            process = started(tmp_path, environment, port)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            client = httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}",
                timeout=60,
                trust_env=False,
                limits=httpx.Limits(max_connections=CLIENTS),
            )
            clients.append(await stack.enter_async_context(client))
        await asyncio.gather(*(ready(client) for client in clients))
        yield Site(clients, books, team.id)


async def test_limits_and_caps_are_exact_under_two_hundred_clients_on_three_processes(
    site: Site,
) -> None:
    _, by_requests = await site.key(requests_per_minute=200)
    _, by_images = await site.key(images_per_minute=150)
    busy, by_tasks = await site.key(concurrent_tasks=120)
    _, by_cap = await site.key(credit_cap=150 * CREDIT)
    found = [await site.flood(key) for key in (by_requests, by_images, by_tasks, by_cap)]

    assert found == [
        {200: 200, 429: 400},
        {200: 150, 429: 450},
        {200: 120, 429: 480},
        {200: 100, 402: 500},
    ]
    assert (await site.books.keys.key(busy)).counts.running == 120
    assert (await site.books.ledger.verify()).violations == ()


async def test_a_rotated_key_has_the_limits_of_the_one_it_replaces(site: Site) -> None:
    old, text = await site.key(requests_per_minute=30)
    _, new = await site.books.keys.rotate(old, 60_000)
    answers = await asyncio.gather(
        *(site.post(number, (text, new)[number % 2]) for number in range(90))
    )
    assert Counter(answer.status_code for answer in answers) == {200: 30, 429: 60}


async def test_a_revoked_key_is_refused_by_every_process_within_a_second(site: Site) -> None:
    key_id, text = await site.key()
    stop = asyncio.Event()
    last_s = [0.0] * PROCESSES
    """When each process last began to serve a call of the key."""

    async def keep_calling(number: int) -> None:
        while not stop.is_set():
            sent_s = time.monotonic()
            if (await site.post(number, text)).status_code == 200:
                last_s[number] = sent_s
            await asyncio.sleep(0.01)

    calling = [asyncio.create_task(keep_calling(number)) for number in range(PROCESSES)]
    await asyncio.sleep(1)
    await site.books.keys.revoke(key_id)
    revoked_s = time.monotonic()
    await asyncio.sleep(1.5)
    stop.set()
    await asyncio.gather(*calling)

    assert all(0 < at_s < revoked_s + 1 for at_s in last_s)
    answers = [await site.post(number, text) for number in range(PROCESSES)]
    assert [answer.status_code for answer in answers] == [401] * PROCESSES


async def test_a_login_holds_in_every_process_and_ends_in_all_of_them_at_once(site: Site) -> None:
    made, _ = await site.books.operators.create_operator("ada", Role.VIEWER)
    await site.books.logins.set_password(made.id, PASSWORD)
    body = {"name": "ada", "password": PASSWORD}
    answer = await site.clients[0].post("/admin/v1/session", json=body)
    login = {"cookie": answer.headers["set-cookie"].partition(";")[0]}
    login["x-csrf-token"] = answer.json()["csrf_token"]
    for client in site.clients:
        client.cookies.clear()

    async def statuses(method: str, path: str) -> list[int]:
        """Ask every process, at once."""
        calls = (
            client.request(method, f"/admin/v1{path}", json={"name": "studio"}, headers=login)
            for client in site.clients
        )
        return sorted(answer.status_code for answer in await asyncio.gather(*calls))

    assert await statuses("GET", "/me") == [200] * PROCESSES
    assert await statuses("POST", "/teams") == [403] * PROCESSES
    await site.books.operators.change_role(made.id, Role.OPERATOR)
    assert await statuses("POST", "/teams") == [201, 409, 409]
    await site.books.operators.revoke_operator(made.id)
    assert await statuses("GET", "/me") == [401] * PROCESSES


async def test_failed_logins_are_counted_over_all_processes(site: Site) -> None:
    began_s, body = time.monotonic(), {"name": "ada", "password": "not the right password"}
    answers = await asyncio.gather(
        *(
            site.clients[number % PROCESSES].post("/admin/v1/session", json=body)
            for number in range(30)
        )
    )
    assert time.monotonic() - began_s < 60, "nothing may have come back meanwhile"
    assert Counter(answer.status_code for answer in answers) == {401: 5, 429: 25}
