"""Failed logins are counted by name and by address, exactly, and nobody is kept out for good."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.domain.administration import Role
from gateway.domain.login import OF_ADDRESS, OF_NAME
from tests.support.browsers import SESSION, operator
from tests.support.stack import Stack, running_stack

ADMIN = "the-admin-key"
PASSWORD = "correct horse battery"
WRONG = "not the right password"


@pytest.fixture(params=["shared", "alone"])
async def stack(
    request: pytest.FixtureRequest, tmp_path: Path, database_url: str, redis_url: str
) -> AsyncIterator[Stack]:
    """A gateway with Valkey, and one whose Valkey is away."""
    url = redis_url if request.param == "shared" else f"unix://{tmp_path}/nothing.sock"
    async with running_stack(tmp_path, database_url, url, admin_key=ADMIN) as running:
        await operator(running, Role.ADMIN, "ada", PASSWORD)
        yield running


async def tried(stack: Stack, name: str, password: str, address: str = "192.0.2.1") -> Any:
    body = {"name": name, "password": password}
    async with httpx.AsyncClient(base_url=stack.url, timeout=60, trust_env=False) as client:
        return await client.post(SESSION, json=body, headers={"x-forwarded-for": address})


async def statuses(*tries: Any) -> Counter[int]:
    return Counter([answer.status_code for answer in await asyncio.gather(*tries)])


@pytest.mark.parametrize("name", ["ada", "nobody"])
async def test_a_names_failures_are_counted_exactly_wherever_they_come_from(
    stack: Stack, name: str
) -> None:
    tries = [tried(stack, name, WRONG, f"192.0.2.{number % 4}") for number in range(24)]
    assert await statuses(*tries) == {401: OF_NAME.allowed, 429: 24 - OF_NAME.allowed}
    refused = await tried(stack, name, PASSWORD, "192.0.2.9")
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limited")
    assert 1 <= int(refused.headers["retry-after"]) <= 61


async def test_an_addresss_failures_are_counted_exactly_whatever_they_are_for(
    stack: Stack,
) -> None:
    tries = [tried(stack, f"name {number}", WRONG) for number in range(OF_ADDRESS.allowed + 8)]
    assert await statuses(*tries) == {401: OF_ADDRESS.allowed, 429: 8}
    key = {"admin_key": "not the key"}
    headers = {"x-forwarded-for": "192.0.2.1"}
    assert (await stack.client.post(SESSION, json=key, headers=headers)).status_code == 429
    assert (await tried(stack, "ada", PASSWORD, "192.0.2.2")).status_code == 200


async def test_logins_that_succeed_are_not_counted(stack: Stack) -> None:
    for _ in range(OF_NAME.allowed + 2):
        assert (await tried(stack, "ada", PASSWORD)).status_code == 200
    for _ in range(OF_NAME.allowed - 1):
        assert (await tried(stack, "ada", WRONG)).status_code == 401
    assert (await tried(stack, "ada", PASSWORD)).status_code == 200


async def test_where_an_operator_logged_in_lately_nobody_keeps_it_out(stack: Stack) -> None:
    assert (await tried(stack, "ada", PASSWORD, "198.51.100.7")).status_code == 200
    for number in range(OF_NAME.allowed):
        assert (await tried(stack, "ada", WRONG, f"192.0.2.{number}")).status_code == 401
    assert (await tried(stack, "ada", PASSWORD, "192.0.2.200")).status_code == 429
    assert (await tried(stack, "ada", PASSWORD, "198.51.100.7")).status_code == 200
    for _ in range(OF_NAME.allowed):
        assert (await tried(stack, "ada", WRONG, "198.51.100.7")).status_code == 401
    assert (await tried(stack, "ada", PASSWORD, "198.51.100.7")).status_code == 429


async def test_a_network_of_ipv6_is_one_address(stack: Stack) -> None:
    tries = [
        tried(stack, f"name {number}", WRONG, f"2001:db8::{number:x}")
        for number in range(OF_ADDRESS.allowed + 3)
    ]
    assert await statuses(*tries) == {401: OF_ADDRESS.allowed, 429: 3}


async def test_failures_are_told_once_a_minute_and_without_names_nobody_has(stack: Stack) -> None:
    for name in ("ada", "ada", "secret-name-1", "secret-name-2", "ada"):
        assert (await tried(stack, name, WRONG)).status_code == 401
    body = {"admin_key": "not the key"}
    assert (await stack.client.post(SESSION, json=body)).status_code == 401
    headers = {"authorization": f"Bearer {ADMIN}"}
    made = (await stack.client.get("/admin/v1/operators", headers=headers)).json()["data"][0]
    async with asyncio.timeout(10):
        while True:
            answer = await stack.client.get("/admin/v1/audit", headers=headers)
            told = [one for one in answer.json()["data"] if one["action"] == "session.refused"]
            if len(told) == 3:
                break
            await asyncio.sleep(0.05)
    assert {one["subject"] for one in told} == {made["id"], "unknown", "admin-key"}
    assert {one["actor"] for one in told} == {"nobody"}
    for secret in ("secret-name", WRONG, "not the key"):
        assert secret not in answer.text
