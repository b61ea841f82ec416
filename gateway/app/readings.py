"""Figures of the whole gateway, whichever process is asked: for `/metrics`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from gateway.app.ports import CallbackCounts, Exposures, LedgerChecks, LiveTasks
from gateway.app.ports.batches import BatchStore
from gateway.domain.errors import Unavailable
from gateway.domain.money import MICRO

READINGS: Mapping[str, str] = {
    "queue_tasks": "Tasks under way.",
    "queue_due": "Tasks under way whose next visit is due.",
    "queue_lag_seconds": "How long the oldest due visit waits.",
    "callbacks_pending": "Callbacks waiting for their next try.",
    "callbacks_dead": "Callbacks that were given up.",
    "batches_running": "Batches that send lines or wait for some to end.",
    "batches_paused": "Batches that wait for credits, or for a key that may go on.",
    "batch_lines_waiting": "Lines of batches that were not sent yet.",
    "batch_lines_running": "Lines of batches whose task is under way.",
    "exposure_attempts": "Attempts that may have been billed, unresolved.",
    "exposure_usd": "What those may have cost.",
    "ledger_violations": "Violations that the last proof of the books found.",
    "ledger_checked_timestamp_seconds": "When the books were last proven.",
}
"""Each reading by name, and what it is."""


@dataclass(frozen=True, slots=True)
class Readings:
    """Reads the stores. A store that is away leaves its figures out."""

    live: LiveTasks
    callbacks: CallbackCounts
    exposures: Exposures
    ledger: LedgerChecks
    batches: BatchStore

    async def read(self) -> dict[str, float]:
        """Give the figures by their names in `READINGS`."""
        found: dict[str, float] = {}
        for part in (
            self._queue,
            self._callbacks,
            self._batches,
            self._exposure,
            self._proof,
        ):
            found |= await _known(part)
        return found

    async def _queue(self) -> dict[str, float]:
        queue = await self.live.figures()
        return {
            "queue_tasks": queue.tasks,
            "queue_due": queue.due,
            "queue_lag_seconds": queue.lag_ms / 1000,
        }

    async def _callbacks(self) -> dict[str, float]:
        counts = await self.callbacks.counts()
        return {f"callbacks_{state}": count for state, count in counts.items()}

    async def _batches(self) -> dict[str, float]:
        return dict(await self.batches.counts())

    async def _exposure(self) -> dict[str, float]:
        attempts, exposure = await self.exposures.open_exposure()
        return {"exposure_attempts": attempts, "exposure_usd": exposure / MICRO}

    async def _proof(self) -> dict[str, float]:
        last = await self.ledger.last_check()
        if last is None:
            return {}
        return {
            "ledger_violations": last.violations,
            "ledger_checked_timestamp_seconds": last.at_ms / 1000,
        }


async def _known(part: Callable[[], Awaitable[dict[str, float]]]) -> dict[str, float]:
    try:
        return await part()
    except Unavailable:
        return {}
