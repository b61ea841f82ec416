"""Judges the lost submits of ended tasks by their vendors' task lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

import structlog

from gateway.app.ports import Clock, Exposures
from gateway.app.task_lists import TaskLists
from gateway.domain.administration import RECONCILIATION, Ask
from gateway.domain.exposure import Exposure
from gateway.domain.lost import LATE_MS, SKEW_MS, ListedJob, LostSubmit, verdicts
from gateway.domain.money import format_micro

log = structlog.get_logger(__name__)

HOUR_MS = 3_600_000
# Lists go back for 24 hours; a submit is asked for while all of its time is on them.
ASK_WITHIN_MS = 23 * HOUR_MS
# After that a list is believed to show every job it ever will.
SHOWN_AFTER_MS = 10 * 60_000
FIRST_PAUSE_MS = 60_000
PAUSE_MAX_MS = HOUR_MS
BATCH = 1_000
# Submits that are judged by one list begin at most so far apart.
SPAN_MS = HOUR_MS


@dataclass(slots=True)
class LostSubmits:
    """Clears the exposure of submits that made no job, and names the jobs of those that did.

    What the list does not prove stays as it is, for an operator.
    """

    exposures: Exposures
    lists: TaskLists
    clock: Clock
    _asked: dict[str, tuple[int, int]] = field(default_factory=dict)
    """When to judge an attempt again, and the pause after that; lost with the process."""

    async def judge(self) -> int:
        """Judge what is due; gives how many made nothing. Raises StoreUnavailable."""
        now_ms = self.clock.now_ms()
        since_ms, until_ms = now_ms - ASK_WITHIN_MS, now_ms - SHOWN_AFTER_MS
        found = await self.exposures.unnamed(self.lists.upstreams(), since_ms, until_ms, BATCH)
        self._asked = {one.id: self._asked[one.id] for one in found if one.id in self._asked}
        shown = [one for one in found if self.lists.show(one.upstream, one.upstream_model)]
        shown.sort(key=lambda one: (one.upstream, one.started_ms))
        cleared = 0
        for upstream, ones in groupby(shown, key=lambda one: one.upstream):
            for near in _spans(list(ones)):
                if any(self._asked.get(one.id, (0, 0))[0] <= now_ms for one in near):
                    cleared += await self._judge(upstream, near, now_ms)
        return cleared

    async def _judge(self, upstream: str, near: Sequence[Exposure], now_ms: int) -> int:
        for one in near:
            _, pause_ms = self._asked.get(one.id, (0, FIRST_PAUSE_MS))
            self._asked[one.id] = (now_ms + pause_ms, min(2 * pause_ms, PAUSE_MAX_MS))
        lost = [_lost(one) for one in near]
        until_ms = max(one.until_ms(now_ms) for one in lost)
        found = await self.lists.unclaimed(upstream, lost[0].since_ms, until_ms)
        if found is None:
            return 0
        asked = {one.id for one in lost}
        others = [one for one in found.lost if one.id not in asked]
        exclusive = self.lists.is_exclusive(upstream)
        said = verdicts(lost, others, found.jobs, exclusive=exclusive)
        return sum([await self._write(one, said[one.id]) for one in near if one.id in said])

    async def _write(self, one: Exposure, job: ListedJob | None) -> bool:
        log.warning(
            "lost_submit_judged",
            task_id=one.task_id,
            upstream=one.upstream,
            exposure_usd=format_micro(one.exposure),
            upstream_task_id=job and job.id,
        )
        if job is None:
            await self.exposures.resolve(one.id, 0, Ask(RECONCILIATION))
        else:
            await self.exposures.bind(one.id, job.id, Ask(RECONCILIATION))
        return job is None


def _lost(one: Exposure) -> LostSubmit:
    ended_ms = one.finished_ms or one.started_ms
    return LostSubmit(one.id, one.upstream_model, one.started_ms, ended_ms, one.exposure, one.n)


def _spans(ones: Sequence[Exposure]) -> list[list[Exposure]]:
    """Give the exposures, in order of time, by what one list is asked about: those that a job can
    be of together, within an hour. Of a longer row each part takes the others for rivals.
    """
    spans: list[list[Exposure]] = []
    until_ms = 0
    for one in ones:
        apart = one.started_ms - SKEW_MS > until_ms
        if not spans or apart or one.started_ms - spans[-1][0].started_ms > SPAN_MS:
            spans.append([])
        spans[-1].append(one)
        until_ms = max(until_ms, (one.finished_ms or one.started_ms) + LATE_MS)
    return spans
