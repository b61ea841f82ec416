"""Bodies that are too deep, too long or too slow are refused, and cost nothing."""

from __future__ import annotations

import asyncio

import pytest

from gateway.http import connection
from gateway.simulator import Script
from tests.support.stack import MODEL, Stack

PATHS = (
    "/v1/images/generations",
    "/evolink/v1/images/generations",
    "/modelverse/v1/tasks/submit",
    "/qingbo/v1/tasks",
    "/api/v1/services/aigc/text2image/image-synthesis",
)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("opening", ["[", '{"a":'], ids=["list", "object"])
async def test_a_bottomless_body_is_no_json(stack: Stack, path: str, opening: str) -> None:
    team = await stack.team()
    headers = {**team.headers, "content-type": "application/json", "x-dashscope-async": "enable"}
    answer = await stack.client.post(path, content=opening * 100_000, headers=headers)
    assert answer.status_code == 400, answer.text


async def test_a_deep_field_is_refused_by_name(stack: Stack) -> None:
    team = await stack.team()
    deep: object = "x"
    for _ in range(200):
        deep = [deep]
    answer = await stack.post(team, {"model": MODEL, "prompt": deep})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "prompt")


@pytest.mark.parametrize("sent", [b"", b'{"model": "w'], ids=["nothing", "half"])
async def test_a_body_that_does_not_come_is_not_waited_for(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(connection, "BODY_WITHIN_S", 0.2)
    team = await stack.team()
    port = int(stack.url.rsplit(":", 1)[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = (
        "POST /v1/images/generations HTTP/1.1\r\nhost: here\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {team.key}\r\ncontent-length: 1000\r\n\r\n"
    )
    writer.write(head.encode() + sent)
    async with asyncio.timeout(5):
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"incomplete_body" in answer
    writer.close()


async def test_many_slow_senders_keep_nobody_waiting(stack: Stack) -> None:
    team = await stack.team()
    port = int(stack.url.rsplit(":", 1)[1])
    head = (
        "POST /v1/images/generations HTTP/1.1\r\nhost: here\r\n"
        f"authorization: Bearer {team.key}\r\ncontent-length: 1000\r\n\r\n"
    )
    slow = [await asyncio.open_connection("127.0.0.1", port) for _ in range(200)]
    for _, writer in slow:
        writer.write(head.encode())
    answer = await stack.post(team, {"model": MODEL, "prompt": "a kite"})
    assert answer.status_code == 200
    assert (await stack.ended(team, answer.json()["id"]))["status"] == "completed"
    for _, writer in slow:
        writer.close()


async def test_a_caller_without_a_seat_gets_its_tasks_id(stack: Stack) -> None:
    team = await stack.team()
    stack.simulator.script("evolink", Script(work_ms=2_000))
    seats, body = stack.gateway.core.seats, {"model": MODEL, "prompt": "a kite"}
    seats.most = 1
    first = asyncio.create_task(stack.post(team, body, headers={"prefer": "wait=20"}))
    async with asyncio.timeout(5):
        while not seats.taken:
            await asyncio.sleep(0.01)
    second = await stack.post(team, {**body, "response_format": "url"})
    streamed = await stack.post(team, {**body, "stream": True})
    watched = await stack.get(team, f"/v1/tasks/{second.headers['x-task-id']}/events")

    assert (second.status_code, second.json()["error"]["code"]) == (504, "wait_expired")
    assert second.headers["x-task-id"] in second.json()["error"]["message"]
    for events in (streamed.text, watched.text):
        assert "event: error" in events
        assert "wait_expired" in events
    assert (await first).json()["status"] == "completed"
    assert seats.taken == 0
    ended = await stack.ended(team, second.headers["x-task-id"])
    assert ended["status"] == "completed"
    await stack.assert_ledger_is_clean()
