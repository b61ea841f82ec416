"""What a caller is told whose wait ended before its task."""

from __future__ import annotations

from gateway.domain.errors import GatewayError, ShuttingDown, WaitExpired
from gateway.domain.repeats import CallMark
from gateway.domain.task import Task
from gateway.http.exchange import Exchange


def unfinished(exchange: Exchange, mark: CallMark | None, task: Task) -> GatewayError:
    """Give the error of a wait that ended before its task.

    In a shutdown, a caller whose repetition would attach to the task is sent to another process.
    """
    if not exchange.draining:
        return WaitExpired(task.id, f"Task {task.id} is still running; query it by its id.")
    if mark is not None and mark.attaches(task.created_ms, exchange.core.clock.now_ms()):
        message = f"This process is shutting down. Send the call again to wait for task {task.id}."
        return ShuttingDown(message)
    message = f"This process is shutting down. Task {task.id} goes on; query it by its id."
    return WaitExpired(task.id, message)
