"""Waiting for a task on behalf of a caller: until it ends, the time is up, or we shut down."""

from __future__ import annotations

import asyncio

from gateway.domain.errors import GatewayError, ShuttingDown, WaitExpired
from gateway.domain.repeats import CallMark
from gateway.domain.task import Task
from gateway.http.exchange import Exchange


async def wait(exchange: Exchange, task: Task, timeout_s: float) -> Task:
    """Wait until a task is terminal, at most ``timeout_s``; gives it as it then stands.

    Ends at once when this process begins to shut down.
    """
    if task.status.is_terminal or exchange.draining.is_set():
        return task
    waiting = asyncio.create_task(exchange.core.query.wait(task, timeout_s))
    closing = asyncio.create_task(exchange.draining.wait())
    try:
        await asyncio.wait((waiting, closing), return_when=asyncio.FIRST_COMPLETED)
        return waiting.result() if waiting.done() else task
    finally:
        waiting.cancel()
        closing.cancel()


def unfinished(exchange: Exchange, mark: CallMark | None, task: Task) -> GatewayError:
    """Give the error of a wait that ended before its task.

    In a shutdown, a caller whose repetition would attach to the task is sent to another process.
    """
    if not exchange.draining.is_set():
        return WaitExpired(task.id, f"Task {task.id} is still running; query it by its id.")
    if mark is not None and mark.attaches(task.created_ms, exchange.core.clock.now_ms()):
        message = f"This process is shutting down. Send the call again to wait for task {task.id}."
        return ShuttingDown(message)
    message = f"This process is shutting down. Task {task.id} goes on; query it by its id."
    return WaitExpired(task.id, message)
