"""Which addresses and URLs a caller may name: only the public internet, told by an explicit table.

The table is IANA's special-purpose registries (IPv4 and IPv6) plus the metadata services that
clouds put at public-looking addresses. ``ipaddress.is_global`` is not used: it calls NAT64 and
6to4 forms of loopback global, and changes between Python releases (`research/reliability.md` §10).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from gateway.domain.callback import URL_MAX

IMAGE_URL_MAX = 8192

# More specific rows come first: the first match gives the reason.
_V4_TABLE = tuple(
    (IPv4Network(cidr), words)
    for cidr, words in (
        ("0.0.0.0/32", "the unspecified address"),
        ("0.0.0.0/8", "an address of this network"),
        ("10.0.0.0/8", "a private address"),
        ("100.100.100.200/32", "a cloud metadata address"),
        ("100.64.0.0/10", "a shared (CGNAT) address"),
        ("127.0.0.0/8", "a loopback address"),
        ("168.63.129.16/32", "a cloud metadata address"),
        ("169.254.169.254/32", "a cloud metadata address"),
        ("169.254.0.0/16", "a link-local address"),
        ("172.16.0.0/12", "a private address"),
        ("192.0.0.192/32", "a cloud metadata address"),
        ("192.0.0.0/24", "an address for protocol assignments"),
        ("192.0.2.0/24", "a documentation address"),
        ("192.31.196.0/24", "an AS112 address"),
        ("192.52.193.0/24", "an AMT address"),
        ("192.88.99.0/24", "a 6to4 relay address"),
        ("192.168.0.0/16", "a private address"),
        ("192.175.48.0/24", "an AS112 address"),
        ("198.18.0.0/15", "a benchmarking address"),
        ("198.51.100.0/24", "a documentation address"),
        ("203.0.113.0/24", "a documentation address"),
        ("224.0.0.0/4", "a multicast address"),
        ("255.255.255.255/32", "the broadcast address"),
        ("240.0.0.0/4", "a reserved address"),
    )
)

_V6_TABLE = tuple(
    (IPv6Network(cidr), words)
    for cidr, words in (
        ("::/128", "the unspecified address"),
        ("::1/128", "a loopback address"),
        ("::ffff:0:0/96", "an IPv4-mapped address"),
        ("::ffff:0:0:0/96", "an IPv4-translated address"),
        ("::/96", "an IPv4-compatible address"),
        ("64:ff9b::/96", "a NAT64 address"),
        ("64:ff9b:1::/48", "a local NAT64 address"),
        ("100::/64", "a discard-only address"),
        ("100:0:0:1::/64", "a dummy address"),
        ("2001::/32", "a Teredo address"),
        ("2001:2::/48", "a benchmarking address"),
        ("2001:3::/32", "an AMT address"),
        ("2001:4:112::/48", "an AS112 address"),
        ("2001:10::/28", "an ORCHID address"),
        ("2001:20::/28", "an ORCHID address"),
        ("2001:30::/28", "a drone identifier"),
        ("2001::/23", "an address for protocol assignments"),
        ("2001:db8::/32", "a documentation address"),
        ("2002::/16", "a 6to4 address"),
        ("2620:4f:8000::/48", "an AS112 address"),
        ("3fff::/20", "a documentation address"),
        ("5f00::/16", "a segment routing address"),
        ("fc00::/7", "a unique local address"),
        ("fe80::/10", "a link-local address"),
        ("fec0::/10", "a site-local address"),
        ("ff00::/8", "a multicast address"),
    )
)

_GLOBAL_UNICAST = IPv6Network("2000::/3")
_LOW_32 = 0xFFFF_FFFF
# Prefix, how many bits stand right of the embedded IPv4 address, and what it is xor-ed with.
_EMBEDDED_V4 = tuple(
    (IPv6Network(cidr), shift, mask)
    for cidr, shift, mask in (
        ("::ffff:0:0/96", 0, 0),
        ("::ffff:0:0:0/96", 0, 0),
        ("::/96", 0, 0),
        ("64:ff9b::/96", 0, 0),
        ("64:ff9b:1::/48", 0, 0),
        ("2002::/16", 80, 0),
        ("2001::/32", 0, _LOW_32),
    )
)
_ISATAP_MARKS = (0x0000_5EFE, 0x0200_5EFE)


def refusal(ip_text: str) -> str | None:
    """Give what makes an IP address not public, in words ("a loopback address"), else None.

    Takes the text form, with or without an IPv6 zone. Text that is no IP address is refused.
    """
    try:
        address = ip_address(ip_text.partition("%")[0])
    except ValueError:
        return "no IP address"
    return _v4_refusal(address) if isinstance(address, IPv4Address) else _v6_refusal(address)


def _v4_refusal(address: IPv4Address) -> str | None:
    return next((words for network, words in _V4_TABLE if address in network), None)


def _v6_refusal(address: IPv6Address) -> str | None:
    words = next((words for network, words in _V6_TABLE if address in network), None)
    inner = _embedded_v4(address)
    inner_words = _v4_refusal(inner) if inner else None
    if words and inner_words and int(address) > 1:
        return f"{inner_words} inside {words}"
    if words or inner_words:
        return words or f"{inner_words} inside an ISATAP address"
    return None if address in _GLOBAL_UNICAST else "not a global unicast address"


def _embedded_v4(address: IPv6Address) -> IPv4Address | None:
    for network, shift, mask in _EMBEDDED_V4:
        if address in network:
            return IPv4Address((int(address) >> shift & _LOW_32) ^ mask)
    if int(address) >> 32 & _LOW_32 in _ISATAP_MARKS:
        return IPv4Address(int(address) & _LOW_32)
    return None


@dataclass(frozen=True, slots=True)
class AllowedHosts:
    """The operator's ``host:port`` entries that are exempt, each exactly that host and port."""

    entries: frozenset[tuple[str, int]] = frozenset()

    @classmethod
    def of(cls, texts: Iterable[str]) -> AllowedHosts:
        """Read ``host:port`` and ``[v6]:port`` texts. Raises ValueError on anything else."""
        entries = set()
        for text in texts:
            host, _, port = text.rpartition(":")
            if not host or not port.isdecimal():
                raise ValueError(f"{text!r} is not host:port")
            entries.add((_plain_host(host), int(port)))
        return cls(frozenset(entries))

    def cover(self, host: str, port: int) -> bool:
        """Whether this host (a name or an IP text, brackets optional) and port are exempt."""
        return (_plain_host(host), port) in self.entries


def _plain_host(host: str) -> str:
    """Give one spelling per host: lower case, no brackets or root dot, shortest IPv6 form."""
    host = host.strip("[]").lower().removesuffix(".")
    return str(IPv6Address(host)) if ":" in host else host


NO_HOSTS = AllowedHosts()


@dataclass(frozen=True, slots=True)
class Target:
    """Where a URL leads: ``host`` in lower case, without brackets, as it was written."""

    scheme: str
    host: str
    port: int


class UrlRefused(ValueError):
    """A caller's URL breaks a rule; the message goes on after "The … URL"."""


def check_callback_url(url: str, allowed: AllowedHosts = NO_HOSTS) -> str | None:
    """Give why a callback URL is refused before any look-up, else None (seed 001's rules).

    https always; ``allowed`` lifts only the rules on hosts and ports.
    """
    try:
        callback_target(url, allowed)
    except UrlRefused as refused:
        return f"The callback URL {refused}."
    return None


def check_image_url(url: str, allowed: AllowedHosts = NO_HOSTS) -> str | None:
    """Give why an http(s) picture URL is refused before any look-up, else None."""
    try:
        image_target(url, allowed)
    except UrlRefused as refused:
        return f"The image URL {refused}."
    return None


def callback_target(url: str, allowed: AllowedHosts = NO_HOSTS) -> Target:
    """Read where a callback URL leads. Raises UrlRefused."""
    return _target(url, {"https": 443}, URL_MAX, allowed)


def image_target(url: str, allowed: AllowedHosts = NO_HOSTS) -> Target:
    """Read where a picture URL leads. Raises UrlRefused."""
    return _target(url, {"https": 443, "http": 80}, IMAGE_URL_MAX, allowed)


_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)(?:[/?#].*)?", re.DOTALL)
_AUTHORITY = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::(.*))?", re.DOTALL)
_PORT = re.compile(r"[1-9][0-9]{0,4}")


def _target(url: str, ports: dict[str, int], length_max: int, allowed: AllowedHosts) -> Target:
    if len(url) > length_max:
        raise UrlRefused(f"must have at most {length_max} characters")
    if any(unicodedata.category(char)[0] in "CZ" for char in url) or "\\" in url:
        raise UrlRefused("must not contain spaces, control characters or backslashes")
    match = _URL.fullmatch(url)
    scheme = match[1].lower() if match else ""
    if not match or scheme not in ports:
        raise UrlRefused(f"must start with {' or '.join(f'{name}://' for name in ports)}")
    authority = _AUTHORITY.fullmatch(match[2])
    if "@" in match[2]:
        raise UrlRefused("must not contain a user name or password")
    if not authority or not authority[1]:
        raise UrlRefused("must name a host")
    port = _read_port(authority[2], ports[scheme])
    host = authority[1].lower()
    if not _is_listed(allowed, host, port):
        _require_public_port(port, ports)
        _require_public_host(host)
    return Target(scheme, host.strip("[]"), port)


def _is_listed(allowed: AllowedHosts, host: str, port: int) -> bool:
    try:
        return allowed.cover(host, port)
    except ValueError:
        return False


def _read_port(text: str | None, default: int) -> int:
    if text is None:
        return default
    if not _PORT.fullmatch(text) or int(text) > 65535:
        raise UrlRefused("must have a port between 1 and 65535")
    return int(text)


# Services that answer to strangers inside networks: databases, caches, orchestration, X11.
_OTHER_SERVICES = frozenset(
    {1433, 1521, 2049, 2375, 2376, 2379, 2380, 3306, 3389, 5432, 5900, 6000, 6379, 6667}
    | {9042, 9200, 9300, 10250, 11211, 27017}
)


def _require_public_port(port: int, ports: dict[str, int]) -> None:
    if (port < 1024 and port not in ports.values()) or port in _OTHER_SERVICES:
        raise UrlRefused(f"must not use port {port}, which belongs to another kind of service")


_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_DOTTED_QUAD = re.compile(r"(?:0|[1-9][0-9]{0,2})(?:\.(?:0|[1-9][0-9]{0,2})){3}")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PRIVATE_SUFFIXES = ("localhost", "local", "internal", "localdomain", "home.arpa")


def _require_public_host(host: str) -> None:
    """Refuse literals that are not public and names that only mean something inside a network."""
    if host.startswith("["):
        if ":" not in host or "%" in host:
            raise UrlRefused("must write an IPv6 address, without a zone, between brackets")
        _require_public_address(host[1:-1])
        return
    if len(host) > 253:
        raise UrlRefused("must name a host of at most 253 characters")
    labels = host.removesuffix(".").split(".")
    if _NUMBER.fullmatch(labels[-1]):
        if not _DOTTED_QUAD.fullmatch(host):
            raise UrlRefused("must write an IPv4 address as four plain decimal numbers")
        _require_public_address(host)
        return
    if not all(_LABEL.fullmatch(label) or _is_international(label) for label in labels):
        raise UrlRefused("must name a host in plain letters, digits and hyphens")
    name = ".".join(labels)
    if len(labels) == 1 or name.endswith(tuple(f".{suffix}" for suffix in _PRIVATE_SUFFIXES)):
        raise UrlRefused("must name a public host, not one of a private network")


def _require_public_address(text: str) -> None:
    reason = refusal(text)
    if reason:
        raise UrlRefused(f"must lead to a public address: this is {reason}")


def _is_international(label: str) -> bool:
    """Whether a label is an IDN that no mapping turns into other characters.

    Full-width digits, circled letters and ideographic dots are look-alikes that a later mapping
    would turn into an ASCII host; digits of other scripts never name a host.
    """
    kinds = {unicodedata.category(char) for char in label if not char.isascii()}
    return (
        bool(kinds)
        and all(kind[0] in "LM" for kind in kinds)
        and unicodedata.normalize("NFKC", label) == label
        and not label.startswith("-")
        and not label.endswith("-")
        and all(char == "-" or char.isalnum() or not char.isascii() for char in label)
    )
