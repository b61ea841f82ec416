"""HTTP under the address guard, with exact errors and exact URLs: for httpx, and without it.

A client of our own over `gateway.egress.wire`: others were tried (decisions 6 and 16). One
reports a server that closed the connection after reading the request as "never sent", which a
paid submit must not believe; some quote links anew, which breaks signed ones.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache

import httpx

from gateway.egress.guard import Exemption, OwnHost, Resolver, open_public_socket
from gateway.egress.pool import Origin, Pool
from gateway.egress.resolve import Lookup
from gateway.egress.wire import Wire

OWN_HOST = "gateway.own_host"
"""Request extension: the host of a private upstream, exempt for this request (its results)."""

# Sent again, once, when an idle connection turns out to be closed: these change nothing by it.
_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_PORTS = {"http": 80, "https": 443}
PORTS_END = 65_536
_PLAIN_URL = re.compile(
    r"(https?://[a-z0-9.:\[\]-]+)(/(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]++|%[0-9A-Fa-f]{2})*+)"
)


class _Exchange:
    """An answer whose head is there: ``status``, ``headers``, and the body as it arrives."""

    __slots__ = ("_origin", "_pool", "_wire")

    def __init__(self, pool: Pool, origin: Origin, wire: Wire) -> None:
        self._pool: Pool | None = pool
        self._origin = origin
        self._wire = wire

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self._wire.status

    @property
    def raw_headers(self) -> Sequence[tuple[bytes, bytes]]:
        """The headers as they were sent."""
        return self._wire.headers

    async def read(self) -> bytes:
        """Give the next part of the body, empty at its end."""
        return await self._wire.read()

    def close(self) -> None:
        """Let the connection serve again, or cut it when the answer was not read to its end."""
        if self._pool is not None:
            self._pool.give_back(self._origin, self._wire)
            self._pool = None


class _Body(httpx.AsyncByteStream):
    """The answer's body as it arrives; closing early drops the connection."""

    def __init__(self, exchange: _Exchange) -> None:
        self._exchange = exchange

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while part := await self._exchange.read():
            yield part

    async def aclose(self) -> None:
        self._exchange.close()


class GuardedTransport(httpx.AsyncBaseTransport):
    """Sends requests; only hosts the exemption covers skip the guard.

    Guarded and exempt hosts have separate pools, so no connection is ever shared between them.
    Raises only httpx.TransportError; AddressRefused when the guard said no.
    """

    def __init__(
        self,
        lookup: Lookup,
        exemption: Exemption,
        tls: ssl.SSLContext,
        limits: httpx.Limits,
    ) -> None:
        self._lookup = lookup
        self._exemption = exemption
        self._tls = tls
        self._limits = limits
        self._pools: dict[bool, Pool] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request, never following a redirect; the body arrives as a stream."""
        url = request.url
        origin = _origin_of(url)
        lines = [
            b"%b: %b\r\n" % line
            for line in request.headers.raw
            if line[0].lower() not in {b"content-length", b"transfer-encoding"}
        ]
        exchange = await self._begun(
            origin,
            request.method,
            _head(request.method, url.raw_path, lines),
            await request.aread(),
            request.extensions.get("timeout", {}),
            request.extensions.get(OWN_HOST),
        )
        extensions = {"http_version": b"HTTP/1.1"}
        body = _Body(exchange)
        headers = list(exchange.raw_headers)
        return httpx.Response(exchange.status, headers=headers, stream=body, extensions=extensions)

    @asynccontextmanager
    async def opened(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        times: Mapping[str, float | None],
    ) -> AsyncIterator[_Exchange]:
        """Send a request and give its answer, without httpx's records around them.

        ``times`` are httpx's timeouts by name. Raises httpx.TransportError, httpx.InvalidURL.
        """
        base, target = _split(url)
        origin, host_line = _base(base)
        lines = [host_line, *(f"{name}: {value}\r\n".encode() for name, value in headers.items())]
        head = _head(method, target, lines)
        exchange = await self._begun(origin, method, head, body, times, None)
        try:
            yield exchange
        finally:
            exchange.close()

    async def _begun(
        self,
        origin: Origin,
        method: str,
        head: bytes,
        body: bytes,
        times: Mapping[str, float | None],
        own_host: str | None,
    ) -> _Exchange:
        pool = self._pool(guarded=not await self._is_exempt(origin, own_host))
        connect_s = _sum(times.get("pool"), times.get("connect"))
        if body or method in _WITH_BODY:
            head = b"%bcontent-length: %d\r\n" % (head, len(body))
        while True:
            wire = await pool.take(origin, connect_s)
            try:
                await wire.ask(
                    head + b"\r\n", body, write_s=times.get("write"), read_s=times.get("read")
                )
                return _Exchange(pool, origin, wire)
            except httpx.TransportError:
                again = wire.is_stale and wire.exchanges > 1 and method in _REPEATABLE
                pool.give_back(origin, wire)
                if not again:
                    raise
            except BaseException:
                pool.give_back(origin, wire)
                raise

    async def _is_exempt(self, origin: Origin, own_host: str | None) -> bool:
        if await self._exemption.covers(origin.host, origin.port):
            return True
        if own_host is None:
            return False
        return await OwnHost(own_host, self._lookup).covers(origin.host, origin.port)

    def _pool(self, *, guarded: bool) -> Pool:
        if guarded not in self._pools:
            resolver = Resolver(self._lookup, guarded=guarded)
            make_socket = open_public_socket if guarded else None
            self._pools[guarded] = Pool(resolver, make_socket, self._tls, self._limits)
        return self._pools[guarded]

    async def aclose(self) -> None:
        """Close all connections and end the look-up threads."""
        for pool in self._pools.values():
            pool.close()
        self._lookup.close()
        # The loop closes sockets in its next turn.
        await asyncio.sleep(0)


def _head(method: str, target: bytes, lines: Sequence[bytes]) -> bytes:
    """Give a request's first line and headers. Raises httpx.UnsupportedProtocol.

    Nothing that was handed in may begin a line of its own.
    """
    head = b"%b %b HTTP/1.1\r\n%b" % (method.encode(), target, b"".join(lines))
    ends = len(lines) + 1
    if head.count(b"\r") != ends or head.count(b"\n") != ends or b"\0" in head:
        raise httpx.UnsupportedProtocol("the request is not usable")
    return head


def _split(url: str) -> tuple[str, bytes]:
    """Give a URL's scheme and authority, and its path with query as httpx writes them.

    A plain one needs no httpx for it, which takes as long as the rest of a short exchange.
    """
    if (plain := _PLAIN_URL.fullmatch(url)) and "/." not in url:
        return plain[1], plain[2].encode()
    parsed = httpx.URL(url)
    return f"{parsed.scheme}://{parsed.netloc.decode('ascii')}", parsed.raw_path


def _origin_of(url: httpx.URL) -> Origin:
    """Give where a URL leads. Raises httpx.UnsupportedProtocol."""
    port = _PORTS.get(url.scheme) if url.port is None else url.port
    if url.scheme not in _PORTS or not url.host or not 0 < (port or 0) < PORTS_END:
        raise httpx.UnsupportedProtocol("the URL is not usable")
    return Origin(url.scheme, url.raw_host.decode("ascii"), port or 0)


@lru_cache(maxsize=1024)
def _base(text: str) -> tuple[Origin, bytes]:
    """Give the origin of a URL without path, and its Host header.

    Raises httpx.InvalidURL, httpx.UnsupportedProtocol.
    """
    url = httpx.URL(text)
    return _origin_of(url), b"host: %b\r\n" % url.netloc


def _sum(*seconds: float | None) -> float | None:
    """Add durations; one without a limit makes the sum unlimited."""
    known = [each for each in seconds if each is not None]
    return sum(known) if len(known) == len(seconds) else None
