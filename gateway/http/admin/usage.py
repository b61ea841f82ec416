"""`/admin/v1/usage`: what was used, charged and paid."""

from __future__ import annotations

from starlette.responses import Response

from gateway.domain.administration import Permission
from gateway.http.admin.routes import AdminCall, AdminRoute, Confined
from gateway.http.answers import USAGE
from gateway.http.usage import ADMIN_FIELDS, usage_response


async def report(call: AdminCall) -> Response:
    """Give usage of every team, by team over 30 days unless asked otherwise."""
    return await usage_response(call.core, call.parameters, by="team")


ROUTES = (
    AdminRoute(
        "GET",
        "/usage",
        Permission.READ,
        report,
        "Usage, charges and costs by team, key, model, upstream, status and time",
        query=ADMIN_FIELDS,
        team=Confined.TEAM,
        answer=USAGE,
        streams=("text/csv", "application/x-ndjson"),
        errors=(400, 401, 403, 503),
    ),
)
