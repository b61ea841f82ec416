"""`/admin/v1/session`: logging in, who is logged in, another password, logging out."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse, Response

from gateway.app.login import Whence
from gateway.app.views import time_text
from gateway.domain.administration import Actor, Permission
from gateway.domain.errors import NotFound, RateLimited
from gateway.domain.login import (
    ADMIN_KEY_METHOD,
    PASSWORD_BYTES_MAX,
    PASSWORD_METHOD,
    PASSWORD_MIN,
    LoginRefused,
    Session,
    sender_of,
)
from gateway.http.admin import door
from gateway.http.admin.answers import SESSION, SESSIONS_ENDED
from gateway.http.admin.routes import BASE, AdminCall, AdminRoute, Confined
from gateway.http.auth import KEY_MAX
from gateway.http.metrics import logins

NAME_MAX = 100


async def log_in(call: AdminCall) -> Response:
    """Open a session for a name and its password, or for the admin key, and set its cookie."""
    body, core = call.body, call.core
    key = body.text("admin_key", maximum=KEY_MAX)
    if key is None:
        name = body.needed("name", maximum=NAME_MAX)
        password = body.needed("password", maximum=PASSWORD_BYTES_MAX)
    else:
        name, password = "", ""
        for other in ("name", "password"):
            if other in body:
                body.refuse(other, f"{other} and admin_key exclude each other.", "one of them")
    body.finish()
    door.require_private(call.request, core.public_url)
    door.require_own(call.request, core.public_url)
    log_in = core.admin.log_in
    method = PASSWORD_METHOD if key is None else ADMIN_KEY_METHOD
    try:
        if key is None:
            session, token = await log_in.by_password(name.strip(), password, whence(call))
        else:
            session, token = await log_in.by_admin_key(key, whence(call))
    except (LoginRefused, RateLimited) as error:
        outcome = "throttled" if isinstance(error, RateLimited) else "refused"
        logins.labels(method, outcome).inc()
        raise
    return logged_in(call, session, token, JSONResponse(session_view(session)))


def logged_in(call: AdminCall, session: Session, token: str, response: Response) -> Response:
    """Give a response that logs a browser in."""
    logins.labels(session.method, "opened").inc()
    # As long as a session can last: the server knows of one that ended earlier.
    seconds = call.core.admin.log_in.rules.max_ms // 1000
    cookie = door.set_cookie(call.request, call.core.public_url, token, seconds)
    response.headers["set-cookie"] = cookie
    response.headers["cache-control"] = "no-store"
    return response


def whence(call: AdminCall) -> Whence:
    """Give where a login comes from."""
    client = call.request.client
    token = door.session_token(call.request, call.core.public_url)
    return Whence(sender_of(client.host if client else None), token, call.ask.request_id)


async def show(call: AdminCall) -> Response:
    """Say who is logged in, until when, and what writes must carry."""
    return JSONResponse(session_view(_session(call)))


async def log_out(call: AdminCall) -> Response:
    """End this session."""
    await call.core.admin.logins.end(_session(call).id, call.ask)
    cookie = door.set_cookie(call.request, call.core.public_url, "", 0)
    return Response(status_code=204, headers={"set-cookie": cookie})


async def change_password(call: AdminCall) -> Response:
    """Give whoever is logged in another password, and end the other logins."""
    current = call.body.needed("current_password", maximum=PASSWORD_BYTES_MAX)
    password = call.body.needed("password", maximum=PASSWORD_BYTES_MAX)
    call.body.finish()
    session, log_in = _session(call), call.core.admin.log_in
    ended = await log_in.change_password(session, current, password, whence(call))
    return JSONResponse({"id": session.actor.id, "sessions_ended": ended})


def _session(call: AdminCall) -> Session:
    if call.session is None:
        raise NotFound(f"This call is made by a token and not by a login; see GET {BASE}/me.")
    return call.session


def session_view(session: Session) -> dict[str, Any]:
    """Give a session without its token."""
    return {
        **actor_view(session.actor),
        "method": session.method,
        "csrf_token": session.csrf,
        "created_at": time_text(session.created_ms),
        "expires_at": time_text(session.expires_ms),
    }


def actor_view(actor: Actor) -> dict[str, Any]:
    """Give who calls, and what that may do."""
    allowed = [one.value for one in Permission if actor.role.may(one)]
    return {
        "id": actor.id,
        "name": actor.name,
        "role": actor.role.value,
        "team_id": actor.team_id,
        "permissions": allowed,
    }


_PATH = "/session"
ROUTES = (
    AdminRoute(
        "POST",
        _PATH,
        None,
        log_in,
        "Log in with a name and a password, or with the admin key",
        body={
            "name": {"type": "string", "minLength": 1, "maxLength": NAME_MAX},
            "password": {"type": "string", "maxLength": PASSWORD_BYTES_MAX},
            "admin_key": {"type": "string", "maxLength": KEY_MAX},
        },
        errors=(400, 401, 403, 429, 503),
        answer=SESSION,
    ),
    AdminRoute(
        "GET",
        _PATH,
        Permission.READ,
        show,
        "Who is logged in, and until when",
        team=Confined.SELF,
        answer=SESSION,
    ),
    AdminRoute(
        "DELETE", _PATH, Permission.READ, log_out, "Log out", status=204, team=Confined.SELF
    ),
    AdminRoute(
        "POST",
        f"{_PATH}/password",
        Permission.READ,
        change_password,
        "Change your own password; your other logins end",
        body={
            "current_password": {"type": "string", "maxLength": PASSWORD_BYTES_MAX},
            "password": {"type": "string", "minLength": PASSWORD_MIN},
        },
        required=("current_password", "password"),
        errors=(400, 401, 403, 404, 409, 429, 503),
        team=Confined.SELF,
        answer=SESSIONS_ENDED,
    ),
)
