"""Creating a task: answered with the task, with its pictures, or with a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from starlette.responses import Response, StreamingResponse

from gateway.app.answer import wait_for
from gateway.app.dialect import Reply
from gateway.app.narrowing import narrowed
from gateway.app.pictures import result_format
from gateway.app.submit import Admission
from gateway.crashpoints import CrashPoint, reached
from gateway.domain.errors import GatewayError, ShuttingDown, StoreUnavailable, WaitExpired
from gateway.domain.repeats import CallMark
from gateway.domain.request import ResultFormat
from gateway.domain.submission import Draft
from gateway.domain.task import Task, TaskStatus
from gateway.http import waiting
from gateway.http.exchange import Exchange, read_draft
from gateway.http.repeats import key_of, mark_of, should_retry
from gateway.http.replies import encode, error_response, header_text, limit_headers, to_response
from gateway.http.uploads import with_uploads

PING_S = 10.0
NO_RETRY = {"x-should-retry": "false"}


async def create(exchange: Exchange) -> Response:
    """Accept the call, then answer as the caller can read it.

    Every error after the hold says ``x-should-retry: false``: the task exists, a retry would
    buy a second one. Only the end of a wait may say true, where a retry goes on waiting.
    """
    core, dialect, call = exchange.core, exchange.dialect, exchange.call
    if exchange.draining.is_set():
        raise ShuttingDown("This process is shutting down; nothing was accepted.")
    key = key_of(exchange)
    draft = await with_uploads(exchange, await read_draft(exchange))
    # Recognised by what was asked, whatever the key's rules have become since.
    mark = mark_of(exchange, draft, key)
    draft = narrowed(exchange.principal, draft, core.catalog())
    admission = await _accepted(exchange, draft, mark)
    task = admission.task
    headers = {"x-task-id": task.id}
    if admission.repeated and key is not None:
        headers["idempotent-replayed"] = "true"
    headers |= limit_headers(admission.verdicts)
    if admission.warning:
        headers["x-gateway-warning"] = header_text(admission.warning)
    if task.ignored:
        headers["x-ignored-params"] = ", ".join(task.ignored)
    wait = wait_for(
        draft,
        exchange.principal,
        from_openai_sdk="x-stainless-lang" in call.headers,
        route_sync=exchange.route.sync,
    )
    if draft.stream:
        return StreamingResponse(
            _stream(exchange, draft, mark, task),
            media_type="text/event-stream",
            headers={**headers, "cache-control": "no-store", "x-accel-buffering": "no"},
        )
    if wait.wait_s is None:
        return to_response(dialect.render_created(task, exchange.view), headers)
    reached(CrashPoint.ANSWER_WAITING)
    try:
        with core.seats.seat(task):
            ended = await waiting.wait(exchange, task, min(wait.wait_s, core.sync_wait_s))
        if ended.status.is_terminal:
            as_task = wait.task_on_failure and ended.status is not TaskStatus.COMPLETED
        else:
            as_task = wait.task_on_timeout
        if as_task:
            return to_response(dialect.render_task(ended, exchange.view), headers)
        if not ended.status.is_terminal:
            raise waiting.unfinished(exchange, mark, ended)
        return to_response(await _result(exchange, draft, ended), headers)
    except GatewayError as error:
        response = error_response(dialect, error, exchange.view)
        response.headers.update({**headers, **NO_RETRY})
        if isinstance(error, WaitExpired | ShuttingDown):
            response.headers.update(should_retry(mark, task, core.clock.now_ms()))
        return response


async def _accepted(exchange: Exchange, draft: Draft, mark: CallMark | None) -> Admission:
    """Accept the call. Raises StoreUnavailable that may be repeated where a repetition attaches."""
    core, now_ms = exchange.core, exchange.core.clock.now_ms()
    try:
        return await core.submit.accept(exchange.principal, exchange.dialect.name, draft, mark)
    except StoreUnavailable as error:
        if error.outcome_known or mark is None or not mark.attaches(now_ms, now_ms):
            raise
        message = "The database went away meanwhile; send the call again, it will not buy twice."
        raise StoreUnavailable(message, error.detail) from error


async def _result(exchange: Exchange, draft: Draft, task: Task) -> Reply:
    """Answer a task that has ended with its pictures, or raise what became of it."""
    if task.status is not TaskStatus.COMPLETED:
        raise exchange.dialect.failure_of(task)
    form = result_format(draft.result_format, task.requested_model)
    images = await exchange.core.pictures.of(task, form, exchange.call.base_url)
    return exchange.dialect.render_result(task, images, exchange.view)


async def _stream(
    exchange: Exchange, draft: Draft, mark: CallMark | None, task: Task
) -> AsyncGenerator[bytes, None]:
    """Send keep-alives until the task ends, then its events; an error is an event too."""
    core, dialect = exchange.core, exchange.dialect
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + core.sync_wait_s
    yield b": accepted\n\n"
    try:
        with core.seats.seat(task):
            while not task.status.is_terminal and loop.time() < ends_at:
                pause_s = min(PING_S, max(ends_at - loop.time(), 0))
                task = await waiting.wait(exchange, task, pause_s)
                if exchange.draining.is_set():
                    break
                if not task.status.is_terminal:
                    yield b": ping\n\n"
        if not task.status.is_terminal:
            raise waiting.unfinished(exchange, mark, task)
        if task.status is not TaskStatus.COMPLETED:
            raise dialect.failure_of(task)
        form = draft.result_format or ResultFormat.B64_JSON
        images = await core.pictures.of(task, form, exchange.call.base_url)
        events = dialect.stream_event(task, images, exchange.view)
        for number, (name, data) in enumerate(events, 1):
            yield dialect.frame(number, name, encode(data))
    except GatewayError as error:
        reply = dialect.render_error(error, exchange.view)
        yield dialect.frame(1, "error", encode(reply.body), reply.status)


def sse(name: str, data: object) -> bytes:
    """Give one server-sent event."""
    return b"event: " + name.encode() + b"\ndata: " + encode(data) + b"\n\n"
