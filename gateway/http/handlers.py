"""One handler per operation; every dialect's routes end here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import structlog
from starlette.requests import Request
from starlette.responses import Response

from gateway.app.core import Core
from gateway.app.dialect import Call, Dialect, Operation, Route, View
from gateway.domain.errors import (
    CallerError,
    GatewayError,
    StoreUnavailable,
    Unavailable,
)
from gateway.http import catalogue, create, tasks, uploads
from gateway.http.auth import authenticate
from gateway.http.calls import call_head, read_body, read_multipart
from gateway.http.exchange import Exchange
from gateway.http.replies import error_response
from gateway.http.rules import admit

log = structlog.get_logger(__name__)


Handler = Callable[[Exchange], Awaitable[Response]]

HANDLERS: dict[Operation, Handler] = {
    Operation.CREATE: create.create,
    Operation.QUOTE: catalogue.quote,
    Operation.MODELS: catalogue.models,
    Operation.MODEL: catalogue.model,
    Operation.CREDITS: catalogue.team_credits,
    Operation.USAGE: catalogue.usage,
    Operation.QUERY: tasks.query,
    Operation.LIST: tasks.page,
    Operation.CANCEL: tasks.cancel,
    Operation.EVENTS: tasks.events,
    Operation.UPLOAD_POLICY: uploads.policy,
    Operation.UPLOAD: uploads.receive,
}
_WITH_BODY = frozenset({Operation.CREATE, Operation.QUOTE, Operation.CANCEL, Operation.UPLOAD})


def endpoint(
    core: Core, dialect: Dialect, route: Route, path: str, draining: asyncio.Event
) -> Callable[[Request], Awaitable[Response]]:
    """Give the ASGI-facing function of one route; ``path`` names it in metrics."""
    handler = HANDLERS[route.operation]

    async def serve(request: Request) -> Response:
        request.scope["state"]["route"] = path
        call = call_head(request, core.public_url)
        view = View(call.base_url, call.request_id, core.clock.now_ms())
        try:
            if route.operation is Operation.UPLOAD:
                principal = await uploads.admit(core, dialect, call)
            else:
                principal = await authenticate(core.keys, call.headers)
            admit(principal, route.operation, request.client.host if request.client else None)
            if route.operation in _WITH_BODY:
                call = await _with_body(request, route, call)
            return await handler(Exchange(core, dialect, route, call, principal, view, draining))
        except GatewayError as error:
            _note(error, call)
            return error_response(dialect, error, view)

    return serve


async def _with_body(request: Request, route: Route, call: Call) -> Call:
    body = await read_body(request, route)
    if call.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        form, files = await read_multipart(request, body)
        return replace(call, form=form, files=files)
    return replace(call, body=body)


def _note(error: GatewayError, call: Call) -> None:
    """Log what an operator may have to act on; a caller's mistakes are in the access log."""
    if isinstance(error, StoreUnavailable | Unavailable):
        log.warning("unavailable", path=call.path, reason=error.message)
    elif not isinstance(error, CallerError):
        log.info("request_failed", path=call.path, code=error.code, reason=error.message)
