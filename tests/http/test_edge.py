"""The edge finds what the framework's router would find, and leaves it what it does not have."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.routing import Match
from starlette.routing import Route as HttpRoute
from starlette.types import ASGIApp

from gateway.dialects import DIALECTS
from gateway.http.edge import Table
from gateway.http.handlers import HANDLERS
from tests.support.stack import Stack, running_stack

PATHS = sorted(
    {
        (route.method, base + route.path)
        for dialect in DIALECTS.values()
        for route in dialect.routes
        for base in (dialect.prefix, dialect.root)
        if route.operation in HANDLERS and "{rest}" not in route.path
    },
    key=lambda entry: ([1 if "{" in part else 0 for part in entry[1].split("/")], entry),
)


async def _nothing(*_: object) -> None:
    """Stand in for an endpoint; each gets a wrapper of its own."""


def _endpoint(name: tuple[str, str]) -> ASGIApp:
    class Endpoint:
        async def __call__(self, *_: object) -> None:
            await _nothing()

        def __repr__(self) -> str:
            return str(name)

    return Endpoint()


ENDPOINTS = {name: _endpoint(name) for name in PATHS}
TABLE = Table((method, path, ENDPOINTS[method, path]) for method, path in PATHS)
ROUTER = [HttpRoute(path, ENDPOINTS[method, path], methods=[method]) for method, path in PATHS]
SEGMENTS = [*sorted({part for _, path in PATHS for part in path.split("/")}), "task-1", "a%2Fb"]


def framework(method: str, path: str) -> tuple[object, dict[str, str]] | None:
    """Give what Starlette's router would serve."""
    for route in ROUTER:
        scope = {"type": "http", "method": method, "path": path, "root_path": ""}
        match, child = route.matches(scope)
        if match is Match.FULL:
            return route.endpoint, child["path_params"]
    return None


@given(
    st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
    st.one_of(
        st.lists(st.sampled_from(SEGMENTS), max_size=8).map("/".join),
        st.sampled_from(PATHS).map(lambda entry: entry[1].replace("{task_id}", "task-1")),
    ),
)
def test_the_table_finds_what_the_router_finds(method: str, path: str) -> None:
    assert TABLE.find(method, path) == framework(method, path)


@pytest.fixture
async def stack(tmp_path: Path, database_url: str, redis_url: str) -> AsyncIterator[Stack]:
    async with running_stack(tmp_path, database_url, redis_url, workers=0) as running:
        yield running


async def test_what_the_edge_does_not_have_is_answered_by_the_framework(stack: Stack) -> None:
    team = await stack.team()
    head = await stack.client.request("HEAD", "/v1/models", headers=team.headers)
    assert (head.status_code, head.content) == (200, b"")
    wrong = await stack.client.request("DELETE", "/v1/images/generations")
    assert wrong.status_code == 405
    assert wrong.json()["error"]["code"] == "method_not_allowed"
    unknown = await stack.client.get("/v1/nothing")
    assert unknown.status_code == 404
    assert (await stack.client.get("/healthz")).json() == {"status": "ok"}
    for answer in (head, wrong, unknown):
        assert answer.headers["x-request-id"].startswith("req_")


async def test_a_crash_is_a_500_in_the_callers_dialect(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    team = await stack.team()

    async def broken(*_: object) -> None:
        raise RuntimeError("a secret of the inside")

    monkeypatch.setattr(type(stack.gateway.core.query), "task", broken)
    for path, where in (("/v1/tasks/t-1", "error"), ("/api/v1/tasks/t-1", None)):
        answer = await stack.get(team, path)
        assert answer.status_code == 500
        body = answer.json()
        message = (body[where] if where else body)["message"]
        assert message == "Something went wrong in the gateway."


async def test_links_lead_to_the_host_that_the_caller_named(stack: Stack) -> None:
    team = await stack.team()
    made = await stack.post(team, {"model": "wan2.5-t2i-preview", "prompt": "a kite"})
    assert made.status_code == 200
    async with httpx.AsyncClient(base_url=stack.url, trust_env=False) as client:
        headers = {**team.headers, "host": "images.example.net"}
        answer = await client.get("/api/v1/uploads", params={"action": "getPolicy", "model": "m"},
                                  headers=headers)  # fmt: skip
    assert answer.status_code == 200
    assert answer.json()["data"]["upload_host"].startswith("http://images.example.net")
