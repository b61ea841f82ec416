"""`/admin/v1/oidc`: logging in at an OpenID Connect issuer, where one is configured."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from html import escape

from starlette.responses import HTMLResponse, RedirectResponse, Response

from gateway.app.oidc import Answer, OidcLogin
from gateway.domain.errors import GatewayError, RateLimited, RouteNotFound
from gateway.domain.login import origin_of
from gateway.domain.oidc import BEGUN_MS, OIDC_METHOD
from gateway.http.admin import door
from gateway.http.admin.routes import BASE, AdminCall, AdminRoute
from gateway.http.admin.session import logged_in, whence
from gateway.http.metrics import logins

COOKIE = "igw-oidc"
CALLBACK = "/oidc/callback"
TEXT_MAX = 4_096
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Not logged in</title></head>
<body><h1>Not logged in</h1><p>{message}</p><p><a href="{again}">Log in again</a></p></body></html>
"""
_HEADERS = {"content-security-policy": "default-src 'none'", "cache-control": "no-store"}


def _for_people(
    handler: Callable[[AdminCall], Awaitable[Response]],
) -> Callable[[AdminCall], Awaitable[Response]]:
    """Show a browser what went wrong as a page; other clients get the error itself."""

    async def shown(call: AdminCall) -> Response:
        try:
            return await handler(call)
        except GatewayError as error:
            outcome = "throttled" if isinstance(error, RateLimited) else "refused"
            logins.labels(OIDC_METHOD, outcome).inc()
            if "text/html" not in call.request.headers.get("accept", ""):
                raise
            again = f"{BASE}/oidc/login"
            page = _PAGE.format(message=escape(error.message), again=again)
            response = HTMLResponse(page, error.status, _HEADERS)
            response.headers.append("set-cookie", _cookie(call, "", 0))
            return response

    return shown


@_for_people
async def begin(call: AdminCall) -> Response:
    """Send a browser to the issuer; ``next`` is where it goes once it is logged in."""
    oidc = _configured(call)
    door.require_private(call.request, call.core.public_url)
    back_to = call.query.text("next") or f"{BASE}/session"
    call.query.finish()
    address, kept = await oidc.begin(_redirect_uri(call), back_to)
    response = RedirectResponse(address, 302, _HEADERS)
    response.headers.append("set-cookie", _cookie(call, kept, BEGUN_MS // 1000))
    return response


@_for_people
async def finish(call: AdminCall) -> Response:
    """Log in the browser that the issuer sent back, and send it on."""
    oidc, query = _configured(call), call.parameters
    answer = Answer(
        kept=call.request.cookies.get(_cookie_name(call), "")[:TEXT_MAX],
        state=query.get("state", "")[:TEXT_MAX],
        code=query.get("code", "")[:TEXT_MAX],
        error=query.get("error", ""),
        issuer=query.get("iss", ""),
    )
    session, token, back_to = await oidc.finish(answer, _redirect_uri(call), whence(call))
    response = logged_in(call, session, token, RedirectResponse(back_to, 303, _HEADERS))
    response.headers.append("set-cookie", _cookie(call, "", 0))
    return response


def _configured(call: AdminCall) -> OidcLogin:
    if call.core.admin.oidc is None:
        raise RouteNotFound("Logging in at an issuer is not configured (GATEWAY_OIDC_ISSUER).")
    return call.core.admin.oidc


def _redirect_uri(call: AdminCall) -> str:
    """Give where the issuer sends browsers back to, as it must be registered there."""
    request = call.request
    own = origin_of(f"{request.url.scheme}://{request.headers.get('host', '')}")
    return f"{call.core.public_url or own}{BASE}{CALLBACK}"


def _cookie_name(call: AdminCall) -> str:
    return door.cookie_name(call.request, call.core.public_url, COOKIE)


def _cookie(call: AdminCall, value: str, seconds: int) -> str:
    return door.set_cookie(call.request, call.core.public_url, value, seconds, COOKIE)


ROUTES = (
    AdminRoute(
        "GET",
        "/oidc/login",
        None,
        begin,
        "Go and log in at the OpenID Connect issuer",
        query=("next",),
        status=302,
        for_people=True,
        errors=(400, 403, 404, 502, 503),
    ),
    AdminRoute(
        "GET",
        CALLBACK,
        None,
        finish,
        "Come back from the OpenID Connect issuer",
        query=("state", "code", "error", "iss"),
        any_query=True,
        status=303,
        for_people=True,
        errors=(401, 403, 404, 429, 502, 503),
    ),
)
