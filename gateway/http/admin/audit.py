"""`/admin/v1/audit`: who changed what."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse, Response

from gateway.app.views import time_text
from gateway.domain.administration import AuditEntry, Permission
from gateway.domain.errors import InvalidRequest, Problem
from gateway.http.admin.answers import AUDIT_ENTRY, page
from gateway.http.admin.routes import AdminCall, AdminRoute, paged


async def list_entries(call: AdminCall) -> Response:
    """List changes, newest first."""
    limit, cursor = call.page()
    if cursor is not None and not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):
        message = "The cursor is not one that this list gave out."
        raise InvalidRequest(Problem("cursor", message))
    found = await call.core.admin.audit.log(
        limit,
        None if cursor is None else int(cursor),
        subject=call.query.text("subject"),
        actor_id=call.query.text("actor"),
    )
    return JSONResponse(paged([_view(entry) for entry in found.items], found.cursor))


def _view(entry: AuditEntry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "at": time_text(entry.at_ms),
        "actor": entry.actor_id,
        "actor_name": entry.actor_name,
        "session": entry.session,
        "action": entry.action,
        "subject": entry.subject,
        "request_id": entry.request_id,
        "before": entry.before,
        "after": entry.after,
    }


ROUTES = (
    AdminRoute(
        "GET",
        "/audit",
        Permission.READ,
        list_entries,
        "List changes, newest first",
        query=("limit", "cursor", "subject", "actor"),
        answer=page(AUDIT_ENTRY),
    ),
)
