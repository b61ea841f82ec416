"""From a request to an authorised `AdminCall`, and from its outcome to a response."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as HttpRoute

from gateway.app.core import Core
from gateway.app.dialect import View
from gateway.domain.administration import NOBODY, Actor, Ask, RepeatMark
from gateway.domain.errors import AuthenticationFailed, GatewayError, InvalidRequest, NotAllowed
from gateway.domain.errors import Problem as Wrong
from gateway.domain.login import ForeignRequest, Session
from gateway.domain.repeats import KEY_CHARS_MAX
from gateway.http.admin.confine import confined, may_call
from gateway.http.admin.door import CSRF_HEADER, require_own, session_token
from gateway.http.admin.fields import Fields
from gateway.http.admin.routes import BASE, AdminCall, AdminRoute
from gateway.http.admin.table import ROUTES
from gateway.http.auth import KEY_MAX, key_of
from gateway.http.calls import BODY_MAX, BODY_MAX_WITH_IMAGES, read_body
from gateway.http.mount import NATIVE
from gateway.http.replies import error_response

IDEMPOTENCY_KEY = "idempotency-key"
_BEARER = ("authorization", "x-api-key")
_SAFE = ("GET", "HEAD")
_VERSION = re.compile(r'(?:W/)?"([0-9]{1,9})"\Z')


def admin_routes(core: Core) -> list[HttpRoute]:
    """Give the Starlette routes of ``/admin/v1``."""
    return [
        HttpRoute(BASE + route.path, _endpoint(core, route), methods=[route.method])
        for route in ROUTES
    ]


def _endpoint(core: Core, route: AdminRoute) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        request.scope["state"]["route"] = BASE + route.path
        try:
            actor, session = await _admitted(core, route, request)
            parameters = await confined(core, route, request, actor)
            call = await _call(core, route, request, actor, parameters)
            response = await route.handler(replace(call, session=session))
            if session is not None:
                response.headers.setdefault("cache-control", "no-store")
            return response
        except GatewayError as error:
            request_id = request.scope["state"].get("request_id", "")
            view = View(core.public_url or "", request_id, core.clock.now_ms())
            return error_response(core.dialects[NATIVE], error, view)

    return serve


async def _admitted(
    core: Core, route: AdminRoute, request: Request
) -> tuple[Actor, Session | None]:
    """Give who calls, and by which login. Raises AuthenticationFailed, NotAllowed."""
    if route.permission is None:
        return NOBODY, None
    # What a browser cannot be made to send by another site wins, and needs no other proof.
    has_bearer = any(name in request.headers for name in _BEARER)
    token = "" if has_bearer else session_token(request, core.public_url)
    session = await _session(core, route, request, token) if token else None
    actor = await _bearer(core, request) if session is None else session.actor
    if not may_call(actor, route):
        raise NotAllowed(f"The role {actor.role.value} has no permission {route.permission.value}.")
    return actor, session


async def _session(core: Core, route: AdminRoute, request: Request, token: str) -> Session:
    session = await core.admin.logins.find(token)
    if session is None:
        raise AuthenticationFailed("This login has ended; log in again.")
    if route.method not in _SAFE:
        require_own(request, core.public_url)
        sent = request.headers.get(CSRF_HEADER, "")
        if not hmac.compare_digest(sent.encode(), session.csrf.encode()):
            raise ForeignRequest(f"Send {CSRF_HEADER} as GET {BASE}/session gives it.")
    return session


async def _bearer(core: Core, request: Request) -> Actor:
    text = key_of(request.headers)
    actor = await core.admin.actor(text) if len(text) <= KEY_MAX else None
    if actor is None:
        raise AuthenticationFailed("The admin key or operator token is not valid.")
    return actor


async def _call(
    core: Core, route: AdminRoute, request: Request, actor: Actor, parameters: Mapping[str, str]
) -> AdminCall:
    declared = request.headers.get("content-length", "")
    cap = BODY_MAX_WITH_IMAGES if route.file else BODY_MAX
    body = await read_body(request.scope, request.receive, declared, cap)
    sent = _object(body) if route.body is not None else {}
    query = Fields(parameters, tuple(parameters) if route.any_query else route.query)
    query.finish()
    ask = Ask(
        actor=actor,
        request_id=request.scope["state"].get("request_id", ""),
        mark=_mark(route, request, body) if route.creates else None,
        version=_version(request.headers.get("if-match")) if route.versioned else None,
    )
    fields = Fields(sent, tuple(route.body or ()))
    return AdminCall(core, request, ask, fields, query, body, parameters=parameters)


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        value = msgspec.json.decode(body or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InvalidRequest(Wrong("", "The body is no JSON object.", "invalid_json"))
    return value


def _mark(route: AdminRoute, request: Request, body: bytes) -> RepeatMark | None:
    key = request.headers.get(IDEMPOTENCY_KEY)
    if key is None:
        return None
    if not 1 <= len(key) <= KEY_CHARS_MAX or "\x00" in key:
        legal = f"1 to {KEY_CHARS_MAX} characters"
        message = "The Idempotency-Key is not valid."
        raise InvalidRequest(Wrong("Idempotency-Key", message, "invalid_idempotency_key", legal))
    scope = f"{request.method} {request.url.path}"
    return RepeatMark(scope, key, hashlib.sha256(body).digest())


def _version(if_match: str | None) -> int | None:
    """Give the version of an If-Match header; a tag that is none of ours matches nothing."""
    if if_match is None or if_match.strip() == "*":
        return None
    match = _VERSION.match(if_match.strip())
    return int(match[1]) if match else -1
