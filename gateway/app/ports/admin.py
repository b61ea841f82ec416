"""What administration needs of the stores: teams, keys, the audit log."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from gateway.domain.access import ApiKey, KeyRules, Team
from gateway.domain.administration import Ask, AuditEntry, Operator, Role
from gateway.domain.callback import CallbackLog
from gateway.domain.exposure import Exposure
from gateway.domain.invoice import Booked
from gateway.domain.ledger import Transfer
from gateway.domain.money import MicroCredits, MicroUsd
from gateway.domain.price_overrides import PriceOverride
from gateway.domain.price_table import PriceTable
from gateway.domain.statement import Month, Statement
from gateway.domain.task import Attempt

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list, newest first; ``cursor`` continues it, None at the end."""

    items: tuple[T, ...]
    cursor: str | None


class TeamAdmin(Protocol):
    """Teams as operators see them. Every change writes its audit row."""

    async def create_team(self, name: str, user_group: str = ..., *, ask: Ask = ...) -> Team:
        """Add a team without credits. Raises NameTaken, InvalidRequest, RepeatedChange."""
        ...

    async def team(self, team_id: str) -> Team | None:
        """Give a team with its balance."""
        ...

    async def team_page(self, limit: int, cursor: str | None) -> Page[Team]:
        """Give a page of teams. Raises InvalidRequest for a cursor that is none of ours."""
        ...

    async def update_team(self, team_id: str, fields: Mapping[str, Any], ask: Ask) -> Team:
        """Change what is given. Raises NotFound, NameTaken, VersionConflict."""
        ...

    async def suspend_team(self, team_id: str, ask: Ask, *, suspended: bool) -> Team:
        """Stop a team's keys from working, or let them work again. Raises NotFound."""
        ...

    async def delete_team(self, team_id: str, ask: Ask) -> None:
        """Delete a team that never had a transfer, with its keys. Raises NotFound, InUse."""
        ...

    async def rotate_webhook_secret(self, team_id: str, overlap_ms: int, ask: Ask = ...) -> str:
        """Give the new signing secret; the old ones sign on for ``overlap_ms``. Raises NotFound,
        RepeatedChange.
        """
        ...


class KeyAdmin(Protocol):
    """Keys as operators see them. Every change writes its audit row."""

    async def create(
        self,
        team_id: str,
        name: str = "",
        *,
        default_mode: str = ...,
        expires_ms: int | None = ...,
        rules: KeyRules = ...,
        ask: Ask = ...,
    ) -> tuple[ApiKey, str]:
        """Add a key; gives it and its text. Raises NotFound, InvalidRequest, RepeatedChange."""
        ...

    async def key(self, key_id: str) -> ApiKey:
        """Give a key without its text. Raises NotFound."""
        ...

    async def key_page(self, limit: int, cursor: str | None, team_id: str | None) -> Page[ApiKey]:
        """Give a page of keys, revoked ones included. Raises InvalidRequest for a bad cursor."""
        ...

    async def update(self, key_id: str, fields: Mapping[str, Any], ask: Ask) -> ApiKey:
        """Change a key's name, mode, end and rules. Raises NotFound, VersionConflict."""
        ...

    async def revoke(self, key_id: str, ask: Ask = ...) -> ApiKey:
        """End a key now, in every process within a second. Raises NotFound."""
        ...

    async def rotate(self, key_id: str, overlap_ms: int, ask: Ask = ...) -> tuple[ApiKey, str]:
        """Give a new key like this one; the old one ends after ``overlap_ms``."""
        ...


class CallbackAdmin(Protocol):
    """Callbacks as operators see them."""

    async def callback(self, callback_id: str) -> CallbackLog:
        """Give one with every try. Raises NotFound."""
        ...

    async def callback_page(
        self, limit: int, cursor: str | None, *, state: str | None, team_id: str | None
    ) -> Page[CallbackLog]:
        """Give a page, newest first. Raises InvalidRequest for a cursor that is none of ours."""
        ...

    async def replay(self, callback_id: str, ask: Ask = ...) -> None:
        """Send one again from its first try, and write the audit row. Raises NotFound."""
        ...


class ExposureAdmin(Protocol):
    """Open exposures as operators see them."""

    async def exposure_page(
        self, limit: int, cursor: str | None, upstream: str | None = ...
    ) -> Page[Exposure]:
        """Give a page, newest first. Raises InvalidRequest for a cursor that is none of ours."""
        ...

    async def resolve(self, attempt_id: str, cost: MicroUsd | None, ask: Ask) -> Attempt:
        """Book what one came to. Raises NotFound, InUse, InvalidRequest."""
        ...


class BookedAttempts(Protocol):
    """What attempts cost, as the books have it."""

    async def booked(
        self, upstream: str, from_ms: int, until_ms: int, upstream_task_ids: Sequence[str]
    ) -> Sequence[Booked]:
        """Give an upstream's attempts of a time (UTC ms), and those that are named, whenever they
        were. Raises StoreUnavailable.
        """
        ...

    async def upstreams(self) -> Sequence[str]:
        """Give the names of all upstreams that anything was ever booked for."""
        ...


class CreditAdmin(Protocol):
    """Credits as finance sees them. Every change writes its audit row."""

    async def grant(
        self,
        team_id: str,
        amount: MicroCredits,
        reference: str | None,
        ask: Ask = ...,
        *,
        expires_ms: int | None = ...,
    ) -> Transfer:
        """Add credits, for good or until a time. Raises NotFound, InvalidRequest."""
        ...

    async def adjust(
        self, team_id: str, change: MicroCredits, reference: str, ask: Ask = ...
    ) -> Transfer:
        """Correct a balance up or down. Raises NotFound, InvalidRequest."""
        ...

    async def refund(
        self, task_id: str, amount: MicroCredits | None, reference: str, ask: Ask = ...
    ) -> Transfer:
        """Give back what a task was charged, or a part. Raises NotFound, InvalidRequest."""
        ...

    async def credit_page(self, team_id: str, limit: int, cursor: str | None) -> Page[Transfer]:
        """Give a team's grants, adjustments, refunds and expirations, newest first."""
        ...

    async def statement(self, team_id: str, month: Month) -> Statement:
        """Give a team's statement. Raises NotFound."""
        ...


class OperatorAdmin(Protocol):
    """Who administers. Every change writes its audit row."""

    async def create_operator(
        self, name: str, role: Role, ask: Ask = ..., *, team_id: str | None = ...
    ) -> tuple[Operator, str]:
        """Add one, a member with its team; gives it and its token.

        Raises NameTaken, InvalidRequest, NotFound, RepeatedChange.
        """
        ...

    async def operator(self, operator_id: str) -> Operator:
        """Give one without its token. Raises NotFound."""
        ...

    async def operator_page(self, limit: int, cursor: str | None) -> Page[Operator]:
        """Give a page, newest first. Raises InvalidRequest for a bad cursor."""
        ...

    async def change_role(
        self, operator_id: str, role: Role, ask: Ask = ..., *, team_id: str | None = ...
    ) -> Operator:
        """Trust one with something else. Raises NotFound, VersionConflict."""
        ...

    async def revoke_operator(self, operator_id: str, ask: Ask = ...) -> Operator:
        """End a token now. Raises NotFound, VersionConflict."""
        ...


class PriceAdmin(Protocol):
    """Prices agreed with teams and keys. Every change writes its audit row."""

    async def set_price(
        self,
        team_id: str,
        key_id: str | None,
        model: str,
        table: PriceTable,
        *,
        from_ms: int | None = ...,
        until_ms: int | None = ...,
        ask: Ask = ...,
    ) -> PriceOverride:
        """Agree on one, instead of an earlier one. Raises NotFound."""
        ...

    async def remove_price(self, override_id: int, ask: Ask = ...) -> PriceOverride:
        """End one. Raises NotFound."""
        ...

    async def price_page(
        self, limit: int, before_id: int | None = ..., team_id: str | None = ...
    ) -> Page[PriceOverride]:
        """Give a page, newest first."""
        ...


class DrainAdmin(Protocol):
    """Takes upstreams out of service, and back."""

    async def drained(self) -> Mapping[str, int]:
        """Give the drained upstreams and since when (UTC ms)."""
        ...

    async def drain(self, name: str, ask: Ask = ...) -> None:
        """Send nothing new there."""
        ...

    async def resume(self, name: str, ask: Ask = ...) -> None:
        """Let it be chosen again."""
        ...


class TeamRows(Protocol):
    """All rows of a team, whatever their number."""

    def rows(self, team_id: str) -> AsyncGenerator[dict[str, Any]]:
        """Give them as lines of an export: tasks, attempts, callbacks, usage, transfers, audit.

        All are of one moment. Raises StoreUnavailable.
        """
        ...

    async def count(self, team_id: str) -> int:
        """Give about how many lines that are."""
        ...


@dataclass(frozen=True, slots=True)
class EndedTasks:
    """Some ended tasks of a team and the assets that are theirs; ``last`` continues after them."""

    task_ids: tuple[str, ...]
    assets: tuple[str, ...]
    last: tuple[int, str]


class TeamErasure(Protocol):
    """What empties a team's rows. All methods raise StoreUnavailable."""

    async def close(self, team_id: str, name: str, ask: Ask) -> bool:
        """Take the team's name, end its keys; False when that was done before.

        Raises NotFound; InvalidRequest for another name; InUse while tasks are under way.
        """
        ...

    async def count(self, team_id: str) -> int:
        """Give how many tasks of the team have ended."""
        ...

    async def page(self, team_id: str, after: tuple[int, str], limit: int) -> EndedTasks | None:
        """Give the next ended tasks, None after the last."""
        ...

    async def empty(self, task_ids: Sequence[str]) -> int:
        """Empty ended tasks and drop their callbacks; gives how many were not empty yet."""
        ...

    async def running(self, team_id: str) -> int:
        """Give how many tasks are under way."""
        ...

    async def finish(self, team_id: str, tasks: int, pictures: int, ask: Ask) -> None:
        """Drop what belongs to no task, and write the audit row of what was emptied."""
        ...


class AuditLog(Protocol):
    """What was changed by whom."""

    async def log(
        self,
        limit: int,
        before_id: int | None = None,
        *,
        subject: str | None = None,
        actor_id: str | None = None,
    ) -> Page[AuditEntry]:
        """Give a page of the audit log, newest first."""
        ...
