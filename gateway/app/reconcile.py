"""Asks vendors what became of the attempts that were given up, while they still know."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

import structlog

from gateway.app.lost_submits import LostSubmits
from gateway.app.ports import Budgets, Clock, Exposures, UpstreamAdapter
from gateway.domain.administration import RECONCILIATION, Ask
from gateway.domain.errors import Sent, UpstreamError
from gateway.domain.exposure import Exposure
from gateway.domain.money import MicroUsd, format_micro
from gateway.domain.upstream import Delivered, Running

log = structlog.get_logger(__name__)

# As long as vendors keep their tasks (providers/*.md: 24 hours is what all of them promise).
ASK_WITHIN_MS = 24 * 3_600_000
FIRST_PAUSE_MS = 60_000
PAUSE_MAX_MS = 3_600_000
BATCH = 100


@dataclass(slots=True)
class Reconcile:
    """Resolves exposure of attempts that nobody waits for any more: of those a vendor is known to
    have accepted, and of lost submits whose job, or whose lack of one, its list shows (``lost``).

    A late success is booked as cost without a charge (waste); a vendor that failed the task or
    cancelled it bills nothing. Any number of processes may run it: ``alone`` is a lock over all.
    """

    exposures: Exposures
    adapters: Callable[[], Mapping[str, UpstreamAdapter]]
    budgets: Budgets
    clock: Clock
    lost: LostSubmits
    alone: Callable[[], AbstractAsyncContextManager[bool]]
    _asked: dict[str, tuple[int, int]] = field(default_factory=dict)
    """When to ask about an attempt again, and the pause after that; lost with the process."""

    async def run(self) -> int:
        """Ask about what is due; gives how many were resolved."""
        async with self.alone() as mine:
            return await self._run() if mine else 0

    async def _run(self) -> int:
        now_ms = self.clock.now_ms()
        resolved = await self.lost.judge()
        found = await self.exposures.askable(now_ms - ASK_WITHIN_MS, BATCH)
        self._asked = {one.id: self._asked[one.id] for one in found if one.id in self._asked}
        for one in found:
            due_ms, pause_ms = self._asked.get(one.id, (0, FIRST_PAUSE_MS))
            if due_ms <= now_ms and not await self.budgets.take_query(one.upstream):
                self._asked[one.id] = (now_ms + pause_ms, min(2 * pause_ms, PAUSE_MAX_MS))
                resolved += await self._ask(one)
        return resolved

    async def _ask(self, one: Exposure) -> bool:
        cost = await self._cost_of(one)
        if cost is None:
            return False
        await self.exposures.resolve(one.id, cost, Ask(RECONCILIATION))
        log.warning(
            "exposure_resolved",
            task_id=one.task_id,
            upstream=one.upstream,
            exposure_usd=format_micro(one.exposure),
            waste_usd=format_micro(cost),
        )
        return True

    async def _cost_of(self, one: Exposure) -> MicroUsd | None:
        """Give what the vendor says it came to; None while it does not say."""
        adapter = self.adapters().get(one.upstream)
        if adapter is None or one.upstream_task_id is None:
            return None
        try:
            answer = await adapter.poll(one.upstream_task_id)
        except UpstreamError as error:
            return 0 if error.sent is Sent.REFUSED and error.code != "task_unknown" else None
        if isinstance(answer, Running):
            return None
        return one.cost_of(len(answer.images)) if isinstance(answer, Delivered) else 0
