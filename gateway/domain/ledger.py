"""Ledger records: immutable transfers, and the ids that make a repeat harmless.

Two-phase, after TigerBeetle: a *hold* at accept, then exactly one *capture* (at most the
hold; the rest returns) or *release*. A *grant* adds credits, an *expiration* takes away what is
left of one at its time. Operators correct a balance by a *credit* or *debit*, and give back what a
task was charged, or a part of it, by a *refund*.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha1
from uuid import UUID

from gateway.domain.money import MicroCredits

_NAMESPACE = UUID("6d9c1f52-2d0e-5c39-9a51-7a2b6d7f4e10")
_SEEDED = sha1(_NAMESPACE.bytes, usedforsecurity=False)


class TransferKind(StrEnum):
    """What a transfer does."""

    GRANT = "grant"
    HOLD = "hold"
    CAPTURE = "capture"
    RELEASE = "release"
    CREDIT = "credit"
    DEBIT = "debit"
    REFUND = "refund"
    EXPIRATION = "expiration"


_TAKES = (TransferKind.CAPTURE, TransferKind.DEBIT, TransferKind.EXPIRATION)


@dataclass(frozen=True, slots=True)
class Transfer:
    """One immutable ledger row. ``amount`` is micro-credits, never negative.

    A capture's ``amount`` is what was kept; ``returned`` is the rest of its hold. A grant may
    expire at ``expires_ms``.
    """

    id: UUID
    kind: TransferKind
    team_id: str
    amount: MicroCredits
    created_ms: int
    task_id: str | None = None
    hold_id: UUID | None = None
    returned: MicroCredits = 0
    reference: str | None = None
    expires_ms: int | None = None

    @property
    def gain(self) -> MicroCredits:
        """What it adds to the balance before holds, below 0 for what it takes away."""
        if self.kind in (TransferKind.HOLD, TransferKind.RELEASE):
            return 0
        return -self.amount if self.kind in _TAKES else self.amount


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule of the ledger that does not hold: for which transfer, task or team, and how."""

    rule: str
    subject: str
    detail: str


@dataclass(frozen=True, slots=True)
class LedgerReport:
    """What a verification looked at, in one snapshot, and everything it found wrong."""

    transfers: int
    teams: int
    tasks: int
    violations: tuple[Violation, ...]

    @property
    def is_sound(self) -> bool:
        """Whether every rule holds."""
        return not self.violations


def transfer_id(task_id: str, kind: TransferKind) -> UUID:
    """Give the deterministic id of a task's transfer, so that a repeat is a conflict."""
    return _named(f"{task_id}:{kind.value}")


def resolution_id(task_id: str) -> UUID:
    """Give the id shared by capture and release: a task can have only one of them."""
    return _named(f"{task_id}:resolution")


def _named(name: str) -> UUID:
    """Give a UUID of version 5 (RFC 9562), as `uuid.uuid5` does with more steps."""
    hashed = _SEEDED.copy()
    hashed.update(name.encode())
    return UUID(bytes=hashed.digest()[:16], version=5)
