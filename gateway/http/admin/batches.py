"""`/admin/v1/batches`: the batches of all teams, and how they stand."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response

from gateway.app.views import batch_view
from gateway.domain.administration import Permission
from gateway.domain.batch import BatchStatus
from gateway.http.admin.answers import BATCH, page
from gateway.http.admin.confine import unknown_batch
from gateway.http.admin.routes import AdminCall, AdminRoute, Confined, paged


async def list_batches(call: AdminCall) -> Response:
    """List batches, newest first, of a team and a status where they are given."""
    limit, cursor = call.page()
    status = call.query.choice("status", tuple(BatchStatus), "") or None
    team_id = call.query.text("team_id")
    call.query.finish()
    found = await call.core.admin.batches.batch_page(limit, cursor, team_id=team_id, status=status)
    return JSONResponse(paged([batch_view(one) for one in found.items], found.cursor))


async def get(call: AdminCall) -> Response:
    """Give one batch."""
    batch_id = call.path["batch_id"]
    found = await call.core.admin.batches.get(batch_id)
    if found is None:
        raise unknown_batch(batch_id)
    return JSONResponse(batch_view(found))


ROUTES = (
    AdminRoute(
        "GET",
        "/batches",
        Permission.READ,
        list_batches,
        "List batches, newest first",
        query=("limit", "cursor", "status", "team_id"),
        team=Confined.TEAM_ID,
        answer=page(BATCH),
    ),
    AdminRoute(
        "GET",
        "/batches/{batch_id}",
        Permission.READ,
        get,
        "Show a batch",
        team=Confined.BATCH,
        answer=BATCH,
    ),
)
