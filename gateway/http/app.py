"""The ASGI application: dialect routes, operational routes, errors in the caller's dialect."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

import structlog
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway import __version__
from gateway.app.core import Core
from gateway.app.dialect import View
from gateway.domain.errors import CallerError, GatewayError, MethodNotAllowed, RouteNotFound
from gateway.http.admin.serve import admin_routes
from gateway.http.edge import Edge
from gateway.http.middleware import Observe
from gateway.http.mount import dialect_at, edge_table, endpoints, http_routes
from gateway.http.openapi import document
from gateway.http.ops import ops_routes
from gateway.http.replies import error_response
from gateway.http.waits import Waits

log = structlog.get_logger(__name__)


class Application(FastAPI):
    """FastAPI behind the edge: it documents every route and answers what the edge does not."""

    edge: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event."""
        await self.edge(scope, receive, send)


def create_app(core: Core, *, draining: asyncio.Event) -> Application:
    """Build the application around a core. ``draining`` is set when a shutdown begins."""
    app = Application(
        title="Image Gateway",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.router.routes.extend(ops_routes(core, draining))
    app.router.routes.extend(admin_routes(core))
    found = endpoints(core, Waits(draining))
    app.router.routes.extend(http_routes(found))
    app.edge = Observe(Edge(edge_table(found), super(Application, app).__call__))
    _add_error_handlers(app, core)
    plain = app.openapi

    def openapi() -> dict[str, object]:
        if app.openapi_schema is None:
            app.openapi_schema = document(plain(), core)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
    return app


def _refused(request: Request, status: int) -> GatewayError:
    """Give what the framework refuses by itself, under the status that it says."""
    if status == RouteNotFound.status:
        return RouteNotFound(f"There is nothing at {request.url.path}.")
    if status == MethodNotAllowed.status:
        return MethodNotAllowed(f"{request.method} is not answered at {request.url.path}.")
    words = f"{HTTPStatus(status).phrase}."
    error = CallerError(words) if status < 500 else GatewayError(words)
    error.status = status
    return error


def _add_error_handlers(app: FastAPI, core: Core) -> None:
    def answer(request: Request, error: GatewayError) -> Response:
        request_id = request.scope.get("state", {}).get("request_id", "")
        view = View(core.public_url or "", request_id, core.clock.now_ms())
        return error_response(dialect_at(core, request.url.path), error, view)

    async def on_http(request: Request, error: Exception) -> Response:
        refusal = error if isinstance(error, HTTPException) else HTTPException(500)
        response = answer(request, _refused(request, refusal.status_code))
        response.headers.update(refusal.headers or {})
        return response

    async def on_crash(request: Request, error: Exception) -> Response:
        log.error("unexpected_error", path=request.url.path, exc_info=error)
        return answer(request, GatewayError("Something went wrong in the gateway."))

    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(Exception, on_crash)
