"""How many callers may wait in a process at once, for pictures or on a stream."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from gateway.domain.errors import WaitExpired
from gateway.domain.task import Task


@dataclass(slots=True)
class Seats:
    """Seats of one process; a caller without one is sent away with its task's id."""

    most: int
    taken: int = 0

    def seat(self, task: Task) -> AbstractContextManager[None]:
        """Hold a seat for the length of a block. Raises WaitExpired when all are taken."""
        if task.status.is_terminal:
            return nullcontext()
        if self.taken >= self.most:
            message = f"{self.most} callers wait here already. Task {task.id} goes on; query it."
            raise WaitExpired(task.id, message)
        return self

    def __enter__(self) -> None:
        self.taken += 1

    def __exit__(self, *_error: object) -> None:
        self.taken -= 1
