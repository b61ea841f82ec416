"""`/admin/v1/teams/{id}/credits`, refunds and statements: what finance moves, and reads."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response

from gateway.app.statements import statement_csv, statement_view
from gateway.app.views import credit_view
from gateway.domain.administration import Permission
from gateway.domain.statement import month_named
from gateway.http.admin.answers import CREDIT, STATEMENT, page
from gateway.http.admin.routes import AdminCall, AdminRoute, Confined, paged

KINDS = ("grant", "adjustment")
_CREDITS = {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,6})?$", "maxLength": 40}
_REFERENCE = {"type": "string", "minLength": 1, "maxLength": 500}


async def move(call: AdminCall) -> Response:
    """Grant credits, or adjust a balance up or down; a repetition gives the first one's."""
    body, team_id = call.body, call.path["team_id"]
    kind = body.choice("kind", KINDS, "grant")
    micro = body.credits("credits", required=True)
    reference = body.text("reference", required=kind == "adjustment")
    if micro is not None and (micro == 0 or (kind == "grant" and micro < 0)):
        legal = "more than 0" if kind == "grant" else "more or less than 0"
        body.refuse("credits", f"No {kind} can be {body.text('credits')} credits.", legal)
    expires_ms = body.future_ms("expires_at", call.core.clock.now_ms())
    if expires_ms is not None and kind != "grant":
        body.refuse("expires_at", "Only a grant can expire.", "null")
    body.finish()
    store = call.core.admin.credits
    if kind == "grant":
        moved = await store.grant(team_id, micro or 0, reference, call.ask, expires_ms=expires_ms)
    else:
        moved = await store.adjust(team_id, micro or 0, reference or "", call.ask)
    return JSONResponse(credit_view(moved), 201)


async def refund(call: AdminCall) -> Response:
    """Give back what a task was charged, or a part of it."""
    micro = call.body.credits("credits")
    reference = call.body.needed("reference")
    if micro is not None and micro <= 0:
        call.body.refuse("credits", "No refund can be 0 credits or less.", "more than 0")
    call.body.finish()
    task_id = call.path["task_id"]
    moved = await call.core.admin.credits.refund(task_id, micro, reference, call.ask)
    return JSONResponse(credit_view(moved), 201)


async def list_credits(call: AdminCall) -> Response:
    """List a team's grants, adjustments, refunds and expirations, newest first."""
    found = await call.core.admin.credits.credit_page(call.path["team_id"], *call.page())
    return JSONResponse(paged([credit_view(one) for one in found.items], found.cursor))


async def statement(call: AdminCall) -> Response:
    """Give a team's month."""
    kind = call.query.choice("format", ("json", "csv"), "json")
    call.query.finish()
    now_ms = call.core.clock.now_ms()
    month = month_named(call.path["month"], now_ms)
    found = await call.core.admin.credits.statement(call.path["team_id"], month)
    if kind == "json":
        return JSONResponse(statement_view(found, now_ms))
    headers = {"content-disposition": f'attachment; filename="statement-{month.name}.csv"'}
    return Response(statement_csv(found), media_type="text/csv", headers=headers)


_ERRORS = (400, 401, 403, 404, 422, 503)
_OF_TEAM = "/teams/{team_id}/credits"
ROUTES = (
    AdminRoute(
        "POST",
        _OF_TEAM,
        Permission.MONEY,
        move,
        "Grant credits, or adjust a balance",
        creates=True,
        body={
            "kind": {"type": "string", "enum": list(KINDS), "default": "grant"},
            "credits": _CREDITS,
            "reference": _REFERENCE,
            "expires_at": {"type": ["string", "null"], "format": "date-time"},
        },
        required=("credits",),
        status=201,
        errors=_ERRORS,
        answer=CREDIT,
    ),
    AdminRoute(
        "GET",
        _OF_TEAM,
        Permission.READ,
        list_credits,
        "List a team's grants, adjustments, refunds and expirations, newest first",
        query=("limit", "cursor"),
        answer=page(CREDIT),
    ),
    AdminRoute(
        "POST",
        "/tasks/{task_id}/refund",
        Permission.MONEY,
        refund,
        "Give back what a task was charged, or a part of it",
        creates=True,
        body={"credits": _CREDITS, "reference": _REFERENCE},
        required=("reference",),
        status=201,
        errors=_ERRORS,
        answer=CREDIT,
    ),
    AdminRoute(
        "GET",
        "/teams/{team_id}/statements/{month}",
        Permission.READ,
        statement,
        "A team's month: opening and closing balance, and what moved it",
        query=("format",),
        team=Confined.PATH,
        answer=STATEMENT,
        streams=("text/csv",),
    ),
)
