"""Who administers the gateway, what each role may do, and the record of every change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Permission(StrEnum):
    """What a route of ``/admin/v1`` asks of whoever calls it."""

    READ = "read"
    MANAGE = "manage"
    MONEY = "money"
    OPERATORS = "operators"
    TEAM = "team"


class Role(StrEnum):
    """What an operator is trusted with; each role but a member reads everything but secrets.

    A member reads one team: the routes that are confined to it, which TEAM admits to.
    """

    MEMBER = "member"
    VIEWER = "viewer"
    FINANCE = "finance"
    OPERATOR = "operator"
    ADMIN = "admin"

    def may(self, permission: Permission) -> bool:
        """Whether this role has a permission."""
        return permission in _PERMISSIONS[self]


_PERMISSIONS: Mapping[Role, frozenset[Permission]] = {
    Role.MEMBER: frozenset({Permission.TEAM}),
    Role.VIEWER: frozenset({Permission.READ}),
    Role.FINANCE: frozenset({Permission.READ, Permission.MONEY}),
    Role.OPERATOR: frozenset({Permission.READ, Permission.MANAGE}),
    Role.ADMIN: frozenset(Permission) - {Permission.TEAM},
}


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks for a change: an operator, the admin key, or the command line.

    ``session`` is how the audit log names the login that a browser asks by; a token has none.
    ``team_id`` is the one team that a member may read.
    """

    id: str
    name: str
    role: Role
    session: str = ""
    team_id: str | None = None


@dataclass(frozen=True, slots=True)
class Operator:
    """A person or a script that administers with a token of its own; times are UTC ms.

    ``team_id`` is the team of a member, None for every other role.
    """

    id: str
    name: str
    role: Role
    last4: str
    created_ms: int
    revoked_ms: int | None
    version: int
    team_id: str | None = None


@dataclass(frozen=True, slots=True)
class RepeatMark:
    """What a repetition of a create call is recognised by: its Idempotency-Key and content."""

    scope: str
    key: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Ask:
    """One wish to change something, as the audit log will name it.

    ``version`` is the version the caller saw (If-Match); None changes whatever is there.
    """

    actor: Actor
    request_id: str = ""
    mark: RepeatMark | None = None
    version: int | None = None


RECONCILIATION = Actor("reconciliation", "reconciliation", Role.FINANCE)
ADMIN_KEY = Actor("admin-key", "admin key", Role.ADMIN)
NOBODY = Actor("nobody", "nobody", Role.VIEWER)
"""Who tries to log in, until it is known who that is."""
COMMAND_LINE = Ask(Actor("command-line", "command line", Role.ADMIN))
"""Who runs a command has the database itself, and with it every permission."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One change: who made it, to what, and what it was before and after. No secrets.

    ``session`` is the beginning of the id of the login it was made by, None without one.
    """

    id: int
    at_ms: int
    actor_id: str
    actor_name: str
    action: str
    subject: str
    request_id: str
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    session: str | None = None
