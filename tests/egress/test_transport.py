"""How failures are told: only what certainly was not sent may look as if it was not sent."""

from __future__ import annotations

import asyncio
import socket
import warnings

import httpx
import pytest

from gateway.domain.model import Secret, Upstream
from gateway.egress.clients import upstream_client
from tests.support.receivers import Answer, Received, ScriptedDns, receiver, reply

NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


def client_of(port: int, *, timeout_ms: int = 5000) -> httpx.AsyncClient:
    upstream = Upstream(
        "own",
        "openai",
        f"http://127.0.0.1:{port}/v1",
        Secret("k"),
        allow_private=True,
        submit_timeout_ms=timeout_ms,
    )
    return upstream_client(upstream, ScriptedDns().lookup())


def raw(*parts: bytes) -> Answer:
    async def answer(_: Received, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()

    return answer


async def silence(_: Received, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(30)


async def reset(_: Received, writer: asyncio.StreamWriter) -> None:
    made = writer.get_extra_info("socket")
    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    writer.transport.abort()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (raw(), httpx.RemoteProtocolError),
        (reset, httpx.ReadError),
        (raw(b"not http at all\r\n\r\n"), httpx.RemoteProtocolError),
        (raw(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort"), httpx.RemoteProtocolError),
        (raw(b"HTTP/1.1 200 OK\r\nx: " + b"x" * 100_000), httpx.RemoteProtocolError),
        (silence, httpx.ReadTimeout),
    ],
    ids=["closed", "reset", "garbage", "cut short", "endless header", "silent"],
)
async def test_a_failure_after_the_request_was_written_never_looks_unsent(
    answer: Answer, error: type[Exception]
):
    async with receiver(answer) as server, client_of(server.port, timeout_ms=300) as client:
        with pytest.raises(error) as caught:
            await client.post("/images/generations", json={"prompt": "a cat"})

    assert len(server.requests) == 1
    assert not isinstance(caught.value, NOT_SENT)
    assert caught.value.__suppress_context__


async def test_a_post_that_was_cut_off_is_not_sent_again():
    async with receiver(raw()) as server, client_of(server.port) as client:
        for _ in range(3):
            with pytest.raises(httpx.RemoteProtocolError):
                await client.post("/images/generations", json={})

    assert server.connections == len(server.requests) == 3


async def test_a_closed_port_is_a_connect_error_in_the_systems_words():
    async with receiver(reply(200)) as server:
        closed = server.port
    async with client_of(closed) as client:
        with pytest.raises(httpx.ConnectError, match="Connection refused"):
            await client.post("/images/generations", json={})


async def test_an_unknown_name_is_a_connect_error():
    async with client_of(1) as client:
        with pytest.raises(httpx.ConnectError, match="does not resolve"):
            await client.get("http://nowhere.example.com/")


async def test_a_full_pool_is_a_connect_timeout():
    arrived = asyncio.Event()

    async def hold(_: Received, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await asyncio.sleep(30)

    async with receiver(hold) as server, client_of(server.port) as client:
        client._transport._limits = httpx.Limits(max_connections=1)  # type: ignore[attr-defined]
        first = asyncio.create_task(client.post("/a", json={}))
        await arrived.wait()
        with pytest.raises(httpx.ConnectTimeout):
            await client.post("/b", json={}, timeout=httpx.Timeout(5, pool=0.05, connect=0.05))
        first.cancel()

    assert [request.path for request in server.requests] == ["/v1/a"]


async def test_a_receiver_that_does_not_read_is_a_write_timeout():
    writers = []

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        writer.transport.pause_reading()  # type: ignore[attr-defined]

    server = await asyncio.start_server(deaf, "127.0.0.1", 0, limit=1024)
    async with client_of(server.sockets[0].getsockname()[1]) as client:
        with pytest.raises(httpx.WriteTimeout):
            await client.post(
                "/images/edits", content=bytes(30_000_000), timeout=httpx.Timeout(0.1)
            )
    server.close()
    for writer in writers:
        writer.transport.abort()
    await asyncio.sleep(0)


@pytest.mark.parametrize(
    "target",
    [
        "/v1/a%2Fb?sig=a%2Bb%3D&expires=1&x=a%20b+c&y=%7E~",
        "/v1/%2e%2e/x?q=%2E",
        "/v1/%E4%B8%AD?q=%E4%B8%AD",
        "/v1/x?a=1&a=2&&b",
    ],
)
async def test_a_signed_url_goes_out_as_it_came(target: str):
    async with receiver(reply(200)) as server, client_of(server.port) as client:
        await client.get(f"http://127.0.0.1:{server.port}{target}#part")

    assert [request.path for request in server.requests] == [target]


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 3_000_000])
async def test_a_body_of_any_size_arrives_whole_with_its_length(size: int):
    body = bytes(index % 251 for index in range(size))
    async with receiver(reply(200)) as server, client_of(server.port) as client:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            await client.post("/images/edits", content=body)

    assert server.requests[0].body == body
    assert server.requests[0].headers["content-length"] == str(size)
    assert "transfer-encoding" not in server.requests[0].headers


async def test_a_multipart_form_arrives_whole_with_its_length():
    picture = bytes(200_000)
    async with receiver(reply(200)) as server, client_of(server.port) as client:
        await client.post("/images/edits", files={"image": ("a.png", picture)}, data={"n": "1"})

    [request] = server.requests
    assert picture in request.body
    assert request.headers["content-type"].startswith("multipart/form-data; boundary=")


async def test_nothing_is_added_to_a_request_but_our_name():
    async with receiver(reply(200)) as server, client_of(server.port) as client:
        await client.get("/models", headers={"authorization": "Bearer k"})

    assert server.requests[0].headers == {
        "host": f"127.0.0.1:{server.port}",
        "accept": "*/*",
        "accept-encoding": "identity",
        "connection": "keep-alive",
        "user-agent": "image-gateway/0.1.0",
        "authorization": "Bearer k",
    }


async def test_cookies_are_neither_kept_nor_sent():
    answer = reply(200, set_cookie="session=1; Path=/")
    async with receiver(answer) as server, client_of(server.port) as client:
        await client.get("/a")
        await client.get("/b")

    assert "cookie" not in server.requests[1].headers
    assert not client.cookies


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch):
    async with receiver(reply(200)) as proxy, receiver(reply(200)) as server:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        async with client_of(server.port) as client:
            await client.get("/a")

    assert (proxy.connections, server.connections) == (0, 1)


async def test_a_connection_serves_several_requests_until_it_idles():
    answer = raw(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
    async with receiver(answer, keep_alive=True) as server, client_of(server.port) as client:
        for _ in range(3):
            await client.post("/images/generations", json={})

    assert len(server.requests) == 3
    assert server.connections == 1


async def test_an_answer_left_unread_costs_its_connection():
    answer = raw(b"HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\nstart")
    async with receiver(answer, keep_alive=True) as server, client_of(server.port) as client:
        for _ in range(2):
            async with client.stream("GET", "/big") as response:
                assert response.status_code == 200

    assert server.connections == 2
