"""The part of `/openapi.json` about `/admin/v1`, from the declarations of its routes."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

from gateway.app.dialect import Answers
from gateway.app.schemas import TEXT
from gateway.domain.repeats import KEY_CHARS_MAX
from gateway.http.admin.door import COOKIE, CSRF_HEADER, SECURE_COOKIE
from gateway.http.admin.routes import BASE, LIMIT_MAX, AdminRoute
from gateway.http.admin.table import ROUTES

ADMIN_SCHEMES: dict[str, Any] = {
    "admin": {
        "type": "http",
        "scheme": "bearer",
        "description": "GATEWAY_ADMIN_KEY, or the token of an operator.",
    },
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": SECURE_COOKIE,
        "description": (
            f"As POST {BASE}/session sets it; {COOKIE} over plain http at a loopback address. "
            f"Other methods than GET need {CSRF_HEADER} as GET {BASE}/session gives it."
        ),
    },
}
_LIMIT = {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": 50}
_JSON = "application/json"
# A role is judged, and a body by its size and whether it comes, whatever the call is.
_EVERYWHERE = {400, 401, 403, 413, 500, 503}


def add_admin_paths(paths: dict[str, Any], native: Answers) -> None:
    """Add every route of ``/admin/v1``, whose errors and tasks are native ones."""
    for route in ROUTES:
        paths.setdefault(BASE + route.path, {})[route.method.lower()] = _operation(route, native)


def _operation(route: AdminRoute, native: Answers) -> dict[str, Any]:
    name = re.sub(r"[{}]", "", route.path).strip("/").replace("/", "_")
    done: dict[str, Any] = {"description": "Done."}
    content = {kind: {"schema": TEXT} for kind in route.streams}
    if route.answer is not None:
        schema = route.answer(native) if callable(route.answer) else route.answer
        content[_JSON] = {"schema": dict(schema)}
    if content:
        done["content"] = content
    operation: dict[str, Any] = {
        "operationId": f"admin_{route.method.lower()}_{name}",
        "summary": route.summary,
        "description": _needs(route),
        "tags": ["admin"],
        "security": [{"admin": []}, {"session": []}] if route.permission else [],
        "parameters": _parameters(route),
        "responses": {str(route.status): done} | _failures(route, native),
    }
    if route.file is not None:
        file = {"schema": {"type": "string", "format": "binary"}}
        operation["requestBody"] = {"required": True, "content": {route.file: file}}
    elif route.body is not None:
        operation["requestBody"] = _body(route)
    return operation


def _needs(route: AdminRoute) -> str:
    if route.permission is None:
        return "Needs no permission: it is how one logs in."
    needs = f"Needs the permission `{route.permission.value}`"
    return f"{needs}, or is about the team of a member." if route.team else f"{needs}."


def _failures(route: AdminRoute, native: Answers) -> dict[str, Any]:
    statuses = {*route.errors, *_EVERYWHERE}
    if route.team is not None:
        # To a member, other teams are not there.
        statuses.add(404)
    content = {_JSON: {"schema": native.error}}
    if route.for_people:
        content["text/html"] = {"schema": TEXT}
    return {
        str(status): {"description": HTTPStatus(status).phrase, "content": content}
        for status in sorted(statuses)
    }


def _body(route: AdminRoute) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": dict(route.body or {}),
        "additionalProperties": False,
    }
    if route.required:
        schema["required"] = list(route.required)
    return {
        "required": bool(route.required),
        "content": {"application/json": {"schema": schema}},
    }


def _parameters(route: AdminRoute) -> list[dict[str, Any]]:
    text = {"type": "string"}
    found = [
        {"name": name, "in": "path", "required": True, "schema": text}
        for name in re.findall(r"\{(\w+)\}", route.path)
    ]
    found += [
        {
            "name": name,
            "in": "query",
            "required": False,
            "schema": _LIMIT if name == "limit" else text,
        }
        for name in route.query
    ]
    if route.creates:
        schema = {"type": "string", "minLength": 1, "maxLength": KEY_CHARS_MAX}
        found.append(
            _header("Idempotency-Key", "A repetition within 24 hours creates once.", schema)
        )
    if route.versioned:
        words = "The ETag of what you saw; 412 when it has changed since."
        found.append(_header("If-Match", words, text))
    return found


def _header(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "in": "header",
        "required": False,
        "description": description,
        "schema": schema,
    }
