"""What vendors' task lists tell of submits whose answer was lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from gateway.app.ports import Budgets, Clock, JobClaims, UpstreamAdapter
from gateway.app.queries import may_ask
from gateway.domain.errors import UpstreamError
from gateway.domain.lost import ListedJob, LostSubmit, job_of
from gateway.domain.model import Catalog
from gateway.domain.task import Attempt, Outcome

log = structlog.get_logger(__name__)

# A list that is longer than that is not read to its end, and proves nothing.
PAGES_MAX = 20
# How long the submits that were under way when the list was read have to get their answer.
ANSWERED_S = 1.5
# An attempt may have begun so long before its job: longer than any submit takes, sent again or not.
BEGUN_BEFORE_MS = 30 * 60_000


@dataclass(frozen=True, slots=True)
class Unclaimed:
    """The jobs of a time that no attempt is known by, and the attempts that may have made them."""

    jobs: tuple[ListedJob, ...]
    lost: tuple[LostSubmit, ...]


@dataclass(frozen=True, slots=True)
class TaskLists:
    """Reads vendors' lists, and takes off them what is known here."""

    catalog: Callable[[], Catalog]
    adapters: Callable[[], Mapping[str, UpstreamAdapter]]
    budgets: Budgets
    claims: JobClaims
    clock: Clock

    def show(self, upstream: str, upstream_model: str) -> bool:
        """Whether the upstream's list shows the jobs of this model, as they are sent now."""
        adapter = self.adapters().get(upstream)
        if adapter is None:
            return False
        offers = self.catalog().offers_of(upstream)
        ways = [o.protocol for o in offers if o.upstream_model == upstream_model]
        return bool(ways) and all(adapter.lists(way) for way in ways)

    def upstreams(self) -> list[str]:
        """Give the upstreams whose list shows what is sent there, or some of it."""
        catalog = self.catalog()
        return [
            name
            for name in catalog.upstreams
            if any(self.show(name, offer.upstream_model) for offer in catalog.offers_of(name))
        ]

    def is_exclusive(self, upstream: str) -> bool:
        """Whether no stranger makes jobs with the upstream's account, by its operator's word."""
        found = self.catalog().upstreams.get(upstream)
        return found is not None and found.exclusive_account

    def may_adopt(self, attempt: Attempt | None) -> bool:
        """Whether the attempt is a lost submit whose job can be told to be its own."""
        if attempt is None or attempt.outcome is not Outcome.UNKNOWN:
            return False
        return self.is_exclusive(attempt.upstream) and self.show(
            attempt.upstream, attempt.upstream_model
        )

    async def job_of(self, attempt: Attempt) -> str | None:
        """Give the vendor's id of a lost submit's job, where it can be no other's.

        Raises StoreUnavailable.
        """
        mine = LostSubmit.of(attempt)
        now_ms = self.clock.now_ms()
        found = await self.unclaimed(attempt.upstream, mine.since_ms, mine.until_ms(now_ms))
        if found is None:
            return None
        others = (one for one in found.lost if one.id != attempt.id)
        job = job_of(mine, others, found.jobs)
        return job.id if job else None

    async def unclaimed(self, upstream: str, since_ms: int, until_ms: int) -> Unclaimed | None:
        """Give what is unclaimed of a time of at most a day; None when the list cannot be read.

        Whoever made a job of the list began before it was read and had written that down before:
        so it is looked up afterwards, when those that were under way know their jobs.
        Raises StoreUnavailable.
        """
        configured = self.catalog().upstreams.get(upstream)
        listed = None if configured is None else await self._listed(upstream, since_ms, until_ms)
        if configured is None or listed is None:
            return None
        read_ms = self.clock.now_ms()
        await asyncio.sleep(ANSWERED_S)
        ids = [job.id for job in listed]
        begun_ms = since_ms - BEGUN_BEFORE_MS
        claims = await self.claims.claims(configured.adapter, ids, begun_ms, read_ms)
        names = {offer.upstream_model for offer in self.catalog().offers_of(upstream)}
        jobs = (
            ListedJob(job.id, job.model if job.model in names else "", job.created_ms)
            for job in listed
            if job.id not in claims.known
        )
        return Unclaimed(tuple(jobs), claims.lost)

    async def _listed(
        self, upstream: str, since_ms: int, until_ms: int
    ) -> tuple[ListedJob, ...] | None:
        adapter = self.adapters().get(upstream)
        jobs: dict[str, ListedJob] = {}
        cursor = None
        for _ in range(PAGES_MAX if adapter else 0):
            if adapter is None or not await may_ask(self.budgets, upstream):
                return None
            try:
                page = await adapter.list_jobs(since_ms, until_ms, cursor)
            except UpstreamError as error:
                log.info("task_list_unread", upstream=upstream, reason=error.message)
                return None
            jobs |= {job.id: job for job in page.jobs}
            cursor = page.next_cursor
            if cursor is None:
                return tuple(jobs.values())
        log.info("task_list_unread", upstream=upstream, reason="The list is too long.")
        return None
