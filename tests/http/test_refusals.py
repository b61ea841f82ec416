"""What the framework refuses by itself keeps its status, in the words of the address's dialect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.http.app import create_app
from tests.support.stack import running_stack


@pytest.fixture
async def client(
    tmp_path: Path, database_url: str, redis_url: str
) -> AsyncIterator[httpx.AsyncClient]:
    """A gateway with addresses at which the framework refuses whatever comes."""

    async def refuse(request: Request) -> Response:
        status = int(request.path_params["status"])
        raise HTTPException(status, "how it looks inside", {"retry-after": "7"})

    async with running_stack(tmp_path, database_url, redis_url, workers=0) as stack:
        app = create_app(stack.gateway.core, draining=asyncio.Event())
        for base in ("", "/openai/v1", "/dashscope/api/v1", "/modelverse/v1", "/qingbo/v1"):
            app.router.routes.append(Route(f"{base}/refused/{{status}}", refuse))
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            yield client


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (400, "invalid_request", "Bad Request."),
        (401, "invalid_request", "Unauthorized."),
        (404, "route_not_found", "There is nothing at /refused/404."),
        (405, "method_not_allowed", "GET is not answered at /refused/405."),
        (413, "invalid_request", "Request Entity Too Large."),
        (503, "internal_error", "Service Unavailable."),
    ],
)
async def test_a_refusal_keeps_its_status(
    client: httpx.AsyncClient, status: int, code: str, words: str
) -> None:
    answer = await client.get(f"/refused/{status}")
    assert answer.status_code == status
    error = answer.json()["error"]
    assert (error["code"], error["message"]) == (code, words)
    assert answer.headers["retry-after"] == "7"


@pytest.mark.parametrize(
    ("base", "named"),
    [
        ("/openai/v1", {"error"}),
        ("/dashscope/api/v1", {"code", "message", "request_id"}),
        ("/modelverse/v1", {"error"}),
        ("/qingbo/v1", {"error"}),
    ],
)
async def test_each_dialect_words_it_its_own_way(
    client: httpx.AsyncClient, base: str, named: set[str]
) -> None:
    answer = await client.get(f"{base}/refused/418")
    assert (answer.status_code, set(answer.json())) == (418, named)


async def test_a_method_that_is_not_answered_says_which_are(client: httpx.AsyncClient) -> None:
    answer = await client.put("/healthz")
    assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_allowed")
    assert "GET" in answer.headers["allow"]
