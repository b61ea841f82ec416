"""HTTP over aiohttp, with the address guard, exact errors and exact URLs; for httpx, or alone.

`httpx-aiohttp` is not used: it reports a server that closed the connection after reading the
request as ``ConnectTimeout``, which says "nothing was sent" about a submit that may have been
billed, and it re-quotes URLs, which breaks signed links. httpx's own records around a small
exchange cost as much as the exchange (decision 16).
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import lru_cache, partial

import aiohttp
import httpx
from aiohttp.connector import Connection
from yarl import URL

from gateway.egress.guard import (
    AddressNotPublic,
    AddressRefused,
    Exemption,
    OwnHost,
    Resolver,
    open_public_socket,
)
from gateway.egress.resolve import Lookup

OWN_HOST = "gateway.own_host"
"""Request extension: the host of a private upstream, exempt for this request (its results)."""

_CHUNK = 64 * 1024
_AUTOMATIC_HEADERS = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_PLAIN_URL = re.compile(
    r"https?://[a-z0-9.:\[\]-]+/(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]++|%[0-9A-Fa-f]{2})*+"
)
_BREAKS_A_LINE = re.compile(r"[\r\n\0]")
_TRIES_MAX = 3

# The first class that matches names the httpx error and the opaque words. Only ConnectError,
# ConnectTimeout and UnsupportedProtocol say that nothing was sent.
_ERRORS: tuple[tuple[type[Exception], type[httpx.TransportError], str], ...] = (
    (aiohttp.ConnectionTimeoutError, httpx.ConnectTimeout, "no connection in time"),
    (aiohttp.ClientConnectorDNSError, httpx.ConnectError, "the host name does not resolve"),
    (
        aiohttp.ClientConnectorCertificateError,
        httpx.ConnectError,
        "the TLS certificate is not trusted",
    ),
    (aiohttp.ClientSSLError, httpx.ConnectError, "the TLS handshake failed"),
    (aiohttp.ClientConnectorError, httpx.ConnectError, "the connection was not accepted"),
    (aiohttp.InvalidURL, httpx.UnsupportedProtocol, "the URL is not usable"),
    (aiohttp.NonHttpUrlClientError, httpx.UnsupportedProtocol, "the URL is not usable"),
    (aiohttp.ServerTimeoutError, httpx.ReadTimeout, "no answer in time"),
    (
        aiohttp.ServerDisconnectedError,
        httpx.RemoteProtocolError,
        "the connection was closed without an answer",
    ),
    (aiohttp.ClientPayloadError, httpx.RemoteProtocolError, "the answer is incomplete"),
    (aiohttp.ClientResponseError, httpx.RemoteProtocolError, "the answer is not HTTP"),
    (aiohttp.ClientError, httpx.ReadError, "the connection broke"),
    (OSError, httpx.ReadError, "the connection broke"),
)


def _translated(error: aiohttp.ClientError | OSError) -> httpx.TransportError:
    """Give httpx's error for one of aiohttp's.

    To be raised without the original, which quotes URLs, request headers, resolved addresses.
    """
    if isinstance(getattr(error, "os_error", None), AddressNotPublic):
        return AddressRefused(str(AddressNotPublic()))
    translation, words = next(row[1:] for row in _ERRORS if isinstance(error, row[0]))
    return translation(words + _detail(error))


def _detail(error: Exception) -> str:
    """Give the part of an error that is safe to show: the system's or TLS's own words."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f": {getattr(error.certificate_error, 'verify_message', 'not valid')}"
    if isinstance(error, (aiohttp.ClientConnectorDNSError, aiohttp.ClientSSLError)):
        return ""
    code = (error.errno or 0) if isinstance(error, OSError) else 0
    return f": {os.strerror(code)}" if code in errno.errorcode else ""


class _AnsweredUnasked(aiohttp.ClientConnectionError):
    """The server had said something on this connection before anything was sent."""


class _Request(aiohttp.ClientRequest):
    """A request that goes out only on a connection on which nothing waits to be read.

    Servers are known to answer an idle connection (with a 408, say). aiohttp would take that as
    the answer to the next request, which may be a paid one.
    """

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        """Send it. Raises _AnsweredUnasked, upon which aiohttp closes the connection."""
        if conn.protocol is None or conn.protocol.should_close:
            raise _AnsweredUnasked
        return await super().send(conn)


class _Exchange:
    """An answer whose head is there: ``status``, ``headers``, and the body as it arrives."""

    __slots__ = ("_response",)

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self._response.status

    @property
    def raw_headers(self) -> Sequence[tuple[bytes, bytes]]:
        """The headers as they were sent."""
        return self._response.raw_headers

    async def read(self) -> bytes:
        """Give the next part of the body, empty at its end."""
        content = self._response.content
        if content.at_eof():
            return b""
        try:
            return await content.readany()
        except (aiohttp.ClientError, OSError) as error:
            raise _translated(error) from None

    def close(self) -> None:
        """Cut the connection when the answer was not read to its end; else it serves again."""
        self._response.close()


class _Opened(AbstractAsyncContextManager[_Exchange]):
    """An exchange for the length of a block; begun when the block is entered."""

    __slots__ = ("_begin", "_exchange")

    def __init__(self, begin: Callable[[], Awaitable[_Exchange]]) -> None:
        self._begin = begin

    async def __aenter__(self) -> _Exchange:
        self._exchange = await self._begin()
        return self._exchange

    async def __aexit__(self, *_: object) -> None:
        self._exchange.close()


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
    """Sends requests over aiohttp; only hosts the exemption covers skip the guard.

    Guarded and exempt hosts have separate sessions, so no connection is ever shared between them.
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
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request, never following a redirect; the body arrives as a stream."""
        times = request.extensions.get("timeout", {})
        url, body = _wire_url(request.url), await request.aread()
        try:
            async with asyncio.timeout(_sum(*_bounds(times))):
                exchange = await self._begun(
                    request.method,
                    url,
                    request.headers.multi_items(),
                    body,
                    times,
                    request.extensions.get(OWN_HOST),
                )
        except TimeoutError:
            raise httpx.WriteTimeout("the request was not taken in time") from None
        return httpx.Response(
            exchange.status,
            headers=list(exchange.raw_headers),
            stream=_Body(exchange),
            extensions={"http_version": b"HTTP/1.1"},
        )

    def opened(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        times: Mapping[str, float | None],
    ) -> _Opened:
        """Send a request and give its answer, without httpx's records around them.

        ``times`` are httpx's timeouts by name; the caller bounds the whole. Raises
        httpx.TransportError, httpx.InvalidURL.
        """
        lines = headers.items()
        return _Opened(partial(self._begun, method, _parsed(url), lines, body, times, None))

    async def _begun(
        self,
        method: str,
        url: URL,
        headers: Iterable[tuple[str, str]],
        body: bytes,
        times: Mapping[str, float | None],
        own_host: str | None,
    ) -> _Exchange:
        lines = _headers(method, headers, len(body))
        session = self._session(guarded=not await self._is_exempt(url, own_host))
        for _ in range(_TRIES_MAX):
            try:
                response = await session.request(
                    method,
                    url,
                    headers=lines,
                    skip_auto_headers=_left_out(tuple([name for name, _ in lines])),
                    data=_chunks(body) if len(body) > _CHUNK else body or None,
                    allow_redirects=False,
                    timeout=_timeout(*_bounds(times)),
                )
            except _AnsweredUnasked:
                continue
            except (aiohttp.ClientError, OSError) as error:
                raise _translated(error) from None
            return _Exchange(response)
        raise httpx.ConnectError("the server answers before it is asked")

    async def _is_exempt(self, url: URL, own_host: str | None) -> bool:
        host, port = url.raw_host or "", url.port or 0
        if await self._exemption.covers(host, port):
            return True
        return own_host is not None and await OwnHost(own_host, self._lookup).covers(host, port)

    def _session(self, *, guarded: bool) -> aiohttp.ClientSession:
        if guarded not in self._sessions:
            connector = aiohttp.TCPConnector(
                resolver=Resolver(self._lookup, guarded=guarded),
                socket_factory=open_public_socket if guarded else None,
                ssl=self._tls,
                limit=self._limits.max_connections or 0,
                keepalive_timeout=self._limits.keepalive_expiry,
            )
            self._sessions[guarded] = aiohttp.ClientSession(
                connector=connector,
                request_class=_Request,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                timeout=aiohttp.ClientTimeout(total=None),
            )
        return self._sessions[guarded]

    async def aclose(self) -> None:
        """Close all connections and end the look-up threads."""
        for session in self._sessions.values():
            await session.close()
        self._lookup.close()


@lru_cache(maxsize=256)
def _parsed(text: str) -> URL:
    """Give a URL as it goes on the wire, written as httpx writes it.

    A plain one needs no httpx for it, which takes as long as a good part of a short exchange.
    Raises httpx.InvalidURL, httpx.UnsupportedProtocol.
    """
    if _PLAIN_URL.fullmatch(text) and "/." not in text:
        return _encoded(text)
    return _wire_url(httpx.URL(text))


def _wire_url(url: httpx.URL) -> URL:
    """Give a URL as it goes on the wire: unchanged, without user info (already a header)."""
    text = b"".join((url.raw_scheme, b"://", url.netloc, url.raw_path)).decode("ascii")
    return _encoded(text)


def _encoded(text: str) -> URL:
    try:
        url = URL(text, encoded=True)
        if url.scheme in {"http", "https"} and url.raw_host and url.port:
            return url
    except ValueError:
        pass
    raise httpx.UnsupportedProtocol("the URL is not usable") from None


def _bounds(
    times: Mapping[str, float | None],
) -> tuple[float | None, float | None, float | None, float | None]:
    return times.get("pool"), times.get("connect"), times.get("write"), times.get("read")


@lru_cache(maxsize=256)
def _timeout(
    pool: float | None, connect: float | None, _write: float | None, read: float | None
) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(connect=_sum(pool, connect), sock_connect=connect, sock_read=read)


def _sum(*seconds: float | None) -> float | None:
    """Add durations; one without a limit makes the sum unlimited."""
    known = [each for each in seconds if each is not None]
    return sum(known) if len(known) == len(seconds) else None


def _headers(method: str, headers: Iterable[tuple[str, str]], length: int) -> list[tuple[str, str]]:
    """Give the headers of a request whose body is ``length`` bytes long.

    Raises httpx.UnsupportedProtocol: nothing that was handed in may begin a line of its own.
    """
    sent = [line for line in headers if line[0] not in {"content-length", "transfer-encoding"}]
    if _BREAKS_A_LINE.search("".join([text for line in sent for text in line])):
        raise httpx.UnsupportedProtocol("the request is not usable")
    if length or method in _WITH_BODY:
        sent.append(("content-length", str(length)))
    return sent


@lru_cache(maxsize=256)
def _left_out(names: tuple[str, ...]) -> tuple[str, ...] | None:
    """Give what aiohttp must be told not to add to headers of these names; None for nothing.

    It copies all headers to leave one out.
    """
    given = {name.lower() for name in names}
    if "content-length" not in given:
        given.add("content-type")
    return tuple(name for name in _AUTOMATIC_HEADERS if name.lower() not in given) or None


async def _chunks(body: bytes) -> AsyncIterator[bytes]:
    """Hand aiohttp a body piece by piece: it warns about large bytes objects."""
    for start in range(0, len(body), _CHUNK):
        yield body[start : start + _CHUNK]
