"""Logging in at an OpenID Connect issuer: what its claims must say, and which role they give."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from gateway.domain.administration import Role
from gateway.domain.errors import GatewayError, NotAllowed
from gateway.domain.login import LoginRefused, is_loopback

OIDC_METHOD = "oidc"
BEGUN_MS = 600_000
"""How long somebody may take to log in at the issuer."""
PATH_MAX = 500
SUBJECT_MAX = 255
_NAMES = ("preferred_username", "email", "name")
_NAME_MAX = 80
_ERROR = re.compile(r"[a-z_]{1,40}\Z")


class IssuerUnavailable(GatewayError):
    """The issuer did not answer as it should; try again in a moment."""

    status = 502
    type = "upstream_error"
    code = "issuer_unavailable"


class TokenRefused(LoginRefused):
    """What the issuer answered proves nothing."""


class NoRole(NotAllowed):
    """You are logged in at the issuer, but none of your groups has a role here."""

    code = "no_role"


@dataclass(frozen=True, slots=True)
class Granted:
    """What a group of the issuer may do here; ``team`` is the team of a member, by id or name."""

    group: str
    role: Role
    team: str | None = None


def read_roles(text: str) -> tuple[Granted, ...]:
    """Read ``group=role, group=member:team``. Raises ValueError with what is wrong."""
    return tuple(_granted(entry.strip()) for entry in text.split(",") if entry.strip())


def _granted(entry: str) -> Granted:
    # A group may have an equals sign in it (a distinguished name), a role never.
    group, _, trusted = entry.rpartition("=")
    name, _, team = trusted.strip().partition(":")
    if not group.strip() or name not in tuple(Role):
        legal = ", ".join(role.value for role in Role)
        raise ValueError(f"{entry!r} is not group=role with a role of {legal}")
    if (name == Role.MEMBER) != bool(team):
        raise ValueError(f"{entry!r}: a member, and nobody else, has a team: group=member:team")
    return Granted(group.strip(), Role(name), team or None)


def granted_to(claims: Mapping[str, Any], claim: str, roles: tuple[Granted, ...]) -> Granted | None:
    """Give the first of the roles that somebody's groups have; None: no role at all."""
    groups = _groups(claims, claim)
    return next((one for one in roles if one.group in groups), None)


def _groups(claims: Mapping[str, Any], claim: str) -> tuple[str, ...]:
    """Give the texts of a claim; a dot leads into it where no claim has the whole name."""
    value: Any = claims.get(claim)
    if value is None:
        value = claims
        for part in claim.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
    if isinstance(value, str):
        return (value,)
    return tuple(one for one in value if isinstance(one, str)) if isinstance(value, list) else ()


def subject_of(claims: Mapping[str, Any], client_id: str, nonce: str) -> str:
    """Give whom verified claims are about. Raises TokenRefused unless they answer our question.

    Signature, issuer, audience and times have been judged before.
    """
    if claims.get("nonce") != nonce:
        raise TokenRefused("The issuer answered another login (nonce).")
    audience = claims.get("aud")
    party = claims.get("azp", client_id if audience in (client_id, [client_id]) else None)
    if party != client_id:
        raise TokenRefused("The issuer answered to another client (azp).")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= SUBJECT_MAX or "\x00" in subject:
        raise TokenRefused("The issuer does not say who this is (sub).")
    return subject


def name_of(claims: Mapping[str, Any], subject: str) -> str:
    """Give how somebody is shown: by a name of the issuer, printable and not too long."""
    for claim in _NAMES:
        value = claims.get(claim)
        if isinstance(value, str) and (name := _printable(value)):
            return name
    return _printable(subject) or "operator"


def _printable(text: str) -> str:
    return "".join(letter for letter in text if letter.isprintable()).strip()[:_NAME_MAX].strip()


def error_word(error: str) -> str:
    """Give an issuer's word for a failure where it is one that may be shown."""
    return error if _ERROR.match(error) else "error"


def is_safe_path(text: str) -> bool:
    """Whether a browser sent there stays with us: a plain absolute path."""
    return (
        len(text) <= PATH_MAX
        and text.startswith("/")
        and not text.startswith("//")
        and "\\" not in text
        and text.isascii()
        and text.isprintable()
    )


def is_reachable(url: object, *, allow_http: bool) -> bool:
    """Whether an address of the issuer may be called: https, or http on this machine if allowed."""
    if not isinstance(url, str):
        return False
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    if not parts.hostname or parts.username is not None or parts.fragment:
        return False
    return parts.scheme == "https" or (
        allow_http and parts.scheme == "http" and is_loopback(parts.netloc)
    )
