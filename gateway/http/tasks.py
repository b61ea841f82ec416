"""Reading, listing, watching and cancelling tasks."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace

from starlette.responses import Response, StreamingResponse

from gateway.app.dialect import Dialect
from gateway.domain.errors import ShuttingDown, TaskNotFound, WaitExpired
from gateway.domain.task import Task
from gateway.http.create import sse
from gateway.http.exchange import Exchange
from gateway.http.replies import to_response

LIST_MAX = 100
EVENT_PAUSE_S = 1.0


def _voice(exchange: Exchange, task: Task) -> Dialect:
    """Give the dialect that answers: at the root, the one that created the task."""
    if exchange.route.by_creator and not exchange.call.path.startswith(exchange.dialect.prefix):
        return exchange.core.dialects.get(task.dialect, exchange.dialect)
    return exchange.dialect


async def query(exchange: Exchange) -> Response:
    """Answer one task as it stands."""
    task_id = exchange.dialect.read_task_id(exchange.call)
    try:
        task = await exchange.core.query.task(exchange.principal, task_id)
    except TaskNotFound:
        return to_response(exchange.dialect.render_unknown(task_id, exchange.view))
    return to_response(_voice(exchange, task).render_task(task, exchange.view))


async def page(exchange: Exchange) -> Response:
    """Answer a page of the team's tasks, newest first."""
    wanted = exchange.dialect.read_list(exchange.call)
    model = wanted.where.model
    if model is not None:
        # Tasks are stored under the canonical id; callers know their alias.
        model = exchange.core.catalog().aliases.get(model, model)
    where = replace(wanted.where, model=model)
    wanted = replace(wanted, where=where, limit=min(wanted.limit, LIST_MAX))
    offset = (wanted.page - 1) * wanted.limit if wanted.page else None
    found = await exchange.core.query.page(
        exchange.principal,
        wanted.where,
        limit=wanted.limit,
        cursor=wanted.cursor,
        offset=offset,
    )
    return to_response(exchange.dialect.render_list(found, wanted, exchange.view))


async def cancel(exchange: Exchange) -> Response:
    """Cancel a task, or say honestly that it is too late."""
    task_id = exchange.dialect.read_task_id(exchange.call)
    task = await exchange.core.cancel.cancel(exchange.principal, task_id)
    return to_response(_voice(exchange, task).render_cancelled(task, exchange.view))


async def events(exchange: Exchange) -> Response:
    """Stream the task after every change until it is terminal (server-sent events)."""
    task_id = exchange.dialect.read_task_id(exchange.call)
    task = await exchange.core.query.task(exchange.principal, task_id)
    return StreamingResponse(
        _changes(exchange, task),
        media_type="text/event-stream",
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
    )


async def _changes(exchange: Exchange, task: Task) -> AsyncGenerator[bytes, None]:
    try:
        with exchange.core.seats.seat(task):
            async for event in _until_the_end(exchange, task):
                yield event
    except WaitExpired as error:
        yield sse("error", _voice(exchange, task).render_error(error, exchange.view).body)


async def _until_the_end(exchange: Exchange, task: Task) -> AsyncGenerator[bytes, None]:
    voice = _voice(exchange, task)
    yield sse("task", voice.render_task(task, exchange.view).body)
    while not task.status.is_terminal:
        newer = await exchange.waits.until_ended(exchange.core.query, task, EVENT_PAUSE_S)
        if exchange.draining and not newer.status.is_terminal:
            yield sse("error", voice.render_error(ShuttingDown(), exchange.view).body)
            return
        if newer.status is task.status and newer.progress == task.progress:
            yield b": ping\n\n"
            continue
        task = newer
        view = replace(exchange.view, now_ms=exchange.core.clock.now_ms())
        yield sse("task", voice.render_task(task, view).body)
