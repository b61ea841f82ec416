"""What Postgres keeps: tasks, money, keys, callbacks, usage, pictures."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.domain.access import Principal, Team
from gateway.domain.administration import Ask
from gateway.domain.callback import Callback, CallbackSpec, TryResult
from gateway.domain.exposure import Exposure
from gateway.domain.ledger import LedgerReport, Transfer
from gateway.domain.lost import LostSubmit
from gateway.domain.money import MicroCredits, MicroUsd
from gateway.domain.price_overrides import PriceOverrides
from gateway.domain.repeats import CallMark, EarlierCall
from gateway.domain.request import GenerationRequest
from gateway.domain.task import Attempt, Ending, Task
from gateway.domain.usage import UsageQuery, UsageSum


@dataclass(frozen=True, slots=True)
class NewTask:
    """A priced task about to be accepted; ``request`` is stored whole beside it.

    ``mark`` is what a repetition of the call will be recognised by.
    """

    task: Task
    request: GenerationRequest
    callback: CallbackSpec | None = None
    mark: CallMark | None = None


@dataclass(frozen=True, slots=True)
class Settlement:
    """Everything the one settle transaction writes.

    ``task`` carries every event folded in so far and the fence it was loaded with; its
    attempts are written too. ``charged`` is what is captured (0 = release). The callback body
    is rendered at delivery, from the settled task.
    """

    task: Task
    ending: Ending
    charged: MicroCredits
    at_ms: int


@dataclass(frozen=True, slots=True)
class TaskPage:
    """One page of a team's tasks, newest first; ``next_cursor`` None at the end."""

    tasks: tuple[Task, ...]
    next_cursor: str | None
    total: int | None = None


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """Which of a team's tasks to list; None does not filter. ``page`` counts from 1."""

    status: str | None = None
    model: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    task_id: str | None = None


class TaskStore(Protocol):
    """Durable tasks, attempts and settlements. Every write compares the task's fence.

    All methods raise StoreUnavailable while Postgres is away.
    """

    async def accept(self, new: NewTask) -> None:
        """Hold the credits and insert the task, in one transaction shared by concurrent calls.

        Raises InsufficientCredits, TaskIdTaken, and RepeatedCall when the Idempotency-Key is in
        use: of calls at once, in any process, one is accepted. Then nothing was written.
        """
        ...

    async def get(self, task_id: str) -> Task | None:
        """Give a task as last written here."""
        ...

    async def request_of(self, task_id: str) -> GenerationRequest:
        """Give the stored request of a task."""
        ...

    async def save(self, task: Task, attempt: Attempt | None) -> Task:
        """Write the task and its changed attempt durably; gives the task with its new fence.

        ``task.fence`` is the fence it was loaded with. Raises StaleFence when another worker
        moved it on or it is already terminal.
        """
        ...

    async def settle(self, settlement: Settlement) -> Task:
        """Resolve the hold, end the task, write usage and callback rows: one transaction.

        Gives the terminal task. Raises StaleFence when it was settled already.
        """
        ...

    async def page(
        self,
        team_id: str,
        where: TaskFilter,
        limit: int,
        cursor: str | None,
        offset: int | None = None,
    ) -> TaskPage:
        """List a team's tasks, newest first; with ``offset`` (page-numbered dialects), a total."""
        ...

    async def unfinished(self, after_id: str, limit: int) -> Sequence[str]:
        """Give ids of non-terminal tasks greater than ``after_id``, in their order."""
        ...

    async def several(self, task_ids: Sequence[str]) -> Sequence[Task]:
        """Give those of some tasks that are there, in no order."""
        ...

    async def forget(self, before_ms: int, limit: int) -> int:
        """Delete at most ``limit`` tasks that ended before a time; gives how many."""
        ...

    async def strip(self, before_ms: int, limit: int) -> int:
        """Empty the requests of at most ``limit`` such tasks; gives how many."""
        ...


@dataclass(frozen=True, slots=True)
class LedgerCheck:
    """When the books were last proven (UTC ms), and how many rules' violations were found."""

    at_ms: int
    violations: int


class Repeats(Protocol):
    """What earlier create calls are recognised by; `TaskStore.accept` writes it.

    All methods raise StoreUnavailable while Postgres is away.
    """

    async def under_key(self, team_id: str, scope: str, key: str) -> EarlierCall | None:
        """Give the first call under an Idempotency-Key; None when there was none in 24 hours."""
        ...

    async def of_retry(self, key_id: str, fingerprint: bytes, retries: int) -> str | None:
        """Give the task that an earlier try of an SDK's call made, at most 11 minutes ago.

        The newest one that no try with this number was given yet: of two equal calls that were
        both cut off, each finds its own.
        """
        ...

    async def forget(self, limit: int) -> int:
        """Forget at most ``limit`` marks that are too old to count; gives how many."""
        ...


class Ledger(Protocol):
    """Credits per team."""

    async def team(self, team_id: str) -> Team | None:
        """Give a team with its balance."""
        ...

    async def grant(self, team_id: str, amount: MicroCredits, reference: str | None) -> Transfer:
        """Add credits."""
        ...


class Exposures(Protocol):
    """What attempts of ended tasks may have cost, until it is resolved."""

    async def unnamed(
        self, upstreams: Sequence[str], since_ms: int, until_ms: int, limit: int
    ) -> Sequence[Exposure]:
        """Give those begun since then and lost until then at these upstreams, whose vendor named
        no task, newest first.
        """
        ...

    async def bind(self, attempt_id: str, upstream_task_id: str, ask: Ask) -> bool:
        """Write down under which id the vendor has the job of such an attempt.

        False when it is resolved or has an id by now.
        """
        ...

    async def askable(self, since_ms: int, limit: int) -> Sequence[Exposure]:
        """Give those begun since then whose vendor named its task, newest first."""
        ...

    async def resolve(self, attempt_id: str, cost: MicroUsd | None, ask: Ask) -> Attempt:
        """Book what one came to: this cost, the whole of it (None), or nothing (0).

        Raises NotFound, InUse, InvalidRequest.
        """
        ...

    async def open_exposure(self) -> tuple[int, MicroUsd]:
        """Give in how many attempts how much is open."""
        ...


@dataclass(frozen=True, slots=True)
class Claims:
    """What is known here of a vendor's jobs.

    ``known`` are the ids that an attempt has; ``lost`` are the attempts that may have made a job
    and have no id, those whose submit is under way among them.
    """

    known: frozenset[str]
    lost: tuple[LostSubmit, ...]


class JobClaims(Protocol):
    """Whose the jobs on a vendor's list are."""

    async def claims(
        self, adapter: str, job_ids: Sequence[str], since_ms: int, until_ms: int
    ) -> Claims:
        """Give what attempts begun in a time know, those of all upstreams with this adapter.

        One snapshot: of an attempt that is told its id meanwhile, either is given, never neither.
        """
        ...


class LedgerChecks(Protocol):
    """The proof of the books, and when it was last made."""

    async def verify(self) -> LedgerReport:
        """Check every rule of the books in one snapshot, and remember what was found."""
        ...

    async def last_check(self) -> LedgerCheck | None:
        """Give the outcome of the last proof, by whichever process; None when there was none."""
        ...


class Drains(Protocol):
    """Upstreams that an operator took out of service."""

    async def drained(self) -> Mapping[str, int]:
        """Give them and since when (UTC ms), at most a second old. Never raises."""
        ...


class Prices(Protocol):
    """Prices agreed with teams and keys."""

    async def overrides(self) -> PriceOverrides:
        """Give all of them, at most a second old. Raises StoreUnavailable if none was ever read."""
        ...


class KeyStore(Protocol):
    """API keys by their hash."""

    async def principal(self, key_text: str) -> Principal | None:
        """Give whom a key acts for; None when unknown, revoked or expired."""
        ...


class Outbox(Protocol):
    """Callbacks waiting to be sent; rows were written by settlements."""

    async def claim(self, limit: int, lease_ms: int) -> Sequence[Callback]:
        """Take due callbacks for ``lease_ms``; another worker will not get them meanwhile."""
        ...

    async def record(self, callback: Callback, result: TryResult, next_at_ms: int | None) -> None:
        """Log a try; delivered, or due again at ``next_at_ms``, or dead when that is None."""
        ...


class CallbackCounts(Protocol):
    """How many callbacks wait or were given up."""

    async def counts(self) -> dict[str, int]:
        """Give how many are ``pending`` and how many ``dead``."""
        ...


class Usage(Protocol):
    """Sums over ended tasks."""

    def rows(self, query: UsageQuery) -> AsyncGenerator[UsageSum]:
        """Give the sums, one for each group, in the order of the groups.

        Raises InvalidRequest for a team or key there is none of, StoreUnavailable.
        """
        ...


class AssetStore(Protocol):
    """Picture bytes kept by the gateway itself."""

    async def put(self, asset_id: str, content: bytes, media_type: str, expires_ms: int) -> None:
        """Keep a picture until ``expires_ms``."""
        ...

    async def get(self, asset_id: str) -> tuple[bytes, str] | None:
        """Give bytes and media type; None when unknown or expired."""
        ...

    async def delete(self, asset_ids: Sequence[str]) -> int:
        """Delete pictures; gives how many there were."""
        ...

    async def expire(self, limit: int) -> int:
        """Delete at most ``limit`` expired pictures; gives how many."""
        ...
