"""Logging in: passwords, sessions, and which requests of a browser come from our own pages."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

from gateway.domain.administration import Actor
from gateway.domain.errors import AuthenticationFailed, InvalidRequest, NotAllowed, Problem
from gateway.domain.limits import Limit

PASSWORD_MIN = 12
PASSWORD_BYTES_MAX = 1_024
ADMIN_KEY_METHOD = "admin_key"
PASSWORD_METHOD = "password"  # noqa: S105 - the name of a way to log in
# Failed logins within any minute, by the name they were for and by the address they came from.
OF_NAME = Limit("logins", 5, 1)
OF_ADDRESS = Limit("logins", 20, 1)
# Lines of the audit log a minute about failed logins, for each operator and for all strangers.
TOLD = Limit("told", 1, 1)
DAY_MS = 86_400_000
# How long an address that an operator logged in from is known, and its session's row is kept.
KNOWN_MS = 30 * DAY_MS
# An IPv6 network of this length is one customer: its addresses cost nothing.
_IPV6_CUSTOMER = 64
_PORTS = {"http": 80, "https": 443}


class LoginRefused(AuthenticationFailed):
    """The name and the password do not belong together."""

    code = "invalid_login"


class ForeignRequest(NotAllowed):
    """This request does not come from a page of this gateway."""

    code = "foreign_request"


@dataclass(frozen=True, slots=True)
class SessionRules:
    """A session ends when it was not used for ``idle_ms``, and ``max_ms`` after the login."""

    idle_ms: int
    max_ms: int

    def ends_ms(self, created_ms: int, seen_ms: int) -> int:
        """Give when a session ends that is not used any more (UTC ms)."""
        return min(created_ms + self.max_ms, seen_ms + self.idle_ms)


@dataclass(frozen=True, slots=True)
class Session:
    """A login that holds. ``csrf`` is what its writes must carry; times are UTC ms."""

    id: str
    actor: Actor
    csrf: str
    method: str
    created_ms: int
    expires_ms: int


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A login that holds as lists show it: by its id nobody can use it. Times are UTC ms.

    ``operator_id`` is whose it is; ``seen_ms`` is when it was last used, to a minute.
    """

    id: str
    operator_id: str
    method: str
    created_ms: int
    seen_ms: int
    expires_ms: int


@dataclass(frozen=True, slots=True)
class Verified:
    """Whose password was right; ``version`` counts the passwords that operator has had."""

    actor: Actor
    version: int | None = None


def check_password(password: str, name: str) -> None:
    """Raise InvalidRequest unless an operator of this name may have this password."""
    if len(password) < PASSWORD_MIN or len(password.encode()) > PASSWORD_BYTES_MAX:
        legal = f"at least {PASSWORD_MIN} characters and at most {PASSWORD_BYTES_MAX} bytes"
        raise InvalidRequest(Problem("password", "The password is too short or long.", legal=legal))
    if password.strip().casefold() == name.casefold():
        message = "The password is the operator's name."
        raise InvalidRequest(Problem("password", message, legal="anything else"))


def sender_of(address: str | None) -> str:
    """Give what failed logins from an address are counted under: the address, or its network."""
    try:
        found = ip_address((address or "").partition("%")[0])
    except ValueError:
        return "unknown"
    found = getattr(found, "ipv4_mapped", None) or found
    if found.version == 4:
        return str(found)
    return str(ip_network((found, _IPV6_CUSTOMER), strict=False))


def origin_of(url: str) -> str:
    """Give the origin of a URL as browsers write it: no port where it is the scheme's own."""
    parts = urlsplit(url.lower())
    try:
        port = parts.port
    except ValueError:
        return ""
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    is_usual = port is None or port == _PORTS.get(parts.scheme)
    return f"{parts.scheme}://{host}" if is_usual else f"{parts.scheme}://{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether a Host header names the browser's own machine, which no network lies before."""
    name = origin_of(f"http://{host}").removeprefix("http://")
    name = name.rpartition("]")[0][1:] if name.startswith("[") else name.partition(":")[0]
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def is_own(site: str, origin: str, own: Collection[str]) -> bool:
    """Whether a request's Sec-Fetch-Site and Origin say that a page of ours sent it.

    What is no browser sends neither and is believed: it must have the session's token anyway.
    """
    if site and site not in ("same-origin", "none"):
        return False
    return not origin or origin_of(origin) in own
