"""What the use cases need from the outside, as Protocols. Wiring supplies the concrete parts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.domain.access import ApiKey, Principal, Team
from gateway.domain.callback import Callback, CallbackSpec, TryResult
from gateway.domain.errors import Problem
from gateway.domain.health import Circuit, Signal
from gateway.domain.ledger import Transfer
from gateway.domain.money import MicroCredits, MicroUsd
from gateway.domain.request import GenerationRequest, InputImage
from gateway.domain.task import Attempt, Ending, Task
from gateway.domain.upstream import Job, PollAnswer, SubmitAnswer


class Clock(Protocol):
    """Time, so that tests can own it."""

    def now_ms(self) -> int:
        """Give UTC milliseconds."""
        ...


# --- Postgres: the truth ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NewTask:
    """A priced task about to be accepted; ``request`` is stored whole beside it."""

    task: Task
    request: GenerationRequest
    callback: CallbackSpec | None = None


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

        Raises InsufficientCredits; then nothing was written.
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

    async def unfinished(self, after_id: str, limit: int) -> Sequence[Task]:
        """Give non-terminal tasks with an id greater than ``after_id``, in id order."""
        ...


class Ledger(Protocol):
    """Credits per team."""

    async def team(self, team_id: str) -> Team | None:
        """Give a team with its balance."""
        ...

    async def grant(self, team_id: str, amount: MicroCredits, reference: str | None) -> Transfer:
        """Add credits."""
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


@dataclass(frozen=True, slots=True)
class UsageRow:
    """What one model cost a team over a time range; amounts are micro-credits."""

    model: str
    status: str
    tasks: int
    images: int
    credits_charged: MicroCredits


@dataclass(frozen=True, slots=True)
class UsageSum:
    """Sums over ended tasks under one name (a team, key, model, upstream or UTC day).

    ``charged`` is in micro-credits, ``cost`` and ``exposure`` in micro-USD.
    """

    name: str
    tasks: int = 0
    completed: int = 0
    images: int = 0
    charged: MicroCredits = 0
    cost: MicroUsd = 0
    exposure: MicroUsd = 0


class Usage(Protocol):
    """Sums over ended tasks."""

    async def of_team(self, team_id: str, since_ms: int, until_ms: int) -> Sequence[UsageRow]:
        """Give a team's usage by model and status, for tasks that ended in the range."""
        ...

    async def sums(
        self, by: str, since_ms: int, until_ms: int, team_id: str | None = None
    ) -> Sequence[UsageSum]:
        """Give what was charged and what it cost by ``team``, ``key``, ``model``, ``upstream``
        or ``day``, for tasks that ended in the range.
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


# --- Valkey: the rebuildable index --------------------------------------------------------


class LiveTasks(Protocol):
    """Live state and the due queue. Raises IndexUnavailable while Valkey is away."""

    async def enqueue(self, task: Task, due_ms: int) -> None:
        """Index an accepted task and make it due, in one round trip."""
        ...

    async def get(self, task_id: str) -> Task | None:
        """Give the live state, None when not indexed."""
        ...

    async def claim(self, limit: int, lease_ms: int) -> Sequence[Lease]:
        """Take due tasks for ``lease_ms``; a task is never leased twice at once."""
        ...

    async def seize(self, task_id: str, lease_ms: int) -> Lease | None:
        """Take one task out of turn; None while somebody else holds its lease."""
        ...

    async def save(self, lease: Lease, task: Task, due_ms: int | None) -> bool:
        """Write live state and end the lease: due again at ``due_ms``, or out of the queue.

        A terminal task is announced to waiters. False when the lease was lost meanwhile.
        """
        ...

    async def renew(self, leases: Sequence[Lease], lease_ms: int) -> None:
        """Extend leases still held."""
        ...

    async def add_missing(self, tasks: Sequence[Task], due_ms: int) -> int:
        """Index tasks that are not indexed (the sweeper); gives how many were added."""
        ...

    async def epoch_lost(self) -> bool:
        """Whether the index was flushed since the last ``mark_epoch``."""
        ...

    async def mark_epoch(self) -> None:
        """Say that the index is complete again."""
        ...

    async def wait_due(self, timeout_s: float) -> None:
        """Return when a task may have become due (an ``enqueue`` anywhere), or after the time."""
        ...

    async def wait(self, task_id: str, timeout_s: float) -> Task | None:
        """Wait until a task is terminal; None when ``timeout_s`` passed first."""
        ...

    def events(self, task_id: str) -> AsyncIterator[Task]:
        """Give the task now and after every change, until terminal."""
        ...


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to visit a task until it expires; ``token`` proves it."""

    task: Task
    token: str


class HealthBoard(Protocol):
    """Circuit breakers shared by all processes, keyed by (upstream, model)."""

    async def circuits(self) -> Mapping[tuple[str, str], Circuit]:
        """Give all circuits that are not plainly closed (may be half a second old)."""
        ...

    async def observe(self, upstream: str, model: str, signal: Signal, at_ms: int) -> None:
        """Fold one outcome into the circuit."""
        ...

    async def reset(self, upstream: str) -> None:
        """Close every circuit of an upstream: an operator says that it is well."""
        ...

    async def claim_trial(self, upstream: str, model: str, at_ms: int) -> bool:
        """Take the one trial a half-open circuit admits; True also when none is needed."""
        ...


class Budgets(Protocol):
    """Token buckets and in-flight counts per upstream account."""

    async def take_submit(self, upstream: str, attempt_id: str) -> int:
        """Take the right to submit now: 0, or the milliseconds until one is free.

        Counts the attempt as in flight until ``finish``.
        """
        ...

    async def take_query(self, upstream: str, count: int = 1) -> int:
        """Take the right to query now: 0, or the milliseconds until one is free."""
        ...

    async def finish(self, upstream: str, attempt_id: str) -> None:
        """The attempt no longer runs at the vendor."""
        ...

    async def in_flight(self) -> Mapping[str, int]:
        """Give how many attempts run at each upstream."""
        ...


# --- outbound -----------------------------------------------------------------------------


class UpstreamAdapter(Protocol):
    """Code that speaks one provider's API to one upstream. Raises UpstreamError only."""

    async def submit(self, job: Job) -> SubmitAnswer:
        """Send the job once. ``UpstreamError.sent`` says how far a failure got."""
        ...

    async def poll(self, upstream_task_id: str) -> PollAnswer:
        """Ask how a job stands. An UpstreamError with ``sent=REFUSED`` ends the attempt;
        ``sent=NO`` or ``UNKNOWN`` means the query itself failed and is repeated.
        """
        ...

    async def cancel(self, upstream_task_id: str) -> bool:
        """Ask to cancel; True when the vendor confirms that nothing will be billed."""
        ...

    async def aclose(self) -> None:
        """Close connections."""
        ...


class ImageFetcher(Protocol):
    """Fetches pictures under the address guard, with byte and time caps."""

    async def fetch(self, url: str, *, bytes_max: int, upstream: str | None = None) -> FetchedImage:
        """Give a picture's bytes. ``upstream`` exempts that upstream's own hosts when its
        configuration allows private addresses. Raises FetchFailed.
        """
        ...

    async def judge(self, url: str, purpose: str) -> str | None:
        """Give why an address named by a caller is refused, None when it is public.
        ``purpose`` is ``callback`` or ``image``.
        """
        ...


class FetchFailed(Exception):
    """A picture could not be fetched; the message says why, without addresses resolved."""


@dataclass(frozen=True, slots=True)
class FetchedImage:
    """A fetched picture; ``media_type`` sniffed from its bytes."""

    content: bytes
    media_type: str


class CallbackSender(Protocol):
    """Sends one signed callback under the address guard."""

    async def send(self, callback: Callback, body: bytes) -> TryResult:
        """Make one try."""
        ...


class ImageInspector(Protocol):
    """Looks at the header of an input picture."""

    async def inspect(self, image: InputImage, field: str) -> InputImage | Problem:
        """Give the picture with its facts, or what is wrong with it."""
        ...


__all__ = [
    "ApiKey",
    "AssetStore",
    "Budgets",
    "CallbackSender",
    "Clock",
    "FetchFailed",
    "FetchedImage",
    "HealthBoard",
    "ImageFetcher",
    "ImageInspector",
    "KeyStore",
    "Lease",
    "Ledger",
    "LiveTasks",
    "MicroUsd",
    "NewTask",
    "Outbox",
    "Settlement",
    "TaskFilter",
    "TaskPage",
    "TaskStore",
    "UpstreamAdapter",
    "Usage",
    "UsageRow",
]
