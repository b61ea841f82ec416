"""The HTTP client under the transport: what servers may send, what connections are used again."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Awaitable, Callable

import httpx
import pytest

from gateway.domain.errors import Sent, UpstreamError
from gateway.domain.model import Secret, Upstream
from gateway.egress.clients import GuardedClient, fetch_client, upstream_client
from gateway.upstreams import build
from tests.support.receivers import Answer, Received, ScriptedDns, receiver, reply
from tests.upstreams.support import NOW_S, job

ANOTHER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]"
JSON = b'{"id": "task-1", "status": "pending"}'


def account(port: int) -> Upstream:
    base = f"http://127.0.0.1:{port}/v1"
    return Upstream("own", "evolink", base, Secret("k"), allow_private=True)


def client_of(port: int) -> GuardedClient:
    return upstream_client(account(port), ScriptedDns().lookup())


def says(*parts: bytes, close: bool = False) -> Answer:
    async def answer(_: Received, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.01)
        if close:
            writer.close()

    return answer


async def whole(client: GuardedClient, method: str, url: str, body: bytes = b"") -> bytes:
    async with client.opened(method, url, {}, body) as answer:
        parts = []
        while part := await answer.read():
            parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize(
    "parts",
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 37\r\n\r\n" + JSON,),
        (b"HTTP/1.1 200 OK\r\ncontent-le", b"ngth: 37\r\n\r\n" + JSON[:5], JSON[5:]),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n25\r\n", JSON, b"\r\n0\r\n\r\n"),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            b"5;note=1\r\n" + JSON[:5] + b"\r\n20\r\n" + JSON[5:],
            b"\r\n0\r\ntrailer: x\r\n\r\n",
        ),
        (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 37\r\n\r\n" + JSON),
        (
            b"HTTP/1.1 103 Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 37\r\n\r\n",
            JSON,
        ),
        (b"HTTP/1.1 200 OK\ncontent-length: 37\n\n" + JSON,),
        (b"HTTP/1.1 200\r\nContent-Length:37\r\nx-empty:\r\n\r\n" + JSON,),
    ],
    ids=["one", "split", "chunked", "trailers", "continue", "hints", "bare", "terse"],
)
async def test_an_answer_is_read_however_it_is_framed(parts: tuple[bytes, ...]):
    async with receiver(says(*parts), keep_alive=True) as server, client_of(server.port) as client:
        url = f"http://127.0.0.1:{server.port}/v1/tasks"
        assert [await whole(client, "POST", url, b"{}") for _ in range(2)] == [JSON, JSON]
        answer = await client.post("/tasks", json={})

    assert answer.content == JSON
    assert "link" not in answer.headers
    assert server.connections == 1


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n"])
async def test_an_answer_without_a_length_ends_with_its_connection(head: bytes):
    answer = says(head + JSON[:9], JSON[9:])
    async with receiver(answer) as server, client_of(server.port) as client:
        url = f"http://127.0.0.1:{server.port}/v1/tasks"
        assert [await whole(client, "POST", url) for _ in range(2)] == [JSON, JSON]

    assert server.connections == 2


@pytest.mark.parametrize(
    "answer",
    [
        says(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}" + ANOTHER),
        says(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", ANOTHER),
        says(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}"),
    ],
    ids=["second answer", "late answer", "says close"],
)
async def test_a_connection_that_said_too_much_serves_nobody_else(answer: Answer):
    async with receiver(answer, keep_alive=True) as server, client_of(server.port) as client:
        for _ in range(2):
            url = f"http://127.0.0.1:{server.port}/v1/tasks"
            assert await whole(client, "POST", url, b"{}") == b"{}"
            await asyncio.sleep(0.05)

    assert server.connections == 2


async def test_a_connection_that_spoke_unasked_is_left_before_anything_is_sent(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("gateway.egress.transport._TRIES_MAX", 1)
    answer = says(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", ANOTHER)
    async with receiver(answer, keep_alive=True) as server, client_of(server.port) as client:
        url = f"http://127.0.0.1:{server.port}/v1/tasks"
        await whole(client, "POST", url, b"{}")
        await asyncio.sleep(0.05)
        with pytest.raises(httpx.ConnectError, match="before it is asked"):
            await whole(client, "POST", url, b"{}")

    assert len(server.requests) == 1


def closing_second() -> tuple[Answer, Callable[[], int]]:
    """Answer the first call of a connection; read the second of it and close."""
    served: dict[asyncio.StreamWriter, int] = {}

    async def answer(_: Received, writer: asyncio.StreamWriter) -> None:
        served[writer] = served.get(writer, 0) + 1
        if served[writer] > 1:
            writer.close()
            return
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")

    return answer, lambda: sum(served.values())


async def test_a_query_that_meets_a_closing_connection_is_asked_again():
    answer, served = closing_second()
    async with receiver(answer, keep_alive=True) as server, client_of(server.port) as client:
        url = f"http://127.0.0.1:{server.port}/v1/tasks/t1"
        assert [await whole(client, "GET", url) for _ in range(3)] == [b"{}"] * 3

    assert (server.connections, served()) == (3, 5)


async def test_a_paid_call_that_meets_a_closing_connection_is_never_sent_again():
    answer, served = closing_second()
    async with receiver(answer, keep_alive=True) as server, client_of(server.port) as client:
        url = f"http://127.0.0.1:{server.port}/v1/images/generations"
        await whole(client, "POST", url, b"{}")
        with pytest.raises(httpx.RemoteProtocolError, match="closed without an answer"):
            await whole(client, "POST", url, b"{}")

    assert served() == 2


async def test_an_idle_connection_is_used_only_for_a_while(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gateway.egress.clients.KEEPALIVE_S", 0.1)
    answer = says(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
    async with receiver(answer, keep_alive=True) as server, client_of(server.port) as client:
        url = f"http://127.0.0.1:{server.port}/v1/tasks/t1"
        for pause_s in (0.0, 0.0, 0.3):
            await whole(client, "GET", url)
            await asyncio.sleep(pause_s)
        assert server.connections == 1
        await whole(client, "GET", url)

    assert server.connections == 2


async def test_a_body_that_nobody_reads_makes_its_server_wait():
    written = 0

    async def endless(_: Received, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while written < 100_000_000:
            writer.write(b"x" * 100_000)
            written += 100_000
            await writer.drain()

    async with receiver(endless) as server, client_of(server.port) as client:
        url = f"http://127.0.0.1:{server.port}/v1/big"
        async with client.opened("GET", url, {}, times={"read": 0.2}) as answer:
            await asyncio.sleep(0.5)
            assert written < 50_000_000
            before = written
            size = 0
            while size < 20_000_000:
                size += len(await answer.read())
        assert written > before


async def test_who_is_cancelled_leaves_no_answer_to_the_next():
    slow = asyncio.Event()

    async def answer(received: Received, writer: asyncio.StreamWriter) -> None:
        if received.path.endswith("slow"):
            await slow.wait()
        body = received.path.encode()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)

    async with receiver(answer, keep_alive=True) as server, client_of(server.port) as client:
        url = f"http://127.0.0.1:{server.port}/v1/"
        asking = asyncio.create_task(whole(client, "GET", url + "slow"))
        await asyncio.sleep(0.05)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        slow.set()
        assert await whole(client, "GET", url + "quick") == b"/v1/quick"


async def test_a_thousand_blocking_calls_are_at_the_vendor_at_once():
    arrived, everybody = 0, asyncio.Event()

    async def answer(_: Received, writer: asyncio.StreamWriter) -> None:
        nonlocal arrived
        arrived += 1
        if arrived == 1000:
            everybody.set()
        await everybody.wait()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")

    async with receiver(answer, keep_alive=True) as server, client_of(server.port) as client:
        url = f"http://127.0.0.1:{server.port}/v1/images/generations"
        async with asyncio.timeout(60):
            found = await asyncio.gather(*(whole(client, "POST", url) for _ in range(1000)))

    assert found == [b"{}"] * 1000


@pytest.mark.parametrize(("method", "body"), [("GET", b""), ("POST", b""), ("POST", b"{}")])
async def test_no_header_is_sent_that_nobody_gave(method: str, body: bytes):
    async with receiver(reply(200)) as server, client_of(server.port) as client:
        await whole(client, method, f"http://127.0.0.1:{server.port}/v1/tasks", body)

    given = {"accept", "accept-encoding", "connection", "host", "user-agent"}
    length = {"content-length"} if method == "POST" else set()
    assert set(server.requests[0].headers) == given | length


async def test_a_line_break_in_a_header_sends_nothing():
    async with receiver(reply(200)) as server, client_of(server.port) as client:
        url = f"http://127.0.0.1:{server.port}/v1/tasks"
        for header in ("a\r\nb: c", "a\nb: c", "a\rb", "a\0b"):
            with pytest.raises(httpx.UnsupportedProtocol):
                async with client.opened("POST", url, {"x-note": header}):
                    raise AssertionError(header)

    assert server.connections == 0


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/tasks/t1?logs=0", "/v1/tasks/t1?logs=0"),
        ("/tasks/..%2Fkeys%3Fx%3D1", "/v1/tasks/..%2Fkeys%3Fx%3D1"),
        ("/tasks/灯 笼", "/v1/tasks/%E7%81%AF%20%E7%AC%BC"),
        ("/tasks/100%", "/v1/tasks/100%"),
        ("/tasks/./t1", "/v1/tasks/t1"),
        ("/tasks/t1#part", "/v1/tasks/t1"),
        ('/tasks/"' + "a" * 5_000, "/v1/tasks/%22" + "a" * 5_000),
    ],
)
async def test_a_path_is_written_as_httpx_writes_it(path: str, target: str):
    async with receiver(reply(200)) as server, client_of(server.port) as client:
        await whole(client, "GET", f"http://127.0.0.1:{server.port}/v1{path}")
        await client.get(path)

    assert [request.path for request in server.requests] == [target, target]


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/x", "http:///x", "http://127.0.0.1:99999/x", "x"])
async def test_a_url_that_is_none_sends_nothing(url: str):
    async with client_of(1) as client:
        with pytest.raises((httpx.UnsupportedProtocol, httpx.InvalidURL)):
            await whole(client, "GET", url)


async def test_a_closed_client_sends_nothing():
    client = client_of(1)
    await client.aclose()
    with pytest.raises(httpx.ConnectError, match="closed"):
        await whole(client, "POST", "http://127.0.0.1:1/x")


async def refused(calls: list[Awaitable[bytes]]) -> None:
    found = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(one, httpx.ConnectError) for one in found)


async def test_who_asks_for_a_name_at_once_shares_the_answer():
    dns = ScriptedDns(**{"hooks.internal": [["127.0.0.1"]]})
    async with receiver(reply(200, JSON)) as server:
        allowed = [f"hooks.internal:{server.port}"]
        async with fetch_client(allowed, lookup=dns.lookup()) as client:
            url = f"http://hooks.internal:{server.port}/"
            found = await asyncio.gather(*(whole(client, "GET", url) for _ in range(5)))
            assert found == [JSON] * 5
            assert dns.asked == ["hooks.internal"]
            await refused([whole(client, "GET", "http://nowhere.example.com/") for _ in range(3)])
            await refused([whole(client, "GET", "http://nowhere.example.com/")])

    assert dns.asked == ["hooks.internal", "nowhere.example.com", "nowhere.example.com"]


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "GZIP"])
async def test_an_answer_that_is_compressed_unasked_is_still_an_answer(coding: str):
    packed = gzip.compress(JSON)
    answer = reply(200, packed, content_encoding=coding)
    async with receiver(answer) as server:
        adapter = build(account(server.port), client_of(server.port), lambda: NOW_S)
        accepted = await adapter.submit(job("evolink", "wan2.5-t2i-preview"))
        await adapter.aclose()

    assert accepted.upstream_task_id == "task-1"


@pytest.mark.parametrize("packed", [b"not gzip at all", gzip.compress(b" " * 50_000_000)])
async def test_a_compression_that_is_none_or_a_bomb_leaves_the_outcome_unknown(packed: bytes):
    async with receiver(reply(200, packed, content_encoding="gzip")) as server:
        adapter = build(account(server.port), client_of(server.port), lambda: NOW_S)
        with pytest.raises(UpstreamError) as raised:
            await adapter.submit(job("evolink", "wan2.5-t2i-preview"))
        await adapter.aclose()

    assert raised.value.sent is Sent.UNKNOWN
