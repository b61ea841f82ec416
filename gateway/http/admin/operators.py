"""`/admin/v1/operators`: who administers, and what each is trusted with."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response

from gateway.app.views import operator_view
from gateway.domain.administration import Operator, Permission, Role
from gateway.domain.errors import RepeatedChange
from gateway.domain.login import PASSWORD_BYTES_MAX, PASSWORD_MIN
from gateway.http.admin.answers import ME, OPERATOR, OPERATOR_MADE, SESSIONS_ENDED, page
from gateway.http.admin.routes import AdminCall, AdminRoute, Confined, etag, paged
from gateway.http.admin.session import actor_view

ROLES = tuple(role.value for role in Role)
_ROLE = {"type": "string", "enum": list(ROLES)}


async def me(call: AdminCall) -> Response:
    """Say who calls, and what that may do."""
    return JSONResponse(actor_view(call.actor))


async def create(call: AdminCall) -> Response:
    """Add an operator; the token is in this answer alone (and in repetitions of the call)."""
    name, role = call.body.needed("name", maximum=100), _role(call)
    team_id = call.body.text("team_id")
    call.body.finish()
    operators = call.core.admin.operators
    try:
        made, token = await operators.create_operator(name, role, call.ask, team_id=team_id)
    except RepeatedChange as earlier:
        made, token = await operators.operator(earlier.subject), earlier.secret or ""
    return _answer(made, {"token": token}, 201)


async def list_operators(call: AdminCall) -> Response:
    """List operators, newest first, revoked ones included."""
    found = await call.core.admin.operators.operator_page(*call.page())
    return JSONResponse(paged([operator_view(one) for one in found.items], found.cursor))


async def get(call: AdminCall) -> Response:
    """Give an operator without its token."""
    return _answer(await call.core.admin.operators.operator(call.path["operator_id"]))


async def update(call: AdminCall) -> Response:
    """Change an operator's role."""
    role, team_id = _role(call), call.body.text("team_id")
    call.body.finish()
    operator_id, operators = call.path["operator_id"], call.core.admin.operators
    return _answer(await operators.change_role(operator_id, role, call.ask, team_id=team_id))


async def revoke(call: AdminCall) -> Response:
    """End an operator's token now."""
    operator_id = call.path["operator_id"]
    return _answer(await call.core.admin.operators.revoke_operator(operator_id, call.ask))


async def set_password(call: AdminCall) -> Response:
    """Let an operator log in with a password; what is open by an earlier one ends."""
    password = call.body.needed("password", maximum=PASSWORD_BYTES_MAX)
    call.body.finish()
    await call.core.admin.logins.set_password(call.path["operator_id"], password, call.ask)
    return Response(status_code=204)


async def end_sessions(call: AdminCall) -> Response:
    """End every login of an operator, in every process."""
    operator_id = call.path["operator_id"]
    ended = await call.core.admin.logins.end_all(operator_id, call.ask)
    return JSONResponse({"id": operator_id, "sessions_ended": ended})


def _role(call: AdminCall) -> Role:
    call.body.raw("role", required=True)
    return Role(call.body.choice("role", ROLES, Role.VIEWER.value))


def _answer(one: Operator, more: dict[str, str] | None = None, status: int = 200) -> Response:
    return JSONResponse({**operator_view(one), **(more or {})}, status, headers=etag(one.version))


_ONE = "/operators/{operator_id}"
_NAME = {"type": "string", "minLength": 1, "maxLength": 100}
_TEAM = {"type": ["string", "null"], "maxLength": 500, "description": "Of a member alone."}
_MADE = (400, 401, 403, 404, 409, 422, 503)
_CHANGED = (400, 401, 403, 404, 412, 503)
ROUTES = (
    AdminRoute(
        "GET",
        "/me",
        Permission.READ,
        me,
        "Who calls, and what that may do",
        team=Confined.SELF,
        answer=ME,
    ),
    AdminRoute(
        "POST",
        "/operators",
        Permission.OPERATORS,
        create,
        "Add an operator",
        creates=True,
        body={"name": _NAME, "role": _ROLE, "team_id": _TEAM},
        required=("name", "role"),
        status=201,
        errors=_MADE,
        answer=OPERATOR_MADE,
    ),
    AdminRoute(
        "GET",
        "/operators",
        Permission.READ,
        list_operators,
        "List operators, newest first",
        query=("limit", "cursor"),
        answer=page(OPERATOR),
    ),
    AdminRoute("GET", _ONE, Permission.READ, get, "One operator", answer=OPERATOR),
    AdminRoute(
        "PATCH",
        _ONE,
        Permission.OPERATORS,
        update,
        "Change an operator's role",
        versioned=True,
        body={"role": _ROLE, "team_id": _TEAM},
        required=("role",),
        errors=_CHANGED,
        answer=OPERATOR,
    ),
    AdminRoute(
        "POST",
        f"{_ONE}/revoke",
        Permission.OPERATORS,
        revoke,
        "End an operator's token now",
        versioned=True,
        errors=_CHANGED,
        answer=OPERATOR,
    ),
    AdminRoute(
        "PUT",
        f"{_ONE}/password",
        Permission.OPERATORS,
        set_password,
        "Set an operator's password",
        body={"password": {"type": "string", "minLength": PASSWORD_MIN}},
        required=("password",),
        status=204,
        errors=(400, 401, 403, 404, 409, 503),
    ),
    AdminRoute(
        "DELETE",
        f"{_ONE}/sessions",
        Permission.OPERATORS,
        end_sessions,
        "End every login of an operator, or of the admin key (`admin-key`)",
        answer=SESSIONS_ENDED,
    ),
)
