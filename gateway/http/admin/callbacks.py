"""`/admin/v1/callbacks`: what teams were told, dead letters included."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response

from gateway.app.views import callback_view
from gateway.domain.administration import Permission
from gateway.domain.callback import STATES
from gateway.http.admin.answers import CALLBACK, page
from gateway.http.admin.routes import AdminCall, AdminRoute, Confined, paged


async def list_callbacks(call: AdminCall) -> Response:
    """List callbacks, newest first; ``state=dead`` are the dead letters."""
    limit, cursor = call.page()
    state = call.query.choice("state", STATES, "") or None
    team_id = call.query.text("team_id")
    call.query.finish()
    found = await call.core.admin.callbacks.callback_page(
        limit, cursor, state=state, team_id=team_id
    )
    return JSONResponse(paged([callback_view(one) for one in found.items], found.cursor))


async def get(call: AdminCall) -> Response:
    """Give a callback with every try."""
    found = await call.core.admin.callbacks.callback(call.path["callback_id"])
    return JSONResponse(callback_view(found))


async def replay(call: AdminCall) -> Response:
    """Send a callback again, with its usual retries and the same id."""
    call.body.finish()
    await call.core.admin.callbacks.replay(call.path["callback_id"], call.ask)
    return await get(call)


_ONE = "/callbacks/{callback_id}"
ROUTES = (
    AdminRoute(
        "GET",
        "/callbacks",
        Permission.READ,
        list_callbacks,
        "List callbacks, newest first",
        query=("limit", "cursor", "state", "team_id"),
        team=Confined.TEAM_ID,
        answer=page(CALLBACK),
    ),
    AdminRoute(
        "GET",
        _ONE,
        Permission.READ,
        get,
        "Show a callback with every try",
        team=Confined.CALLBACK,
        answer=CALLBACK,
    ),
    AdminRoute(
        "POST",
        f"{_ONE}/replay",
        Permission.MANAGE,
        replay,
        "Send a callback again",
        answer=CALLBACK,
    ),
)
