"""Tests talk to this machine only: any other address is refused before a packet leaves."""

from __future__ import annotations

import ipaddress
import socket
import sys

RESERVED_SUFFIXES = (".test", ".invalid", ".example", "example.com", "example.org", "example.net")


class OutsideNetworkError(AssertionError):
    """A test tried to reach, or look up, something that is not this machine."""


def refuse_outside_network() -> None:
    """Refuse Python's non-loopback connects and look-ups from now on, for the whole process.

    A reserved name does not resolve, as it would not anywhere else, only without asking a server.
    """
    sys.addaudithook(_judge)


def _judge(event: str, arguments: tuple[object, ...]) -> None:
    if event == "socket.connect":
        address = arguments[1]
        if isinstance(address, tuple) and not _is_local(str(address[0])):
            raise OutsideNetworkError(f"connect to {address[0]}")
    elif event == "socket.getaddrinfo":
        raw = arguments[0]
        host = raw.decode() if isinstance(raw, bytes) else str(raw or "localhost")
        if host.endswith(RESERVED_SUFFIXES):
            raise socket.gaierror(socket.EAI_NONAME, f"{host} is a reserved name")
        if not _is_literal(host) and not _is_local(host):
            raise OutsideNetworkError(f"look-up of {host}")


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _is_local(host: str) -> bool:
    if not _is_literal(host):
        return host in ("localhost", "", socket.gethostname())
    address = ipaddress.ip_address(host.partition("%")[0])
    return address.is_loopback or address.is_unspecified
