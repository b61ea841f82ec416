"""`/admin/v1/sessions`: the logins that are open, one's own or, for admins, another operator's."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse, Response

from gateway.app.views import time_text
from gateway.domain.administration import ADMIN_KEY, Permission
from gateway.domain.errors import NotAllowed
from gateway.domain.login import OpenSession
from gateway.http.admin import door
from gateway.http.admin.answers import OPEN_SESSION, page
from gateway.http.admin.routes import AdminCall, AdminRoute, Confined, paged


async def list_open(call: AdminCall) -> Response:
    """List the logins of the caller that hold, or of ``operator_id``."""
    limit, cursor = call.page()
    operator_id = call.query.text("operator_id") or call.actor.id
    call.query.finish()
    if operator_id != call.actor.id:
        if not _may_see_others(call):
            needed = Permission.OPERATORS.value
            raise NotAllowed(f"The role {call.actor.role.value} has no permission {needed}.")
        if operator_id != ADMIN_KEY.id:
            await call.core.admin.operators.operator(operator_id)
    found = await call.core.admin.logins.open_page(operator_id, limit, cursor)
    return JSONResponse(paged([_view(call, one) for one in found.items], found.cursor))


async def end(call: AdminCall) -> Response:
    """End a login, in every process; who may not see it is told that it is not there."""
    session_id = call.path["session_id"]
    owner = None if _may_see_others(call) else call.actor.id
    await call.core.admin.logins.end_one(session_id, owner, call.ask)
    response = Response(status_code=204)
    if _is_current(call, session_id):
        response.headers["set-cookie"] = door.set_cookie(call.request, call.core.public_url, "", 0)
    return response


def _may_see_others(call: AdminCall) -> bool:
    return call.actor.role.may(Permission.OPERATORS)


def _is_current(call: AdminCall, session_id: str) -> bool:
    return call.session is not None and call.session.id == session_id


def _view(call: AdminCall, one: OpenSession) -> dict[str, Any]:
    return {
        "id": one.id,
        "operator_id": one.operator_id,
        "method": one.method,
        "current": _is_current(call, one.id),
        "created_at": time_text(one.created_ms),
        "last_used_at": time_text(one.seen_ms),
        "expires_at": time_text(one.expires_ms),
    }


ROUTES = (
    AdminRoute(
        "GET",
        "/sessions",
        Permission.READ,
        list_open,
        "List the logins that are open: your own, or for admins another operator's",
        query=("limit", "cursor", "operator_id"),
        team=Confined.SELF,
        answer=page(OPEN_SESSION),
    ),
    AdminRoute(
        "DELETE",
        "/sessions/{session_id}",
        Permission.READ,
        end,
        "End a login: your own, or for admins another operator's",
        status=204,
        team=Confined.SELF,
    ),
)
