"""httpx over aiohttp, with the address guard, exact errors and exact URLs.

`httpx-aiohttp` is not used: it reports a server that closed the connection after reading the
request as ``ConnectTimeout``, which says "nothing was sent" about a submit that may have been
billed, and it re-quotes URLs, which breaks signed links.
"""

from __future__ import annotations

import asyncio
import errno
import os
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import aiohttp
import httpx
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


@contextmanager
def _translated() -> Iterator[None]:
    """Turn aiohttp's errors into httpx's.

    The original is dropped: it quotes URLs, request headers and resolved addresses.
    """
    try:
        yield
    except (aiohttp.ClientError, OSError) as error:
        if isinstance(getattr(error, "os_error", None), AddressNotPublic):
            raise AddressRefused(str(AddressNotPublic())) from None
        translation, words = next(row[1:] for row in _ERRORS if isinstance(error, row[0]))
        raise translation(words + _detail(error)) from None


def _detail(error: Exception) -> str:
    """Give the part of an error that is safe to show: the system's or TLS's own words."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f": {getattr(error.certificate_error, 'verify_message', 'not valid')}"
    if isinstance(error, (aiohttp.ClientConnectorDNSError, aiohttp.ClientSSLError)):
        return ""
    code = (error.errno or 0) if isinstance(error, OSError) else 0
    return f": {os.strerror(code)}" if code in errno.errorcode else ""


class _Body(httpx.AsyncByteStream):
    """The answer's body as it arrives; closing early drops the connection."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _translated():
            async for chunk in self._response.content.iter_chunked(_CHUNK):
                yield chunk

    async def aclose(self) -> None:
        self._response.close()


class GuardedTransport(httpx.AsyncBaseTransport):
    """Sends httpx requests over aiohttp; only hosts the exemption covers skip the guard.

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
        session = self._session(guarded=not await self._is_exempt(request))
        body = await request.aread()
        times = request.extensions.get("timeout", {})
        connect = _sum(times.get("pool"), times.get("connect"))
        try:
            async with asyncio.timeout(_sum(connect, times.get("write"), times.get("read"))):
                with _translated():
                    response = await session.request(
                        request.method,
                        _wire_url(request.url),
                        headers=_headers(request),
                        skip_auto_headers=_AUTOMATIC_HEADERS,
                        data=_chunks(body) if len(body) > _CHUNK else body or None,
                        allow_redirects=False,
                        timeout=aiohttp.ClientTimeout(
                            connect=connect,
                            sock_connect=times.get("connect"),
                            sock_read=times.get("read"),
                        ),
                    )
        except TimeoutError:
            raise httpx.WriteTimeout("the request was not taken in time") from None
        return httpx.Response(
            response.status,
            headers=response.raw_headers,
            stream=_Body(response),
            extensions={
                "http_version": b"HTTP/1.1",
                "reason_phrase": (response.reason or "").encode("ascii", "replace"),
            },
        )

    async def _is_exempt(self, request: httpx.Request) -> bool:
        url = request.url
        host = url.raw_host.decode("ascii")
        port = url.port or (443 if url.scheme == "https" else 80)
        if await self._exemption.covers(host, port):
            return True
        own = request.extensions.get(OWN_HOST)
        return own is not None and await OwnHost(own, self._lookup).covers(host, port)

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


def _wire_url(url: httpx.URL) -> URL:
    """Give a URL as it goes on the wire: unchanged, without user info (already a header)."""
    text = b"".join((url.raw_scheme, b"://", url.netloc, url.raw_path)).decode("ascii")
    try:
        return URL(text, encoded=True)
    except ValueError:
        raise httpx.UnsupportedProtocol("the URL is not usable") from None


def _sum(*seconds: float | None) -> float | None:
    """Add durations; one without a limit makes the sum unlimited."""
    known = [each for each in seconds if each is not None]
    return sum(known) if len(known) == len(seconds) else None


def _headers(request: httpx.Request) -> list[tuple[str, str]]:
    """Give httpx's headers; the body is read whole, so its length is known."""
    headers = [
        (name, value)
        for name, value in request.headers.multi_items()
        if name not in {"content-length", "transfer-encoding"}
    ]
    if request.content or request.method in {"POST", "PUT", "PATCH"}:
        headers.append(("content-length", str(len(request.content))))
    return headers


async def _chunks(body: bytes) -> AsyncIterator[bytes]:
    """Hand aiohttp a body piece by piece: it warns about large bytes objects."""
    for start in range(0, len(body), _CHUNK):
        yield body[start : start + _CHUNK]
