"""`/admin/v1/teams`: who pays."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse, Response

from gateway.app.views import team_view
from gateway.domain.access import Team
from gateway.domain.administration import Permission
from gateway.domain.budgets import ALERTS_MAX, MODES, PERCENT_MAX
from gateway.domain.callback import RETRIES, URL_MAX
from gateway.domain.errors import NotFound, RepeatedChange
from gateway.http.admin.answers import SECRET, TEAM, TEAM_MADE, page
from gateway.http.admin.routes import AdminCall, AdminRoute, Confined, etag, paged

_TEXT = {"type": "string", "minLength": 1, "maxLength": 100}
_FIELDS = {"name": _TEXT, "user_group": _TEXT}
_CREDITS = {"type": ["string", "null"], "pattern": r"^[0-9]+(\.[0-9]{1,6})?$", "maxLength": 40}
_CHANGES = {
    **_FIELDS,
    "callback_retries": {"type": "string", "enum": list(RETRIES)},
    "monthly_budget": _CREDITS,
    "budget_mode": {"type": "string", "enum": list(MODES)},
    "budget_alerts": {
        "type": "array",
        "items": {"type": "integer", "minimum": 1, "maximum": PERCENT_MAX},
        "maxItems": ALERTS_MAX,
    },
    "low_balance": _CREDITS,
    "alert_url": {"type": ["string", "null"], "minLength": 1, "maxLength": URL_MAX},
}
HOUR_S = 3600
OVERLAP_MAX_S = 90 * 24 * HOUR_S


async def create(call: AdminCall) -> Response:
    """Add a team; its webhook secret is in this answer alone."""
    name = call.body.needed("name")
    group = call.body.text("user_group", maximum=100) or "default"
    call.body.finish()
    try:
        team = await call.core.admin.teams.create_team(name, group, ask=call.ask)
    except RepeatedChange as earlier:
        team = await known(call, earlier.subject)
    return _answer(team, secret=True, status=201)


async def list_teams(call: AdminCall) -> Response:
    """List teams, newest first."""
    found = await call.core.admin.teams.team_page(*call.page())
    return JSONResponse(paged([team_view(t, secret=False) for t in found.items], found.cursor))


async def get(call: AdminCall) -> Response:
    """Give a team with its balance."""
    return _answer(await known(call, call.path["team_id"]))


async def update(call: AdminCall) -> Response:
    """Change what is sent; the rest stays."""
    body = call.body
    given: dict[str, Any] = {
        name: body.needed(name, maximum=100) for name in ("name", "user_group") if name in body
    }
    if "callback_retries" in body:
        given["callback_retries"] = body.choice("callback_retries", RETRIES, "quick")
    if "budget_mode" in body:
        given["budget_mode"] = body.choice("budget_mode", MODES, "refuse")
    if "budget_alerts" in body:
        given["budget_alerts"] = body.integers("budget_alerts", 1, PERCENT_MAX, ALERTS_MAX)
    for name in ("monthly_budget", "low_balance"):
        if name in body:
            given[name] = body.credits(name)
    if "alert_url" in body:
        given["alert_url"] = await _alert_url(call)
    body.finish()
    return _answer(await call.core.admin.teams.update_team(call.path["team_id"], given, call.ask))


async def _alert_url(call: AdminCall) -> str | None:
    url = call.body.text("alert_url", maximum=URL_MAX)
    refusal = None if url is None else await call.core.submit.fetcher.judge(url, "callback")
    if refusal:
        legal = "an https URL with a public address, or null"
        call.body.refuse("alert_url", refusal, legal, "invalid_callback_url")
    return url


async def suspend(call: AdminCall) -> Response:
    """Stop the team's keys from working; accepted tasks go on."""
    team_id = call.path["team_id"]
    return _answer(await call.core.admin.teams.suspend_team(team_id, call.ask, suspended=True))


async def resume(call: AdminCall) -> Response:
    """Let the team's keys work again."""
    team_id = call.path["team_id"]
    return _answer(await call.core.admin.teams.suspend_team(team_id, call.ask, suspended=False))


async def delete(call: AdminCall) -> Response:
    """Delete a team for which no money ever moved."""
    await call.core.admin.teams.delete_team(call.path["team_id"], call.ask)
    return Response(status_code=204)


async def rotate_secret(call: AdminCall) -> Response:
    """Make a new signing secret; callbacks carry both signatures until the overlap ends."""
    overlap_s = call.body.integer("overlap_seconds", 0, OVERLAP_MAX_S)
    call.body.finish()
    overlap_ms = (24 * HOUR_S if overlap_s is None else overlap_s) * 1000
    team_id = call.path["team_id"]
    try:
        secret = await call.core.admin.teams.rotate_webhook_secret(team_id, overlap_ms, call.ask)
    except RepeatedChange as earlier:
        secret = earlier.secret or ""
    return JSONResponse({"id": team_id, "webhook_secret": secret})


async def known(call: AdminCall, team_id: str) -> Team:
    """Give a team. Raises NotFound."""
    team = await call.core.admin.teams.team(team_id)
    if team is None:
        raise NotFound(f"There is no team {team_id[:80]!r}.")
    return team


def _answer(team: Team, *, secret: bool = False, status: int = 200) -> Response:
    return JSONResponse(team_view(team, secret=secret), status, etag(team.version))


_ONE = "/teams/{team_id}"
_MANAGE = Permission.MANAGE
ROUTES = (
    AdminRoute(
        "POST",
        "/teams",
        _MANAGE,
        create,
        "Add a team",
        creates=True,
        body=_FIELDS,
        required=("name",),
        status=201,
        errors=(400, 401, 403, 409, 422, 503),
        answer=TEAM_MADE,
    ),
    AdminRoute(
        "GET",
        "/teams",
        Permission.READ,
        list_teams,
        "List teams, newest first",
        query=("limit", "cursor"),
        answer=page(TEAM),
    ),
    AdminRoute(
        "GET",
        _ONE,
        Permission.READ,
        get,
        "Show a team",
        team=Confined.PATH,
        answer=TEAM,
    ),
    AdminRoute(
        "PATCH",
        _ONE,
        _MANAGE,
        update,
        "Change a team",
        versioned=True,
        body=_CHANGES,
        errors=(400, 401, 403, 404, 409, 412, 503),
        answer=TEAM,
    ),
    AdminRoute(
        "DELETE",
        _ONE,
        _MANAGE,
        delete,
        "Delete a team that was never used",
        versioned=True,
        status=204,
        errors=(401, 403, 404, 409, 412, 503),
    ),
    AdminRoute(
        "POST",
        f"{_ONE}/suspend",
        _MANAGE,
        suspend,
        "Suspend a team",
        versioned=True,
        errors=(400, 401, 403, 404, 409, 412, 503),
        answer=TEAM,
    ),
    AdminRoute(
        "POST",
        f"{_ONE}/resume",
        _MANAGE,
        resume,
        "Resume a team",
        versioned=True,
        errors=(400, 401, 403, 404, 409, 412, 503),
        answer=TEAM,
    ),
    AdminRoute(
        "POST",
        f"{_ONE}/rotate-secret",
        _MANAGE,
        rotate_secret,
        "Make a new signing secret",
        creates=True,
        body={"overlap_seconds": {"type": "integer", "minimum": 0, "maximum": OVERLAP_MAX_S}},
        errors=(400, 401, 403, 404, 409, 422, 503),
        answer=SECRET,
    ),
)
