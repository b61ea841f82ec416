"""Counterparts on loopback for what leaves the gateway: servers, a canary, scripted DNS."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from gateway.egress.resolve import AddrInfo, Lookup


@dataclass
class Received:
    """One request as it came off the wire."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Answer = Callable[[Received, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Receiver:
    """A tiny HTTP/1.1 server; `answer` writes whatever it wants, well-formed or not."""

    port: int = 0
    connections: int = 0
    requests: list[Received] = field(default_factory=list)


def reply(status: int, body: bytes = b"", **headers: str) -> Answer:
    """Answer every request the same way and close."""

    async def answer(_: Received, writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status} Whatever", f"content-length: {len(body)}", "connection: close"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)

    return answer


@contextlib.asynccontextmanager
async def receiver(
    answer: Answer, tls: ssl.SSLContext | None = None, *, keep_alive: bool = False
) -> AsyncIterator[Receiver]:
    """Serve `answer` on a free port of 127.0.0.1, counting connections and keeping requests."""
    seen = Receiver()
    writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.connections += 1
        writers.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                request = await _read_request(reader)
                seen.requests.append(request)
                await answer(request, writer)
                await writer.drain()
                if not keep_alive:
                    break
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    seen.port = server.sockets[0].getsockname()[1]
    try:
        yield seen
    finally:
        server.close()
        for writer in writers:
            # An answer may have aborted its connection already; TLS cannot be aborted twice.
            if not writer.transport.is_closing():
                writer.transport.abort()
            # TLS takes some turns of the loop to notice that the other side has gone.
            with contextlib.suppress(OSError, TimeoutError):
                await asyncio.wait_for(writer.wait_closed(), 1)


async def _read_request(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.strip().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Received(method, path, headers, body)


class Canary:
    """Listens on every address of this machine and remembers whether anybody came."""

    def __init__(self) -> None:
        self._sockets = [socket.socket(socket.AF_INET), socket.socket(socket.AF_INET6)]
        four, six = self._sockets
        six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        four.bind(("0.0.0.0", 0))
        self.port: int = four.getsockname()[1]
        six.bind(("::", self.port))
        for each in self._sockets:
            each.listen(64)
            each.setblocking(False)

    def heard(self) -> int:
        """Give how many connections have come since the last call."""
        count = 0
        for each in self._sockets:
            with contextlib.suppress(BlockingIOError):
                while True:
                    each.accept()[0].close()
                    count += 1
        return count

    def close(self) -> None:
        for each in self._sockets:
            each.close()


class ScriptedDns:
    """Answers look-ups from a table; a name's answers are given in turn, the last one for ever.

    Numbers that are no dotted quad resolve as libc resolves them (``127.1``, ``0x7f000001``).
    """

    def __init__(self, **answers: Sequence[Sequence[str]]) -> None:
        self.table = {name: list(turns) for name, turns in answers.items()}
        self.asked: list[str] = []

    def set(self, name: str, *turns: Sequence[str]) -> None:
        self.table[name] = list(turns)

    def lookup(self) -> Lookup:
        return Lookup(self)

    def __call__(self, host: str, port: int, **_: object) -> Sequence[AddrInfo]:
        self.asked.append(host)
        turns = self.table.get(host.removesuffix("."))
        if turns:
            return [_info(text, port) for text in (turns.pop(0) if len(turns) > 1 else turns[0])]
        try:
            return [_info(socket.inet_ntoa(socket.inet_aton(host)), port)]
        except OSError:
            raise socket.gaierror(socket.EAI_NONAME, "no such name") from None


def _info(text: str, port: int) -> AddrInfo:
    if ":" in text:
        return (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (text, port, 0, 0))
    return (socket.AF_INET, socket.SOCK_STREAM, 6, "", (text, port))
