"""How many callers may wait in a process at once, for pictures or on a stream."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from gateway.domain.errors import WaitExpired
from gateway.domain.task import Task


@dataclass(slots=True)
class Seats:
    """Seats of one process; a caller without one is sent away with its task's id."""

    most: int
    taken: int = 0

    @contextmanager
    def seat(self, task: Task) -> Iterator[None]:
        """Hold a seat for the length of the block. Raises WaitExpired when all are taken."""
        if task.status.is_terminal:
            yield
            return
        if self.taken >= self.most:
            message = f"{self.most} callers wait here already. Task {task.id} goes on; query it."
            raise WaitExpired(task.id, message)
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1
