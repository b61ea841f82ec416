"""`/admin/v1/exposure`: what may have been billed, until somebody knows."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response

from gateway.app.views import exposure_view, resolution_view
from gateway.domain.administration import Permission
from gateway.domain.exposure import FREE, RESOLUTIONS
from gateway.domain.money import parse_micro
from gateway.http.admin.answers import EXPOSURE, RESOLUTION, page
from gateway.http.admin.routes import AdminCall, AdminRoute, paged


async def list_exposures(call: AdminCall) -> Response:
    """List open exposures of ended tasks, newest first."""
    limit, cursor = call.page()
    upstream = call.query.text("upstream")
    call.query.finish()
    found = await call.core.admin.exposures.exposure_page(limit, cursor, upstream)
    return JSONResponse(paged([exposure_view(one) for one in found.items], found.cursor))


async def resolve(call: AdminCall) -> Response:
    """Book what an exposure came to; the team's charge does not change."""
    resolution = call.body.choice("resolution", RESOLUTIONS, "")
    if not resolution:
        call.body.needed("resolution")
    cost_text, cost = call.body.text("cost_usd"), None
    if cost_text is not None:
        try:
            cost = parse_micro(cost_text)
        except ValueError as error:
            call.body.refuse("cost_usd", f"{error}.", "USD as a decimal text, such as 0.022")
        if resolution == FREE:
            call.body.refuse("cost_usd", "What is free has no cost.", "only with billed")
    call.body.finish()
    cost = 0 if resolution == FREE else cost
    attempt_id = call.path["attempt_id"]
    return JSONResponse(
        resolution_view(await call.core.admin.exposures.resolve(attempt_id, cost, call.ask))
    )


ROUTES = (
    AdminRoute(
        "GET",
        "/exposure",
        Permission.READ,
        list_exposures,
        "List what may have been billed, newest first",
        query=("limit", "cursor", "upstream"),
        answer=page(EXPOSURE),
    ),
    AdminRoute(
        "POST",
        "/exposure/{attempt_id}/resolve",
        Permission.MONEY,
        resolve,
        "Say what an exposure came to",
        body={
            "resolution": {"type": "string", "enum": list(RESOLUTIONS)},
            "cost_usd": {"type": "string"},
        },
        required=("resolution",),
        errors=(400, 401, 403, 404, 409, 503),
        answer=RESOLUTION,
    ),
)
