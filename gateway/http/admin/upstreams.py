"""`/admin/v1/upstreams`: the configured accounts, drained and resumed live."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse, Response

from gateway.app.views import time_text
from gateway.domain.administration import Permission
from gateway.domain.errors import NotFound
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
    catalog = call.core.catalog()
    drained = await call.core.admin.drains.drained()
    sold: dict[str, list[str]] = {name: [] for name in catalog.upstreams}
    for offers in catalog.offers.values():
        for offer in offers:
            sold[offer.upstream].append(offer.model)
    return [
        {
            "name": name,
            "adapter": upstream.adapter,
            "base_url": upstream.base_url,
            "models": sorted(sold[name]),
            "drained_at": time_text(drained.get(name)),
        }
        for name, upstream in sorted(catalog.upstreams.items())
    ]


_ONE = "/upstreams/{name}"
ROUTES = (
    AdminRoute("GET", "/upstreams", Permission.READ, list_upstreams, "List upstreams"),
    AdminRoute("POST", f"{_ONE}/drain", Permission.MANAGE, drain, "Send nothing new there"),
    AdminRoute("POST", f"{_ONE}/resume", Permission.MANAGE, resume, "Let it be chosen again"),
)
