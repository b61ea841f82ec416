"""The daily proof of the books, by one worker for all."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import structlog

from gateway.app.ports import Clock, LedgerChecks

log = structlog.get_logger(__name__)

EVERY_MS = 24 * 3_600_000


@dataclass(frozen=True, slots=True)
class DailyProof:
    """Verifies the ledger once a day; ``alone`` is a lock over all processes."""

    ledger: LedgerChecks
    clock: Clock
    alone: Callable[[], AbstractAsyncContextManager[bool]]

    async def run(self) -> bool:
        """Prove the books if the last proof is a day old; gives whether that was done."""
        async with self.alone() as mine:
            if not mine:
                return False
            last = await self.ledger.last_check()
            if last is not None and self.clock.now_ms() - last.at_ms < EVERY_MS:
                return False
            report = await self.ledger.verify()
            if report.is_sound:
                log.info("ledger_proven", transfers=report.transfers)
            for found in report.violations:
                log.error("ledger_violation", rule=found.rule, subject=found.subject)
            return True
