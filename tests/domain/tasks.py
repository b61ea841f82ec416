"""Tasks, attempts and events that the tests of the task machine begin with."""

from __future__ import annotations

from dataclasses import replace

from gateway.domain.errors import Blame, Sent
from gateway.domain.machine import apply
from gateway.domain.model import OnAmbiguous
from gateway.domain.steps import (
    AttemptAccepted,
    AttemptDelivered,
    AttemptFailed,
    AttemptStarted,
    Event,
    Facts,
)
from gateway.domain.task import (
    Attempt,
    Candidate,
    Image,
    Task,
)

NOW = 1_000_000
DEADLINE = NOW + 600_000


def a_task(*events: Event, **changes: object) -> Task:
    task = Task(
        id="t1",
        team_id="team",
        key_id="key",
        dialect="evolink",
        model="m",
        requested_model="m",
        n=2,
        tier="2K",
        unit_price=1_500_000,
        hold=3_000_000,
        created_ms=NOW,
        deadline_ms=DEADLINE,
    )
    task = replace(task, **changes)  # type: ignore[arg-type]
    for event in events:
        task = apply(task, event)
    return task


def candidate(name: str, on_ambiguous: OnAmbiguous = OnAmbiguous.FAILOVER) -> Candidate:
    return Candidate(
        upstream=name,
        adapter="evolink",
        upstream_model="m",
        planned_cost=44_000,
        idempotent=False,
        on_ambiguous=on_ambiguous,
    )


def started(name: str = "a", no: int = 1, **changes: object) -> AttemptStarted:
    attempt = Attempt(
        id=f"{name}{no}",
        no=no,
        upstream=name,
        adapter="evolink",
        upstream_model="m",
        started_ms=NOW,
        planned_cost=44_000,
    )
    return AttemptStarted(replace(attempt, **changes))  # type: ignore[arg-type]


def failed(blame: Blame, sent: Sent = Sent.REFUSED, retry_after_ms: int = 0) -> AttemptFailed:
    return AttemptFailed(blame, sent, f"{blame}_code", "it failed", NOW + 10, retry_after_ms)


ACCEPTED = AttemptAccepted("vendor-1", NOW + 5)
PICTURES = (Image("https://x/1.png"), Image("https://x/2.png"))
DELIVERED = AttemptDelivered(PICTURES, 44_000, NOW + 9_000)
BOTH = (candidate("a"), candidate("b"))


def facts(*candidates: Candidate, now_ms: int = NOW + 100, retry_at_ms: int | None = None) -> Facts:
    return Facts(now_ms, candidates, retry_at_ms)
