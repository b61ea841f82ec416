"""Who calls: teams, keys and the principal a request acts as."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.domain.money import MicroCredits


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated key and its team. ``default_mode`` is ``auto``, ``sync`` or ``async``."""

    team_id: str
    team_name: str
    key_id: str
    key_name: str = ""
    default_mode: str = "auto"
    user_group: str = "default"


@dataclass(frozen=True, slots=True)
class Team:
    """A team that pays. Amounts are micro-credits; ``held`` is part of ``balance``."""

    id: str
    name: str
    balance: MicroCredits
    held: MicroCredits
    webhook_secret: str
    created_ms: int
    user_group: str = "default"

    @property
    def available(self) -> MicroCredits:
        """What can still be held."""
        return self.balance - self.held


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is shown: never its text, only the last four characters."""

    id: str
    team_id: str
    team_name: str
    name: str
    last4: str
    created_ms: int
    default_mode: str = "auto"
    expires_ms: int | None = None
    revoked_ms: int | None = None
