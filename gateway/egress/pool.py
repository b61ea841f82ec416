"""Connections to many hosts: opened under the address guard, kept a moment, used again."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeVar

import aiohappyeyeballs
import httpx
from aiohappyeyeballs import AddrInfoType

from gateway.egress.guard import AddressNotPublic, AddressRefused, Resolver
from gateway.egress.wire import Wire, system_words

T = TypeVar("T")

NAMES_KEPT_S = 10.0
NAMES_MAX = 4096
# RFC 8305: after so long the next address of a name is tried beside the first.
NEXT_ADDRESS_S = 0.25


class Origin(NamedTuple):
    """Where requests go: ``host`` is a name or an IP text without brackets."""

    scheme: str
    host: str
    port: int


class Pool:
    """Connections under one rule of the guard; at most so many are busy at once.

    Raises httpx.ConnectError, AddressRefused among them, and httpx.ConnectTimeout: nothing was
    sent then.
    """

    def __init__(
        self,
        resolver: Resolver,
        make_socket: Callable[[AddrInfoType], socket.socket] | None,
        tls: ssl.SSLContext,
        limits: httpx.Limits,
    ) -> None:
        """Take what resolves names, what makes sockets (None: any), and httpx's limits."""
        self._resolver = resolver
        self._make_socket = make_socket
        self._tls = tls
        self._keep_s = limits.keepalive_expiry or 0.0
        self._slots = asyncio.Semaphore(limits.max_connections or 2**31)
        self._idle: dict[Origin, list[Wire]] = {}
        self._busy: set[Wire] = set()
        self._names: dict[tuple[str, int], tuple[float, asyncio.Task[tuple[str, ...]]]] = {}
        self._reaper: asyncio.TimerHandle | None = None

    async def take(self, origin: Origin, within_s: float | None) -> Wire:
        """Give a connection, an idle one if there is; `give_back` has to follow."""
        if not self._slots.locked():
            await self._slots.acquire()
            wire = self._idle_one(origin)
        else:
            wire = None
            await _in_time(self._slots.acquire(), within_s)
        try:
            wire = wire or self._idle_one(origin)
            if wire is None:
                wire = await _in_time(self._connected(origin), within_s)
        except BaseException:
            self._slots.release()
            raise
        self._busy.add(wire)
        return wire

    def give_back(self, origin: Origin, wire: Wire) -> None:
        """End the exchange of a connection; it serves again for a while when it can."""
        self._busy.discard(wire)
        if wire.end() and self._keep_s:
            loop = asyncio.get_running_loop()
            wire.idle_since_s = loop.time()
            self._idle.setdefault(origin, []).append(wire)
            if self._reaper is None:
                self._reaper = loop.call_later(self._keep_s, self._reap)
        self._slots.release()

    def close(self) -> None:
        """Cut every connection."""
        if self._reaper is not None:
            self._reaper.cancel()
        for wire in (*self._busy, *(wire for wires in self._idle.values() for wire in wires)):
            wire.cut()
        self._idle.clear()

    # --- idle ones -----------------------------------------------------------------------

    def _idle_one(self, origin: Origin) -> Wire | None:
        """Give the connection that was used last, if it is still good."""
        wires = self._idle.get(origin)
        oldest_s = asyncio.get_running_loop().time() - self._keep_s
        while wires:
            wire = wires.pop()
            if wire.is_open and wire.idle_since_s >= oldest_s:
                return wire
            wire.cut()
        return None

    def _reap(self) -> None:
        """Close what nobody used again in time."""
        loop = asyncio.get_running_loop()
        oldest_s = loop.time() - self._keep_s
        for origin, wires in list(self._idle.items()):
            kept = [wire for wire in wires if wire.is_open and wire.idle_since_s > oldest_s]
            for wire in set(wires).difference(kept):
                wire.cut()
            if kept:
                self._idle[origin] = kept
            else:
                del self._idle[origin]
        self._reaper = loop.call_later(self._keep_s, self._reap) if self._idle else None

    # --- new ones ------------------------------------------------------------------------

    async def _connected(self, origin: Origin) -> Wire:
        """Open a connection; with TLS it stands when the other side's certificate is proven."""
        try:
            made = await aiohappyeyeballs.start_connection(
                await self._addresses(origin),
                happy_eyeballs_delay=NEXT_ADDRESS_S,
                interleave=1,
                socket_factory=self._make_socket,
            )
        except AddressNotPublic as error:
            raise AddressRefused(str(error)) from None
        except (OSError, RuntimeError) as error:
            # uvloop has a RuntimeError for an address that is none.
            raise _not_accepted(error) from None
        try:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            tls = self._tls if origin.scheme == "https" else None
            _, wire = await asyncio.get_running_loop().create_connection(
                Wire, sock=made, ssl=tls, server_hostname=origin.host.rstrip(".") if tls else None
            )
        except BaseException as error:
            made.close()
            if isinstance(error, (OSError, ssl.CertificateError)):
                raise _not_trusted(error) from None
            raise
        return wire

    async def _addresses(self, origin: Origin) -> list[AddrInfoType]:
        """Give where to connect to. Raises httpx's errors, AddressNotPublic.

        Digits that are no IPv4 address as everybody writes it are none: systems read them
        differently (octal, one number, fewer than four).
        """
        host, port = origin.host, origin.port
        try:
            ipaddress.ip_address(host)
            found: tuple[str, ...] = (host,)
        except ValueError:
            if not host.strip("0123456789."):
                raise httpx.UnsupportedProtocol("the URL is not usable") from None
            try:
                found = await self._resolved(host, port)
            except AddressNotPublic:
                raise
            except OSError:
                raise httpx.ConnectError("the host name does not resolve") from None
        return [_info(address, port) for address in found]

    async def _resolved(self, host: str, port: int) -> tuple[str, ...]:
        """Give the addresses of a name; who asks at the same time or soon after shares them."""
        now_s = asyncio.get_running_loop().time()
        known = self._names.get((host, port))
        failed = known and known[1].done() and known[1].exception() is not None
        if known is None or failed or known[0] < now_s:
            if len(self._names) >= NAMES_MAX:
                self._names.clear()
            asking = asyncio.create_task(self._resolver.resolve(host, port))
            asking.add_done_callback(_heard)
            known = self._names[host, port] = now_s + NAMES_KEPT_S, asking
        return await asyncio.shield(known[1])


async def _in_time(work: Awaitable[T], within_s: float | None) -> T:
    try:
        async with asyncio.timeout(within_s):
            return await work
    except TimeoutError:
        raise httpx.ConnectTimeout("no connection in time") from None


def _heard(asking: asyncio.Task[tuple[str, ...]]) -> None:
    """Take a failure from a look-up that nobody waits for any more."""
    if not asking.cancelled():
        asking.exception()


def _info(address: str, port: int) -> AddrInfoType:
    if ":" in address:
        return socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port, 0, 0)
    return socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port)


def _not_accepted(error: Exception) -> httpx.ConnectError:
    return httpx.ConnectError("the connection was not accepted" + system_words(error))


def _not_trusted(error: Exception) -> httpx.ConnectError:
    if isinstance(error, ssl.CertificateError):
        words = getattr(error, "verify_message", "not valid")
        return httpx.ConnectError(f"the TLS certificate is not trusted: {words}")
    if isinstance(error, ssl.SSLError):
        return httpx.ConnectError("the TLS handshake failed")
    return _not_accepted(error)
