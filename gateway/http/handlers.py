"""One handler per operation; every dialect's routes end here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.app.core import Core
from gateway.app.dialect import Call, Dialect, Operation, Route, UploadDialect, View
from gateway.domain.errors import (
    CallerError,
    GatewayError,
    StoreUnavailable,
    Unavailable,
)
from gateway.domain.records import changed
from gateway.http import batches, catalogue, create, tasks, uploads, usage
from gateway.http.auth import authenticate
from gateway.http.calls import body_cap, call_head, read_body, read_multipart
from gateway.http.exchange import Exchange
from gateway.http.replies import error_response
from gateway.http.rules import admit
from gateway.http.waits import Waits

log = structlog.get_logger(__name__)


Handler = Callable[[Exchange], Awaitable[Response]]

HANDLERS: dict[Operation, Handler] = {
    Operation.CREATE: create.create,
    Operation.QUOTE: catalogue.quote,
    Operation.MODELS: catalogue.models,
    Operation.MODEL: catalogue.model,
    Operation.CREDITS: catalogue.team_credits,
    Operation.USAGE: usage.team_usage,
    Operation.QUERY: tasks.query,
    Operation.LIST: tasks.page,
    Operation.CANCEL: tasks.cancel,
    Operation.EVENTS: tasks.events,
    Operation.UPLOAD_POLICY: uploads.policy,
    Operation.UPLOAD: uploads.receive,
    Operation.BATCH_CREATE: batches.create,
    Operation.BATCH: batches.get,
    Operation.BATCH_LIST: batches.page,
    Operation.BATCH_RESULTS: batches.results,
    Operation.BATCH_RESUME: batches.resume,
    Operation.BATCH_CANCEL: batches.cancel,
}
WITH_BODY = frozenset(
    {
        Operation.CREATE,
        Operation.QUOTE,
        Operation.CANCEL,
        Operation.UPLOAD,
        Operation.BATCH_CREATE,
        Operation.BATCH_RESUME,
        Operation.BATCH_CANCEL,
    }
)


class Endpoint:
    """One route of a dialect as an ASGI application; ``path`` names it in metrics."""

    def __init__(self, core: Core, dialect: Dialect, route: Route, path: str, waits: Waits) -> None:
        self._core = core
        self._dialect = dialect
        self._route = route
        self._path = path
        self._waits = waits
        self._handler = HANDLERS[route.operation]
        # Told once: Python looks through every member of a protocol each time it is asked.
        self._uploading = dialect if isinstance(dialect, UploadDialect) else None
        self._with_body = route.operation in WITH_BODY
        is_batch = route.operation is Operation.BATCH_CREATE
        self._cap = core.batches.body_max if is_batch else body_cap(route)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call."""
        scope["state"]["route"] = self._path
        call = call_head(scope, self._core.public_url)
        view = View(call.base_url, call.request_id, self._core.clock.now_ms())
        reading = self._read(scope, receive, call, view)
        # Kept nowhere here: what the caller sent is let go before it waits.
        del call
        try:
            response = await self._handler(await reading)
        except GatewayError as error:
            _note(error, scope["path"])
            response = error_response(self._dialect, error, view)
        except Exception:
            log.exception("unexpected_error", path=scope["path"])
            crash = GatewayError("Something went wrong in the gateway.")
            response = error_response(self._dialect, crash, view)
        await response(scope, receive, send)

    async def _read(self, scope: Scope, receive: Receive, call: Call, view: View) -> Exchange:
        core, route = self._core, self._route
        if route.operation is Operation.UPLOAD:
            principal = await uploads.admit(core, self._dialect, call)
        else:
            principal = await authenticate(core.keys, call.headers)
        client = scope.get("client")
        admit(principal, route.operation, client[0] if client else None)
        if self._with_body:
            call = await _with_body(scope, receive, self._cap, call)
            # The server keeps this list until the answer; ``call`` has what is in it.
            scope["headers"].clear()
        return Exchange(
            core,
            self._dialect,
            route,
            call,
            principal,
            view,
            self._waits,
            scope["state"],
            self._uploading,
        )


async def _with_body(scope: Scope, receive: Receive, cap: int, call: Call) -> Call:
    body = await read_body(scope, receive, call.headers.get("content-length", ""), cap)
    if call.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        form, files = await read_multipart(scope, body)
        return changed(call, form=form, files=files)
    return changed(call, body=body)


def _note(error: GatewayError, path: str) -> None:
    """Log what an operator may have to act on; a caller's mistakes are in the access log."""
    if isinstance(error, StoreUnavailable | Unavailable):
        log.warning("unavailable", path=path, reason=str(error))
    elif not isinstance(error, CallerError):
        log.info("request_failed", path=path, code=error.code, reason=error.message)
