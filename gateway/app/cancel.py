"""Cancelling: a visit like any other, under the task's own lease."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from gateway.app.advance import Advance
from gateway.app.ports import LiveTasks, TaskStore
from gateway.app.query import Query
from gateway.crashpoints import CrashPoint, reached
from gateway.domain.access import Principal
from gateway.domain.errors import StoreUnavailable, TooLateToCancel
from gateway.domain.task import Task, TaskStatus

LEASE_MS = 10_000
SEIZE_TRIES = 30
SEIZE_PAUSE_S = 0.1


@dataclass(frozen=True, slots=True)
class Cancel:
    """Cancels a task where that is still honest: nothing sent, or the vendor confirms."""

    query: Query
    tasks: TaskStore
    live: LiveTasks
    advance: Advance

    async def cancel(self, principal: Principal, task_id: str) -> Task:
        """Cancel a task of the calling team; gives it cancelled and released.

        Cancelling a cancelled task again is fine. Raises TaskNotFound, TooLateToCancel (it
        ended, or it is at a vendor that cannot cancel it any more), and StoreUnavailable when
        the wish could not be brought to an end now.
        """
        task = await self.query.task(principal, task_id)
        if task.status is TaskStatus.CANCELLED:
            return task
        if task.status.is_terminal:
            raise TooLateToCancel(f"The task is already {task.status.value}.")
        for _ in range(SEIZE_TRIES):
            lease = await self.live.seize(task_id, LEASE_MS)
            if lease is not None:
                reached(CrashPoint.CANCEL_SEIZED)
                ended = await self.advance.visit(lease, cancel=True)
                return _cancelled(ended)
            if not await self._indexed(task_id):
                await self.live.add_missing([task], task.created_ms)
            await asyncio.sleep(SEIZE_PAUSE_S)
        raise TooLateToCancel("The task is being submitted to an upstream right now.")

    async def _indexed(self, task_id: str) -> bool:
        return await self.live.get(task_id) is not None


def _cancelled(task: Task) -> Task:
    if task.status is TaskStatus.CANCELLED:
        return task
    if task.status.is_terminal:
        raise TooLateToCancel(f"The task is already {task.status.value}.")
    if task.cancel_requested:
        raise StoreUnavailable("The cancel is not decided yet; ask again shortly.")
    raise TooLateToCancel("The task is at an upstream that cannot cancel it any more.")
