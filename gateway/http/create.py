"""Creating a task: answered with the task, with its pictures, or with a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass

from starlette.responses import Response, StreamingResponse

from gateway.app.answer import wait_for
from gateway.app.dialect import Reply
from gateway.app.narrowing import narrowed
from gateway.app.pictures import result_format
from gateway.app.submit import Admission
from gateway.crashpoints import CrashPoint, reached
from gateway.domain.errors import GatewayError, ShuttingDown, StoreUnavailable, WaitExpired
from gateway.domain.records import quick
from gateway.domain.repeats import CallMark
from gateway.domain.request import ResultFormat
from gateway.domain.submission import Draft, Wait
from gateway.domain.task import Task, TaskStatus
from gateway.http import waiting
from gateway.http.exchange import Exchange, read_draft
from gateway.http.repeats import key_of, mark_of, should_retry
from gateway.http.replies import encode, error_response, header_text, limit_headers, to_response
from gateway.http.uploads import with_uploads

PING_S = 10.0
NO_RETRY = {"x-should-retry": "false"}


@quick
@dataclass(frozen=True, slots=True)
class _Accepted:
    """An accepted call, and all that its answer still needs of what was sent."""

    task: Task
    mark: CallMark | None
    headers: Mapping[str, str]
    wait: Wait
    stream: bool
    result_format: ResultFormat | None


async def create(exchange: Exchange) -> Response:
    """Accept the call, then answer as the caller can read it.

    Every error after the hold says ``x-should-retry: false``: the task exists, a retry would
    buy a second one. Only the end of a wait may say true, where a retry goes on waiting.
    """
    if exchange.draining:
        raise ShuttingDown("This process is shutting down; nothing was accepted.")
    accepted = await _accept(exchange)
    if accepted.wait.wait_s is None and not accepted.stream:
        reply = exchange.dialect.render_created(accepted.task, exchange.view)
        return to_response(reply, accepted.headers)
    exchange = exchange.waiting()
    if accepted.stream:
        return StreamingResponse(
            _stream(exchange, accepted),
            media_type="text/event-stream",
            headers={
                **accepted.headers,
                "cache-control": "no-store",
                "x-accel-buffering": "no",
            },
        )
    return await _waited(exchange, accepted)


async def _accept(exchange: Exchange) -> _Accepted:
    """Read and accept the call."""
    key = key_of(exchange)
    draft = await with_uploads(exchange, await read_draft(exchange))
    # Recognised by what was asked, whatever the key's rules have become since.
    mark = mark_of(exchange, draft, key)
    draft = narrowed(exchange.principal, draft, exchange.core.catalog())
    wait = wait_for(
        draft,
        exchange.principal,
        from_openai_sdk="x-stainless-lang" in exchange.call.headers,
        route_sync=exchange.route.sync,
    )
    watched = wait.wait_s is not None or draft.stream
    admission = await _admitted(exchange, draft, mark, watched=watched)
    task = admission.task
    headers = {"x-task-id": task.id}
    if admission.repeated and key is not None:
        headers["idempotent-replayed"] = "true"
    headers |= limit_headers(admission.verdicts)
    if admission.warning:
        headers["x-gateway-warning"] = header_text(admission.warning)
    if task.ignored:
        headers["x-ignored-params"] = ", ".join(task.ignored)
    return _Accepted(task, mark, headers, wait, draft.stream, draft.result_format)


async def _admitted(
    exchange: Exchange, draft: Draft, mark: CallMark | None, *, watched: bool
) -> Admission:
    """Accept the call. Raises StoreUnavailable that may be repeated where a repetition attaches."""
    core, now_ms = exchange.core, exchange.core.clock.now_ms()
    try:
        return await core.submit.accept(
            exchange.principal, exchange.dialect.name, draft, mark, watched=watched
        )
    except StoreUnavailable as error:
        if error.outcome_known or mark is None or not mark.attaches(now_ms, now_ms):
            raise
        message = "The database went away meanwhile; send the call again, it will not buy twice."
        raise StoreUnavailable(message, error.detail) from error


async def _waited(exchange: Exchange, accepted: _Accepted) -> Response:
    """Answer when the task has ended or the wait is over."""
    core, dialect = exchange.core, exchange.dialect
    task, wait = accepted.task, accepted.wait
    reached(CrashPoint.ANSWER_WAITING)
    try:
        with core.seats.seat(task):
            wait_s = min(wait.wait_s or 0.0, core.sync_wait_s)
            ended = await exchange.waits.until_ended(exchange.core.query, task, wait_s)
        if ended.status.is_terminal:
            as_task = wait.task_on_failure and ended.status is not TaskStatus.COMPLETED
        else:
            as_task = wait.task_on_timeout
        if as_task:
            return to_response(dialect.render_task(ended, exchange.view), accepted.headers)
        if not ended.status.is_terminal:
            raise waiting.unfinished(exchange, accepted.mark, ended)
        reply = await _result(exchange, accepted.result_format, ended)
        return to_response(reply, accepted.headers)
    except GatewayError as error:
        response = error_response(dialect, error, exchange.view)
        response.headers.update({**accepted.headers, **NO_RETRY})
        if isinstance(error, WaitExpired | ShuttingDown):
            again = should_retry(accepted.mark, task, core.clock.now_ms())
            response.headers.update(again)
        return response


async def _result(exchange: Exchange, asked: ResultFormat | None, task: Task) -> Reply:
    """Answer a task that has ended with its pictures, or raise what became of it."""
    if task.status is not TaskStatus.COMPLETED:
        raise exchange.dialect.failure_of(task)
    form = result_format(asked, task.requested_model)
    images = await exchange.core.pictures.of(task, form, exchange.call.base_url)
    return exchange.dialect.render_result(task, images, exchange.view)


async def _stream(exchange: Exchange, accepted: _Accepted) -> AsyncGenerator[bytes, None]:
    """Send keep-alives until the task ends, then its events; an error is an event too."""
    core, dialect, task = exchange.core, exchange.dialect, accepted.task
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + core.sync_wait_s
    yield b": accepted\n\n"
    try:
        with core.seats.seat(task):
            while not task.status.is_terminal and loop.time() < ends_at:
                pause_s = min(PING_S, max(ends_at - loop.time(), 0))
                task = await exchange.waits.until_ended(exchange.core.query, task, pause_s)
                if exchange.draining:
                    break
                if not task.status.is_terminal:
                    yield b": ping\n\n"
        if not task.status.is_terminal:
            raise waiting.unfinished(exchange, accepted.mark, task)
        if task.status is not TaskStatus.COMPLETED:
            raise dialect.failure_of(task)
        form = accepted.result_format or ResultFormat.B64_JSON
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
