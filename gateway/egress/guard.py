"""The address guard: whether a connection may be opened is judged when its socket is opened.

Judging a URL is not enough: the name may resolve differently a moment later, and IP literals never
reach a resolver. So the resolver refuses a name with any bad address, and the socket factory, which
sees the address that is really connected to, judges it again.
"""

from __future__ import annotations

import socket
from functools import lru_cache
from typing import Protocol

import httpx
from aiohappyeyeballs import AddrInfoType
from aiohttp.abc import AbstractResolver, ResolveResult

from gateway.domain.address import AllowedHosts, refusal
from gateway.egress.resolve import Lookup

_NOT_PUBLIC = "the address is not public"


class AddressRefused(httpx.ConnectError):
    """The guard refused to open a connection; nothing was sent.

    The message names no address: what a name resolves to inside the network stays there.
    """


class AddressNotPublic(OSError):
    """What the guard raises inside aiohttp, which lets only OSError travel unchanged."""

    def __init__(self) -> None:
        super().__init__(_NOT_PUBLIC)


def open_public_socket(address: AddrInfoType) -> socket.socket:
    """Make the socket for one resolved address. Raises AddressNotPublic instead of connecting."""
    family, kind, protocol, _, sockaddr = address
    if refusal(str(sockaddr[0])):
        raise AddressNotPublic
    return socket.socket(family, kind, protocol)


class Resolver(AbstractResolver):
    """Resolves names for aiohttp; ``guarded``, one address that is not public refuses them all."""

    def __init__(self, lookup: Lookup, *, guarded: bool) -> None:
        self._lookup = lookup
        self._guarded = guarded

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Give the addresses of a name. Raises OSError, AddressNotPublic among them."""
        addresses = await self._lookup.addresses(host, port, family)
        if self._guarded and any(refusal(address) for address in addresses):
            raise AddressNotPublic
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        """Do nothing: the transport owns the look-up threads."""


class Exemption(Protocol):
    """Says which hosts a client may reach whatever their addresses are."""

    async def covers(self, host: str, port: int) -> bool:
        """Whether this host, a name or an IP text without brackets, is exempt on this port."""
        ...


class Listed:
    """Exempts the operator's ``host:port`` entries, each exactly that host and port."""

    def __init__(self, allowed: AllowedHosts) -> None:
        self._allowed = allowed

    async def covers(self, host: str, port: int) -> bool:
        """Whether the list has this host and port."""
        return self._allowed.cover(host, port)


class OwnHost:
    """Exempts an ``allow_private`` upstream's own host, on any port (its result links).

    An IP literal counts as that host when the host's name resolves to it now; another name never
    does, since it could resolve differently when the connection is opened.
    """

    def __init__(self, host: str, lookup: Lookup) -> None:
        self._host = host
        self._lookup = lookup

    async def covers(self, host: str, port: int) -> bool:
        """Whether this is the upstream's own host or one of its addresses."""
        if _is_same(self._host, host, port):
            return True
        if refusal(host) == "no IP address":
            return False
        try:
            return host in await self._lookup.addresses(self._host, port)
        except OSError:
            return False


@lru_cache(maxsize=256)
def _is_same(own: str, host: str, port: int) -> bool:
    """Whether two spellings name one host; asked for every call to an upstream."""
    return AllowedHosts.of([f"{own}:{port}"]).cover(host, port)
