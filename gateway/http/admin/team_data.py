"""`/admin/v1/teams/{id}/export` and `…/erase`: all that is kept of a team."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from starlette.responses import JSONResponse, Response, StreamingResponse

from gateway.app.team_data import as_ndjson
from gateway.domain.administration import Permission
from gateway.http.admin.answers import ERASED
from gateway.http.admin.routes import AdminCall, AdminRoute

_ONE = "/teams/{team_id}"
_NDJSON = "application/x-ndjson"


async def export(call: AdminCall) -> Response:
    """Stream all that is kept of a team; an unknown one is an error before the stream begins."""
    lines = call.core.admin.export.lines(call.path["team_id"])
    first = await anext(lines)
    headers = {"content-disposition": f'attachment; filename="{first["id"]}.ndjson"'}
    return StreamingResponse(as_ndjson(_joined(first, lines)), headers=headers, media_type=_NDJSON)


async def _joined(
    first: dict[str, Any], rest: AsyncGenerator[dict[str, Any]]
) -> AsyncGenerator[dict[str, Any]]:
    try:
        yield first
        async for one in rest:
            yield one
    finally:
        await rest.aclose()


async def erase(call: AdminCall) -> Response:
    """Empty all that a team sent and got, once its name is confirmed."""
    name = call.body.needed("name", maximum=100)
    call.body.finish()
    team_id = call.path["team_id"]
    erased = await call.core.admin.erase.run(team_id, name, call.ask)
    done = {"id": team_id, "tasks_erased": erased.tasks, "pictures_deleted": erased.pictures}
    return JSONResponse(done)


ROUTES = (
    AdminRoute(
        "GET",
        f"{_ONE}/export",
        Permission.MANAGE,
        export,
        "Export all that is kept of a team",
        streams=(_NDJSON,),
        errors=(401, 403, 404, 503),
    ),
    AdminRoute(
        "POST",
        f"{_ONE}/erase",
        Permission.MANAGE,
        erase,
        "Erase what a team sent and got",
        body={"name": {"type": "string", "minLength": 1, "maxLength": 100}},
        required=("name",),
        errors=(400, 401, 403, 404, 409, 503),
        answer=ERASED,
    ),
)
