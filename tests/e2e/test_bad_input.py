"""Bad input: a clear error that names the field and what is legal; nothing held, no 500."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from tests.support.stack import MODEL, Stack, Team

GOOD = {"model": MODEL, "prompt": "a kite"}


@pytest.mark.parametrize(
    ("changes", "field", "said"),
    [
        ({"size": "99x99"}, "size", "768x768"),
        ({"size": "tiny"}, "size", "1280x1280"),
        ({"size": 1024}, "size", "string"),
        ({"n": 0}, "n", "4"),
        ({"n": 5}, "n", "4"),
        ({"n": "two"}, "n", "integer"),
        ({"n": True}, "n", "integer"),
        ({"n": 1.5}, "n", "integer"),
        ({"prompt": ""}, "prompt", "prompt"),
        ({"prompt": None}, "prompt", "prompt"),
        ({"prompt": "x" * 2001}, "prompt", "2000"),
        ({"prompt": ["a"]}, "prompt", "string"),
        ({"seed": -7}, "seed", "2147483647"),
        ({"seed": 2**31}, "seed", "2147483647"),
        ({"seed": "lucky"}, "seed", "integer"),
        ({"sise": "1280x1280"}, "sise", "size"),
        ({"callback_url": "http://example.org/hook"}, "callback_url", "https"),
        ({"callback_url": "https://127.0.0.1/hook"}, "callback_url", "public"),
        ({"callback_url": "https://user:pw@example.org/"}, "callback_url", "user"),
        ({"image_urls": ["https://10.0.0.1/a.png"]}, "image_urls", "picture"),
        ({"response_format": "jpeg"}, "response_format", "b64_json"),
        ({"provider": {"only": ["nobody"]}}, "provider.only", "nobody"),
        ({"async": "yes"}, "async", "boolean"),
    ],
)
async def test_each_bad_field_is_named_with_what_is_legal(
    stack: Stack, changes: dict[str, Any], field: str, said: str
) -> None:
    team = await stack.team(credits=10)

    answer = await stack.post(team, {**GOOD, **changes})

    error = answer.json()["error"]
    assert answer.status_code == 400
    assert error["type"] == "invalid_request_error"
    assert error["param"].startswith(field)
    assert said.lower() in error["message"].lower()
    assert error["request_id"] == answer.headers["x-request-id"]
    assert await stack.credits(team) == ("10", "0", "10")


async def test_all_problems_are_reported_at_once(stack: Stack) -> None:
    team = await stack.team()

    answer = await stack.post(team, {**GOOD, "n": 9, "size": "1x1", "seed": -5})

    message = answer.json()["error"]["message"]
    for field in ("n ", "size", "seed"):
        assert field in message


async def test_the_key_is_judged_before_the_body(stack: Stack) -> None:
    for headers in ({}, {"authorization": "Bearer nonsense"}, {"authorization": "Basic abc"}):
        answer = await stack.client.post(
            "/v1/images/generations", content=b"{not json", headers=headers
        )

        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "invalid_api_key"


async def test_no_credit_is_402_and_says_how_much_is_missing(stack: Stack) -> None:
    team = await stack.team(credits=2)

    answer = await stack.post(team, {**GOOD, "n": 2})

    assert answer.status_code == 402
    assert "3 credits" in answer.json()["error"]["message"]
    assert await stack.credits(team) == ("2", "0", "2")


async def test_an_unknown_model_names_close_ones(stack: Stack) -> None:
    team = await stack.team()

    answer = await stack.post(team, {**GOOD, "model": "wan2.5-t2i-previw"})

    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"
    assert MODEL in answer.json()["error"]["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"null", b"\xff\xfe", b"[" * 5000])
async def test_a_body_that_is_no_json_object_is_400(stack: Stack, body: bytes) -> None:
    team = await stack.team()

    answer = await stack.client.post("/v1/images/generations", content=body, headers=team.headers)

    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


async def raw_post(stack: Stack, team: Team, framing: str, body: bytes) -> bytes:
    """Send only a part of a body and give the first line of what comes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(stack.url).port)
    head = (
        "POST /v1/images/generations HTTP/1.1\r\nhost: gateway\r\n"
        f"authorization: Bearer {team.key}\r\n{framing}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    await writer.drain()
    async with asyncio.timeout(20):
        line = await reader.readline()
    writer.close()
    return line


async def test_a_declared_length_over_the_cap_is_413_before_any_of_it_arrives(
    stack: Stack,
) -> None:
    team = await stack.team()

    line = await raw_post(stack, team, f"content-length: {2**40}", b"")

    assert b" 413 " in line


async def test_an_endless_body_is_413_as_soon_as_it_passes_the_cap(stack: Stack) -> None:
    team = await stack.team()
    piece = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"

    line = await raw_post(stack, team, "transfer-encoding: chunked", piece * 47)

    assert b" 413 " in line


async def test_a_small_route_takes_a_small_body(stack: Stack) -> None:
    team = await stack.team()

    answer = await stack.client.post(
        "/v1/tasks/unknown/cancel", content=b"x" * (1024 * 1024 + 1), headers=team.headers
    )

    assert answer.status_code == 413


async def test_unknown_addresses_and_methods_answer_in_the_dialects_shape(stack: Stack) -> None:
    native = await stack.client.get("/v1/nothing")
    method = await stack.client.delete("/v1/images/generations")
    dashscope = await stack.client.get("/api/v1/nothing")

    assert (native.status_code, native.json()["error"]["code"]) == (404, "route_not_found")
    assert method.status_code == 405
    assert dashscope.status_code == 404
    assert "code" in dashscope.json()


async def test_health_readiness_metrics_and_docs_answer_without_a_key(stack: Stack) -> None:
    health, ready = await stack.client.get("/healthz"), await stack.client.get("/readyz")
    metrics, docs = await stack.client.get("/metrics"), await stack.client.get("/docs")
    script = await stack.client.get("/docs/static/swagger-ui-bundle.js")
    openapi = (await stack.client.get("/openapi.json")).json()

    assert health.json() == {"status": "ok"}
    assert ready.json()["checks"] == {"postgres": "ok", "valkey": "ok"}
    assert "igw_http_requests_total" in metrics.text
    assert "https://" not in docs.text
    assert len(script.content) > 100_000
    assert "/v1/images/generations" in openapi["paths"]
    assert "/openai/v1/images/edits" in openapi["paths"]


async def test_fields_and_limits_are_reported_together(stack: Stack) -> None:
    team = await stack.team()

    answer = await stack.post(team, {**GOOD, "sead": 1, "n": 9, "size": "1x1", "seed": "x"})

    message = answer.json()["error"]["message"]
    assert answer.status_code == 400
    assert "sead" in message
    assert "n is 9" in message
    assert "1x1" in message
    assert message.count("seed must be") == 1


async def test_requests_are_counted_by_their_route(stack: Stack) -> None:
    team = await stack.team()
    await stack.get(team, "/v1/tasks/some-id")

    metrics = (await stack.client.get("/metrics")).text

    assert 'route="/v1/tasks/{task_id}",status="404"' in metrics
