"""The light HTTP layer under the vendors: a request, a reply, and the ASGI application between.

Routing is left to the vendor, which sees method and path; there is no framework on the way, because
the simulator is the counterpart of load tests. Connections can be reset, left silent, dripped or
cut in the middle of an answer.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import orjson
from starlette.datastructures import FormData, Headers
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.simulator.faults import ConnectionDropped, NeverAnswered

WAIT_MAX_S = 60
DRIP_BYTES = 8
DRIP_PAUSE_S = 0.2


class BadBody(Exception):
    """The body of a request is not what its route takes."""


class Request:
    """One HTTP request: method, path, headers by lower-case name, the whole body."""

    __slots__ = ("_scope", "body", "headers", "method", "path")

    def __init__(self, scope: Scope, body: bytes) -> None:
        self._scope = scope
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.body = body

    @property
    def query(self) -> dict[str, str]:
        """The query parameters; the last of equal names."""
        return dict(parse_qsl(self._scope["query_string"].decode(), keep_blank_values=True))

    @property
    def origin(self) -> str:
        """Scheme and authority the caller used, so that links work wherever the caller stands."""
        host = self.headers.get(b"host")
        if host is None:
            address, port = self._scope["server"]
            return f"http://{address}:{port}"
        return f"http://{host.decode('latin-1')}"

    def header(self, name: str) -> str | None:
        """One header's value, None when it was not sent."""
        value = self.headers.get(name.encode())
        return None if value is None else value.decode("latin-1")

    def prefer_wait_s(self) -> int:
        """Seconds asked for by ``Prefer: wait`` or ``wait=N``, at most 60; 0 without it."""
        for part in (self.header("prefer") or "").split(","):
            name, _, value = part.strip().partition("=")
            if name == "wait":
                return min(int(value), WAIT_MAX_S) if value.isdecimal() else WAIT_MAX_S
        return 0

    def json(self) -> dict[str, Any]:
        """The body as a JSON object; BadBody when it is none."""
        try:
            value = orjson.loads(self.body)
        except orjson.JSONDecodeError as error:
            raise BadBody(f"the body is not JSON: {error}") from error
        if not isinstance(value, dict):
            raise BadBody("the body is not a JSON object")
        return value

    @asynccontextmanager
    async def form(self) -> AsyncIterator[FormData]:
        """The body as multipart form data, closed afterwards; BadBody when it is none."""

        async def chunks() -> AsyncGenerator[bytes, None]:
            yield self.body

        headers = Headers(scope=self._scope)
        if not headers.get("content-type", "").startswith("multipart/form-data"):
            raise BadBody("the body is not multipart/form-data")
        try:
            form = await MultiPartParser(headers, chunks()).parse()
        except (MultiPartException, KeyError) as error:
            raise BadBody(f"the form cannot be read: {error}") from error
        try:
            yield form
        finally:
            await form.close()


@dataclass(slots=True)
class Reply:
    """One HTTP answer: JSON, bytes, or a stream of bytes.

    ``dripped`` sends the body a few bytes at a time; ``cut`` resets the connection half way through
    it.
    """

    payload: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    dripped: bool = False
    cut: bool = False

    def encoded(self) -> bytes:
        """The body's bytes; not for streams."""
        return self.payload if isinstance(self.payload, bytes) else orjson.dumps(self.payload)


Handler = Callable[[Request], Awaitable[Reply]]


def application(handler: Handler) -> ASGIApp:
    """Make an ASGI application of a handler."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        body = await _read(receive)
        if body is None:
            return
        transport: asyncio.Transport = scope["state"]["transport"]
        try:
            reply = await handler(Request(scope, body))
            await _send(reply, send, transport)
        except ConnectionDropped:
            reset(transport)
            await _until_gone(receive)
        except NeverAnswered:
            await _until_gone(receive)
        except asyncio.CancelledError:
            # The listener was taken down: the connection is reset, there is nobody to tell.
            return

    return app


def reset(transport: asyncio.Transport) -> None:
    """Close a connection with a TCP reset; what was not yet sent is lost."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def _read(receive: Receive) -> bytes | None:
    """The whole body, None when the client left."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue


async def _send(reply: Reply, send: Send, transport: asyncio.Transport) -> None:
    headers = [(b"content-type", reply.content_type.encode())]
    headers += [(name.encode(), value.encode()) for name, value in reply.headers.items()]
    streamed = isinstance(reply.payload, AsyncIterator)
    body = b"" if streamed else reply.encoded()
    if not streamed:
        headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    if streamed:
        async for chunk in reply.payload:
            if transport.is_closing():
                raise NeverAnswered
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    elif reply.cut:
        half = body[: len(body) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})
        await asyncio.sleep(DRIP_PAUSE_S)
        raise ConnectionDropped
    elif reply.dripped:
        for start in range(0, len(body), DRIP_BYTES):
            if transport.is_closing():
                raise NeverAnswered
            piece = body[start : start + DRIP_BYTES]
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            await asyncio.sleep(DRIP_PAUSE_S)
        await send({"type": "http.response.body", "body": b""})
    else:
        await send({"type": "http.response.body", "body": body})


def blank(value: Any) -> Any:
    """The same JSON with nothing in it: empty lists, empty strings."""
    if isinstance(value, Mapping):
        return {name: blank(item) for name, item in value.items()}
    if isinstance(value, list):
        return []
    return "" if isinstance(value, str) else value


def wrong_types(value: Any) -> Any:
    """The same JSON with every type exchanged: text for numbers, numbers for text, objects for
    lists.
    """
    if isinstance(value, Mapping):
        return {name: wrong_types(item) for name, item in value.items()}
    if isinstance(value, list):
        return {"items": len(value)}
    return len(value) if isinstance(value, str) else str(value)
