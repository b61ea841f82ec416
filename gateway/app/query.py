"""Reading tasks: the live state first, Postgres when it is not there."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.app.ports import LiveTasks, TaskFilter, TaskPage, TaskStore
from gateway.domain.access import Principal
from gateway.domain.errors import TaskNotFound, Unavailable
from gateway.domain.task import Task


@dataclass(frozen=True, slots=True)
class Query:
    """The read side of tasks. A team sees its own tasks only."""

    tasks: TaskStore
    live: LiveTasks

    async def task(self, principal: Principal, task_id: str) -> Task:
        """Give a task of the calling team. Raises TaskNotFound for anybody else's too."""
        task = await self.find(task_id)
        if task is None or task.team_id != principal.team_id:
            raise TaskNotFound(f"There is no task {task_id!r}.")
        return task

    async def find(self, task_id: str) -> Task | None:
        """Give a task from the live state, else from Postgres."""
        try:
            live = await self.live.get(task_id)
        except Unavailable:
            live = None
        return live if live is not None else await self.tasks.get(task_id)

    async def page(
        self,
        principal: Principal,
        where: TaskFilter,
        *,
        limit: int,
        cursor: str | None = None,
        offset: int | None = None,
    ) -> TaskPage:
        """List the calling team's tasks, newest first."""
        return await self.tasks.page(principal.team_id, where, limit, cursor, offset)
