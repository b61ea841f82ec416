"""Who calls: teams, keys and the principal a request acts as."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from ipaddress import ip_address, ip_network

from gateway.domain.budgets import NO_BUDGET, Budget
from gateway.domain.caps import NOTHING, Counts
from gateway.domain.errors import Problem
from gateway.domain.limits import Limit
from gateway.domain.money import MICRO_MAX, MicroCredits

SCOPES = ("generate", "read", "usage")
LIST_MAX = 100
LIMITS = ("requests_per_minute", "images_per_minute", "concurrent_tasks")
CAPS = ("credit_cap", "monthly_credit_cap")
LIMIT_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class KeyRules:
    """What a key may do; None allows everything.

    The limits a minute count what all processes accept within any sixty seconds;
    ``concurrent_tasks`` counts accepted tasks until they end, the caps (micro-credits) what
    these may be charged and what ended ones were.

    ``models`` are canonical ids, ``upstreams`` names of upstreams or adapters, ``networks``
    CIDR ranges callers must come from.
    """

    scopes: tuple[str, ...] | None = None
    models: tuple[str, ...] | None = None
    upstreams: tuple[str, ...] | None = None
    networks: tuple[str, ...] | None = None
    requests_per_minute: int | None = None
    images_per_minute: int | None = None
    concurrent_tasks: int | None = None
    credit_cap: MicroCredits | None = None
    monthly_credit_cap: MicroCredits | None = None

    def problems(self) -> Iterator[Problem]:
        """Give everything that is wrong with these rules, by field."""
        for name in ("scopes", "models", "upstreams", "networks"):
            texts = getattr(self, name)
            if texts is not None and not 1 <= len(texts) <= LIST_MAX:
                legal = f"1 to {LIST_MAX} entries, or null for no rule"
                yield Problem(name, f"{name} has {len(texts)} entries.", legal=legal)
        for name in LIMITS:
            most = getattr(self, name)
            if most is not None and not 1 <= most <= LIMIT_MAX:
                legal = f"1 to {LIMIT_MAX}, or null for no limit"
                yield Problem(name, f"{name} is not valid.", legal=legal)
        for name in CAPS:
            cap = getattr(self, name)
            if cap is not None and not 0 < cap <= MICRO_MAX:
                legal = "more than 0 credits, or null for no cap"
                yield Problem(name, f"{name} is not valid.", legal=legal)
        for scope in self.scopes or ():
            if scope not in SCOPES:
                yield Problem("scopes", f"{scope!r} is no scope.", legal=", ".join(SCOPES))
        for network in self.networks or ():
            if not _is_network(network):
                message = f"{network!r} is no network."
                yield Problem("networks", message, legal="CIDR such as 10.0.0.0/8")

    def limits(self, images: int) -> tuple[Limit, ...]:
        """Give the limits a minute of a call that asks for so many pictures."""
        asked = (
            ("requests", self.requests_per_minute, 1),
            ("images", self.images_per_minute, images),
        )
        return tuple(Limit(name, most, amount) for name, most, amount in asked if most is not None)

    def admits_scope(self, scope: str) -> bool:
        """Whether calls of this kind are allowed."""
        return self.scopes is None or scope in self.scopes

    def admits_address(self, address: str | None) -> bool:
        """Whether a caller at this address is allowed; one without an address never is."""
        if self.networks is None:
            return True
        try:
            caller = ip_address(address or "")
        except ValueError:
            return False
        mapped = getattr(caller, "ipv4_mapped", None)
        return any((mapped or caller) in ip_network(network) for network in self.networks)


ANYTHING = KeyRules()
RULES = tuple(field.name for field in fields(KeyRules))


def _is_network(text: str) -> bool:
    try:
        ip_network(text)
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated key and its team. ``default_mode`` is ``auto``, ``sync`` or ``async``.

    A suspended team's keys are known and may do nothing. ``limits_id`` names what the key's
    limits are counted under: a key and those it was rotated into share it.
    """

    team_id: str
    team_name: str
    key_id: str
    key_name: str = ""
    default_mode: str = "auto"
    user_group: str = "default"
    rules: KeyRules = ANYTHING
    suspended: bool = False
    limits_id: str = ""

    @property
    def counted_as(self) -> str:
        """What the key's limits are counted under."""
        return self.limits_id or self.key_id


@dataclass(frozen=True, slots=True)
class Team:
    """A team that pays. Amounts are micro-credits; ``held`` is part of ``balance``.

    ``callback_retries`` is ``quick`` (three retries within seconds) or ``days`` (then slow ones);
    ``month_spent`` is what was charged this month.
    """

    id: str
    name: str
    balance: MicroCredits
    held: MicroCredits
    webhook_secret: str
    created_ms: int
    user_group: str = "default"
    version: int = 1
    suspended_ms: int | None = None
    callback_retries: str = "quick"
    budget: Budget = NO_BUDGET
    month_spent: MicroCredits = 0

    @property
    def available(self) -> MicroCredits:
        """What can still be held."""
        return self.balance - self.held


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is shown: never its text, only the last four characters.

    ``counts`` is what counts against its caps, of all keys that share them.
    """

    id: str
    team_id: str
    team_name: str
    name: str
    last4: str
    created_ms: int
    default_mode: str = "auto"
    expires_ms: int | None = None
    revoked_ms: int | None = None
    version: int = 1
    rules: KeyRules = ANYTHING
    limits_id: str = ""
    counts: Counts = NOTHING
