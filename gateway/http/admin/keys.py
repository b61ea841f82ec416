"""`/admin/v1/keys`: who calls, and what each key may do."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse, Response

from gateway.app.views import key_view
from gateway.domain.access import (
    CAPS,
    LIMIT_MAX,
    LIMITS,
    LIST_MAX,
    RULES,
    SCOPES,
    ApiKey,
    KeyRules,
)
from gateway.domain.administration import Permission
from gateway.domain.errors import RepeatedChange
from gateway.http.admin.answers import KEY, KEY_MADE, KEY_ROTATED, page
from gateway.http.admin.routes import AdminCall, AdminRoute, Confined, etag, paged

MODES = ("auto", "sync", "async")
HOUR_S = 3_600
OVERLAP_MAX_S = 90 * 24 * HOUR_S


def _list_of(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": ["array", "null"], "items": item, "minItems": 1, "maxItems": LIST_MAX}


_TEXT = {"type": "string", "minLength": 1, "maxLength": 500}
_CHANGEABLE: dict[str, Any] = {
    "name": {"type": "string", "maxLength": 100},
    "mode": {"type": "string", "enum": list(MODES)},
    "expires_at": {"type": ["string", "null"], "format": "date-time"},
    "scopes": _list_of({"type": "string", "enum": list(SCOPES)}),
    "models": _list_of(_TEXT),
    "upstreams": _list_of(_TEXT),
    "networks": _list_of(_TEXT),
    **{name: {"type": ["integer", "null"], "minimum": 1, "maximum": LIMIT_MAX} for name in LIMITS},
    **{
        name: {
            "type": ["string", "null"],
            "pattern": r"^[0-9]+(\.[0-9]{1,6})?$",
            "maxLength": 40,
        }
        for name in CAPS
    },
}


async def create(call: AdminCall) -> Response:
    """Add a key; its text is in this answer alone (and in repetitions of the call)."""
    team_id = call.body.needed("team_id")
    given = _read(call)
    call.body.finish()
    rules = KeyRules(**{name: value for name, value in given.items() if name in RULES})
    rest = {name: value for name, value in given.items() if name not in RULES}
    keys = call.core.admin.keys
    try:
        made, text = await keys.create(team_id, **rest, rules=rules, ask=call.ask)
    except RepeatedChange as earlier:
        made, text = await keys.key(earlier.subject), earlier.secret or ""
    return _answer(made, {"key": text}, 201)


async def list_keys(call: AdminCall) -> Response:
    """List keys, newest first, revoked ones included."""
    found = await call.core.admin.keys.key_page(*call.page(), call.query.text("team_id"))
    return JSONResponse(paged([key_view(key) for key in found.items], found.cursor))


async def get(call: AdminCall) -> Response:
    """Give a key without its text."""
    return _answer(await call.core.admin.keys.key(call.path["key_id"]))


async def update(call: AdminCall) -> Response:
    """Change what is sent; the rest stays. null takes a rule away."""
    given = _read(call)
    call.body.finish()
    return _answer(await call.core.admin.keys.update(call.path["key_id"], given, call.ask))


async def revoke(call: AdminCall) -> Response:
    """End a key now."""
    return _answer(await call.core.admin.keys.revoke(call.path["key_id"], call.ask))


async def rotate(call: AdminCall) -> Response:
    """Give a new key like this one; the old one ends after the overlap."""
    overlap_s = call.body.integer("overlap_seconds", 0, OVERLAP_MAX_S)
    call.body.finish()
    overlap_ms = (24 * HOUR_S if overlap_s is None else overlap_s) * 1000
    keys, old_id = call.core.admin.keys, call.path["key_id"]
    try:
        made, text = await keys.rotate(old_id, overlap_ms, call.ask)
    except RepeatedChange as earlier:
        made, text = await keys.key(earlier.subject), earlier.secret or ""
    return _answer(made, {"key": text, "replaces": old_id}, 201)


def _read(call: AdminCall) -> dict[str, Any]:
    """Give the fields that were sent, under the names the store knows."""
    body, given = call.body, dict[str, Any]()
    if "name" in body:
        given["name"] = body.text("name", maximum=100) or ""
    if "mode" in body:
        given["default_mode"] = body.choice("mode", MODES, "auto")
    if "expires_at" in body:
        given["expires_ms"] = body.future_ms("expires_at", call.core.clock.now_ms())
    for name in ("scopes", "models", "upstreams", "networks"):
        if name in body:
            given[name] = body.texts(name)
    for name in LIMITS:
        if name in body:
            given[name] = body.integer(name, 1, LIMIT_MAX)
    for name in CAPS:
        if name in body:
            given[name] = body.credits(name)
    if given.get("models"):
        given["models"] = _canonical(call, given["models"])
    if given.get("upstreams"):
        _judge_upstreams(call, given["upstreams"])
    return given


def _canonical(call: AdminCall, names: tuple[str, ...]) -> tuple[str, ...]:
    """Give the models behind names and aliases."""
    aliases = call.core.catalog().aliases
    for name in names:
        if name not in aliases:
            call.body.refuse("models", f"There is no model {name!r}.", "see GET /v1/models")
    return tuple(dict.fromkeys(aliases.get(name, name) for name in names))


def _judge_upstreams(call: AdminCall, names: tuple[str, ...]) -> None:
    upstreams = call.core.catalog().upstreams
    known = {*upstreams, *(upstream.adapter for upstream in upstreams.values())}
    for name in names:
        if name not in known:
            legal = ", ".join(sorted(known))
            call.body.refuse("upstreams", f"There is no upstream {name!r}.", legal)


def _answer(key: ApiKey, more: dict[str, Any] | None = None, status: int = 200) -> Response:
    return JSONResponse({**key_view(key), **(more or {})}, status, etag(key.version))


_ONE = "/keys/{key_id}"
_MANAGE = Permission.MANAGE
_CREATE_ERRORS = (400, 401, 403, 404, 412, 422, 503)
ROUTES = (
    AdminRoute(
        "POST",
        "/keys",
        _MANAGE,
        create,
        "Add a key; its text is shown once",
        creates=True,
        body={"team_id": _TEXT, **_CHANGEABLE},
        required=("team_id",),
        status=201,
        errors=_CREATE_ERRORS,
        answer=KEY_MADE,
    ),
    AdminRoute(
        "GET",
        "/keys",
        Permission.READ,
        list_keys,
        "List keys, newest first",
        query=("limit", "cursor", "team_id"),
        team=Confined.TEAM_ID,
        answer=page(KEY),
    ),
    AdminRoute(
        "GET",
        _ONE,
        Permission.READ,
        get,
        "Show a key without its text",
        team=Confined.KEY,
        answer=KEY,
    ),
    AdminRoute(
        "PATCH",
        _ONE,
        _MANAGE,
        update,
        "Change a key",
        versioned=True,
        body=_CHANGEABLE,
        errors=(400, 401, 403, 404, 412, 503),
        answer=KEY,
    ),
    AdminRoute(
        "POST", f"{_ONE}/revoke", _MANAGE, revoke, "End a key now", versioned=True, answer=KEY
    ),
    AdminRoute(
        "POST",
        f"{_ONE}/rotate",
        _MANAGE,
        rotate,
        "Replace a key; the old one goes on for a while",
        creates=True,
        versioned=True,
        body={"overlap_seconds": {"type": "integer", "minimum": 0, "maximum": OVERLAP_MAX_S}},
        status=201,
        errors=_CREATE_ERRORS,
        answer=KEY_ROTATED,
    ),
)
