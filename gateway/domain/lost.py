"""Lost submits: which of the jobs on a vendor's list are theirs, and which were never made.

A submit is lost when its answer is: the vendor may have made a job of it whose id nobody told us.
Its list shows jobs, not whose they are. Jobs that an attempt is known by are taken off the list
before it comes here; what is left was made by a lost submit or by a stranger at the same account.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gateway.domain.money import MicroUsd
from gateway.domain.task import Attempt

SKEW_MS = 60_000
"""How far a vendor's clock may be from ours."""
LATE_MS = 120_000
"""How long after we stopped listening a vendor may still make the job, skew included."""


@dataclass(frozen=True, slots=True)
class ListedJob:
    """A job on a vendor's list. ``model`` is the vendor's name of it; empty when it is a name
    under which nothing is bought there, so that the job may be of any model.
    """

    id: str
    model: str
    created_ms: int


@dataclass(frozen=True, slots=True)
class LostSubmit:
    """An attempt that may have made a job of unknown id.

    ``finished_ms`` is when it stopped listening for an answer, None while it still does. Full
    delivery of its ``n`` pictures costs ``exposure`` micro-USD.
    """

    id: str
    model: str
    started_ms: int
    finished_ms: int | None
    exposure: MicroUsd = 0
    n: int = 1

    @classmethod
    def of(cls, attempt: Attempt) -> LostSubmit:
        """Give what an attempt whose answer was lost may have made."""
        ended_ms = attempt.finished_ms or attempt.started_ms
        return cls(attempt.id, attempt.upstream_model, attempt.started_ms, ended_ms)

    @property
    def since_ms(self) -> int:
        """From when on its job may have been created, by the vendor's clock."""
        return self.started_ms - SKEW_MS

    def until_ms(self, now_ms: int) -> int:
        """Until when, seen from ``now_ms``."""
        return now_ms if self.finished_ms is None else self.finished_ms + LATE_MS

    def may_have_made(self, job: ListedJob) -> bool:
        """Whether a job can be its own, by model and time."""
        if job.model not in ("", self.model) or job.created_ms < self.since_ms:
            return False
        return self.finished_ms is None or job.created_ms <= self.finished_ms + LATE_MS


def job_of(
    lost: LostSubmit, others: Iterable[LostSubmit], jobs: Iterable[ListedJob]
) -> ListedJob | None:
    """Give the job of a submit, where nothing else can be true: one job, and nobody else's.

    For an account that no stranger uses: the pictures of that job go to the submit's caller.
    """
    mine = [job for job in jobs if lost.may_have_made(job)]
    if len(mine) != 1 or mine[0].model != lost.model:
        return None
    return None if any(other.may_have_made(mine[0]) for other in others) else mine[0]


def verdicts(
    lost: Sequence[LostSubmit],
    others: Sequence[LostSubmit],
    jobs: Sequence[ListedJob],
    *,
    exclusive: bool,
) -> Mapping[str, ListedJob | None]:
    """Say what became of lost submits, by id: a job, or None where nothing was made.

    Submits that the list proves nothing about are left out. Those of one model close in time are
    judged together: with no job among them, none made any. Where ``exclusive`` (no stranger uses
    the account), so many jobs are theirs; whose is whose matters only if they differ in cost, and
    then nothing is said. ``others`` are submits that may have made jobs too and are not asked for.
    """
    found: dict[str, ListedJob | None] = {}
    for group in _groups(lost):
        near = [job for job in jobs if any(one.may_have_made(job) for one in group)]
        near.sort(key=lambda job: job.created_ms)
        if not near:
            found |= dict.fromkeys((one.id for one in group), None)
        elif exclusive and _are_theirs(group, others, near):
            found |= _in_order(group, near)
    return found


def _groups(lost: Sequence[LostSubmit]) -> list[list[LostSubmit]]:
    """Give the submits by model, in order of time, apart where no job can be of both sides."""
    groups: list[list[LostSubmit]] = []
    until_ms = 0
    for one in sorted(lost, key=lambda one: (one.model, one.started_ms)):
        last = groups[-1][-1] if groups else None
        if last is None or last.model != one.model or one.since_ms > until_ms:
            groups.append([])
            until_ms = 0
        groups[-1].append(one)
        until_ms = max(until_ms, one.until_ms(one.started_ms))
    return groups


def _are_theirs(
    group: Sequence[LostSubmit], others: Sequence[LostSubmit], jobs: Sequence[ListedJob]
) -> bool:
    """Whether all the jobs are of these submits: not more than submits, and of nobody else."""
    if len(jobs) > len(group) or any(not job.model for job in jobs):
        return False
    if any(other.may_have_made(job) for other in others for job in jobs):
        return False
    return len({(one.exposure, one.n) for one in group}) == 1


def _in_order(
    group: Sequence[LostSubmit], jobs: Sequence[ListedJob]
) -> Mapping[str, ListedJob | None]:
    """Pair jobs and submits in the order of time; nothing where that leaves a job over."""
    found: dict[str, ListedJob | None] = dict.fromkeys((one.id for one in group), None)
    for job in jobs:
        free = (one for one in group if found[one.id] is None and one.may_have_made(job))
        owner = next(free, None)
        if owner is None:
            return {}
        found[owner.id] = job
    return found
