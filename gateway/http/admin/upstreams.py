"""`/admin/v1/upstreams`: the configured accounts, drained, resumed and reloaded live."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse, Response

from gateway.domain.administration import Permission
from gateway.domain.errors import ConfigError, InvalidRequest, NotFound, Problem
from gateway.http.admin.answers import UPSTREAM, page
from gateway.http.admin.routes import AdminCall, AdminRoute, paged


async def list_upstreams(call: AdminCall) -> Response:
    """List the configured upstreams, by name."""
    return JSONResponse(paged(await _views(call), None))


async def drain(call: AdminCall) -> Response:
    """Send nothing new to an upstream; what runs there is polled to its end."""
    name = _known(call)
    await call.core.admin.drains.drain(name, call.ask)
    return JSONResponse(await _view(call, name))


async def resume(call: AdminCall) -> Response:
    """Let an upstream be chosen again, and forget that it was sick."""
    name = _known(call)
    await call.core.admin.drains.resume(name, call.ask)
    await call.core.admin.reset_health(name)
    return JSONResponse(await _view(call, name))


def _known(call: AdminCall) -> str:
    name, upstreams = call.path["name"], call.core.catalog().upstreams
    if name not in upstreams:
        known = ", ".join(sorted(upstreams))
        raise NotFound(f"There is no upstream {name[:80]!r}; there are {known}.")
    return name


async def _view(call: AdminCall, name: str) -> dict[str, Any]:
    return next(view for view in await _views(call) if view["name"] == name)


async def _views(call: AdminCall) -> list[dict[str, Any]]:
    return [standing.view() for standing in await call.core.upstreams.standings()]


async def reload(call: AdminCall) -> Response:
    """Read the configuration again, here at once and in every other process within a second."""
    try:
        await call.core.admin.reload(call.ask)
    except ConfigError as error:
        problems = (
            Problem(where, f"{where}: {text}", error.code) for where, text in error.problems
        )
        raise InvalidRequest(*problems) from error
    return JSONResponse(paged(await _views(call), None))


_ONE = "/upstreams/{name}"
ROUTES = (
    AdminRoute(
        "GET",
        "/upstreams",
        Permission.READ,
        list_upstreams,
        "List upstreams",
        answer=page(UPSTREAM),
    ),
    AdminRoute(
        "POST", f"{_ONE}/drain", Permission.MANAGE, drain, "Send nothing new there", answer=UPSTREAM
    ),
    AdminRoute(
        "POST",
        f"{_ONE}/resume",
        Permission.MANAGE,
        resume,
        "Let it be chosen again",
        answer=UPSTREAM,
    ),
    AdminRoute(
        "POST",
        "/catalog/reload",
        Permission.MANAGE,
        reload,
        "Read the configuration anew",
        answer=page(UPSTREAM),
    ),
)
