"""Bounds of one connection: endless and slow headers, silence, bodies that nobody reads."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from gateway.http import connection
from gateway.http.connection import HEAD_BYTES_MAX, BoundedConnection

KEEP_ALIVE_S = 1
SOON_S = 0.3
GET = b"GET /whole HTTP/1.1\r\nhost: x\r\n"
CHUNKED = b"POST %s HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer 200 after the whole body, or 413 without reading any of it."""
    status = 413
    if scope["path"] == "/whole":
        status = 200
        while (message := await receive()).get("more_body"):
            pass
        if message["type"] == "http.disconnect":
            return
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


@dataclass
class Caller:
    """A connection to the server, byte by byte."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, bytes]:
        """Give the next answer's status and body."""
        async with asyncio.timeout(5):
            head = await self.reader.readuntil(b"\r\n\r\n")
            (length,) = (
                int(line.partition(b":")[2])
                for line in head.split(b"\r\n")
                if line.startswith(b"content-length")
            )
            return int(head.split()[1]), await self.reader.readexactly(length)

    async def is_closed(self, within_s: float = 5.0) -> bool:
        """Whether the server hangs up in time."""
        try:
            async with asyncio.timeout(within_s):
                return await self.reader.read(1) == b""
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False

    async def push(self, data: bytes, times: int) -> bool:
        """Send as long as the server lets us; gives whether it hung up."""
        for _ in range(times):
            try:
                await self.send(data)
            except ConnectionError:
                return True
            if self.writer.is_closing():
                return True
        return False


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    """A server with a small application behind it, whose patience is short."""
    monkeypatch.setattr(connection, "HEAD_WITHIN_S", SOON_S)
    monkeypatch.setattr(connection, "LINGER_S", SOON_S)
    config = uvicorn.Config(
        application,
        http=BoundedConnection,
        ws="none",
        lifespan="off",
        log_config=None,
        timeout_keep_alive=KEEP_ALIVE_S,
    )
    config.load()
    state = uvicorn.server.ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: BoundedConnection(config, state, {}), "127.0.0.1", 0
    )
    yield server.sockets[0].getsockname()[1]
    server.close()


@pytest.fixture
async def caller(port: int) -> AsyncIterator[Caller]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    yield Caller(reader, writer)
    writer.close()


async def test_a_connection_has_no_more_attributes_than_python_shares_the_names_of(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With more than thirty each connection has a dictionary of its own, of 1.6 KiB."""
    made = []
    real = BoundedConnection.connection_made

    def seen(self: BoundedConnection, transport: asyncio.Transport) -> None:
        made.append(self)
        real(self, transport)

    monkeypatch.setattr(BoundedConnection, "connection_made", seen)
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(GET + b"\r\n")
    await writer.drain()
    while not (made and made[0].cycle is not None and made[0].cycle.response_complete):
        await asyncio.sleep(0.01)
    writer.close()
    assert len(vars(made[0])) <= 30


async def test_a_long_head_within_its_bound_is_read(caller: Caller) -> None:
    await caller.send(GET + b"x-note: " + b"a" * (HEAD_BYTES_MAX - 1_000) + b"\r\n\r\n")
    assert await caller.answer() == (200, b"ok")
    assert not await caller.is_closed(SOON_S)


@pytest.mark.parametrize(
    "head",
    [
        GET + b"x-note: " + b"a" * HEAD_BYTES_MAX + b"\r\n\r\n",
        GET + b"x-note: aaaaaaaaaaaaaaaa\r\n" * 4_096 + b"\r\n",
        b"GET /" + b"a" * HEAD_BYTES_MAX + b" HTTP/1.1\r\nhost: x\r\n\r\n",
    ],
    ids=["one header", "many headers", "the address"],
)
async def test_a_longer_head_is_a_431_and_the_end(caller: Caller, head: bytes) -> None:
    await caller.push(head, 1)
    status, body = await caller.answer()
    error = json.loads(body)["error"]
    assert (status, error["code"]) == (431, "headers_too_large")
    assert "64 KiB" in error["message"]
    assert await caller.is_closed()


@pytest.mark.parametrize(
    "begin",
    [
        GET + b"x-note: ",
        b"GET /",
        b"",
        CHUNKED % b"/whole" + b"2\r\nok\r\n0\r\nx-trailer: ",
        CHUNKED % b"/whole" + b"2;",
    ],
    ids=["header", "address", "nothing", "trailer", "chunk extension"],
)
async def test_what_never_ends_is_cut_off(
    caller: Caller, begin: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEAD_WITHIN_S", 60)
    endless = b"\r\n" * 4_096 if begin == b"" else b"a" * 8_192
    await caller.push(begin + endless, 1)
    assert await caller.push(endless, 10_000)


async def test_a_head_that_dawdles_is_a_408_on_a_used_connection_too(caller: Caller) -> None:
    await caller.send(GET + b"\r\n")
    assert await caller.answer() == (200, b"ok")
    await asyncio.sleep(2 * SOON_S)
    started_s = time.monotonic()

    async def dawdle() -> None:
        for byte in GET * 10:
            await caller.push(bytes([byte]), 1)
            await asyncio.sleep(SOON_S / 10)

    dawdling = asyncio.create_task(dawdle())
    status, body = await caller.answer()
    dawdling.cancel()

    assert (status, json.loads(body)["error"]["code"]) == (408, "request_timeout")
    assert SOON_S * 0.9 < time.monotonic() - started_s < 10 * SOON_S
    assert await caller.is_closed()


async def test_a_head_in_pieces_that_is_quick_enough_is_read(caller: Caller) -> None:
    for _ in range(3):
        for piece in (GET[:7], GET[7:], b"\r\n"):
            await caller.send(piece)
            await asyncio.sleep(SOON_S / 10)
        assert await caller.answer() == (200, b"ok")
        await asyncio.sleep(SOON_S)


async def test_silence_ends_a_connection(caller: Caller) -> None:
    assert not await caller.is_closed(KEEP_ALIVE_S / 2)
    assert await caller.is_closed(KEEP_ALIVE_S * 3)


async def test_an_endless_body_gets_its_413_and_then_the_end(caller: Caller) -> None:
    await caller.send(CHUNKED % b"/refused")
    pushing = asyncio.create_task(caller.push(b"8\r\n01234567\r\n", 10_000_000))
    assert await caller.answer() == (413, b"ok")
    async with asyncio.timeout(5):
        assert await pushing


async def test_a_stopped_body_holds_a_connection_no_longer(caller: Caller) -> None:
    await caller.send(CHUNKED % b"/refused" + b"8\r\n0123")
    assert await caller.answer() == (413, b"ok")
    assert await caller.is_closed(KEEP_ALIVE_S)


async def test_a_body_that_ends_soon_leaves_the_connection_for_the_next(caller: Caller) -> None:
    await caller.send(CHUNKED % b"/refused" + b"8\r\n0123")
    assert await caller.answer() == (413, b"ok")
    await caller.send(b"4567\r\n0\r\n\r\n")
    await asyncio.sleep(2 * SOON_S)
    await caller.send(GET + b"\r\n")
    assert await caller.answer() == (200, b"ok")
    assert await caller.is_closed(KEEP_ALIVE_S * 3)


async def test_a_body_in_two_pieces_leaves_no_deadline_behind(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "BODY_WITHIN_S", SOON_S)
    for _ in range(2):
        await caller.send(b"POST /whole HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nab")
        await asyncio.sleep(SOON_S / 3)
        await caller.send(b"cd")
        assert await caller.answer() == (200, b"ok")
        assert not await caller.is_closed(2 * SOON_S)


async def test_requests_in_one_piece_are_answered_in_turn(caller: Caller) -> None:
    await caller.send((GET + b"\r\n") * 3 + CHUNKED % b"/whole" + b"2\r\nok\r\n0\r\n\r\n")
    assert [await caller.answer() for _ in range(4)] == [(200, b"ok")] * 4


async def test_what_is_no_http_is_a_400_and_the_end(caller: Caller) -> None:
    await caller.send(b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n")
    status, body = await caller.answer()
    assert (status, json.loads(body)["error"]["code"]) == (400, "invalid_http")
    assert await caller.is_closed()
