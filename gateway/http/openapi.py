"""`/openapi.json`: FastAPI's own document, plus every dialect route from its declaration."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from gateway.app.core import Core
from gateway.app.dialect import Operation
from gateway.domain.repeats import KEY_CHARS_MAX
from gateway.http.admin.openapi import ADMIN_SCHEMES, add_admin_paths
from gateway.http.mount import Mounted, mounted
from gateway.http.repeats import KEY_HEADER

# Calls that take an Idempotency-Key.
_KEYED = (Operation.CREATE, Operation.BATCH_CREATE)
_ERROR = {"schema": {"type": "object"}}


_KEY_PARAMETER: dict[str, Any] = {
    "name": KEY_HEADER,
    "in": "header",
    "required": False,
    "description": "The same call under the same key within 24 hours is the same task.",
    "schema": {"type": "string", "minLength": 1, "maxLength": KEY_CHARS_MAX},
}


def document(base: dict[str, Any], core: Core) -> dict[str, Any]:
    """Give the whole OpenAPI document; ``base`` holds the routes FastAPI knows itself."""
    paths: dict[str, Any] = dict(base.get("paths", {}))
    for entry in mounted(core):
        paths.setdefault(entry.path, {})[entry.route.method.lower()] = _operation(entry)
    add_admin_paths(paths)
    components = dict(base.get("components", {}))
    components["securitySchemes"] = {
        **components.get("securitySchemes", {}),
        "key": {"type": "http", "scheme": "bearer", "description": "A team's key, sk-igw-…"},
        **ADMIN_SCHEMES,
    }
    return {**base, "paths": paths, "components": components}


def _operation(entry: Mounted) -> dict[str, Any]:
    route = entry.route
    # A trailing slash stays, as an underscore: DashScope's addresses exist in both forms.
    name = entry.path.lstrip("/").replace("/", "_").replace("{", "").replace("}", "")
    operation: dict[str, Any] = {
        "operationId": f"{route.method.lower()}_{name}",
        "summary": route.summary,
        "tags": [entry.dialect.name],
        "security": [] if route.operation is Operation.UPLOAD else [{"key": []}],
        "parameters": _parameters(entry),
        "responses": _responses(entry),
    }
    if route.request_schema is not None:
        content = {kind: {"schema": route.request_schema} for kind in route.request_content_types}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _parameters(entry: Mounted) -> list[dict[str, Any]]:
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in ("task_id", "batch_id", "model", "rest")
        if "{" + name + "}" in entry.path
    ]
    in_query = [
        {"name": name, "in": "query", "required": False, "schema": {"type": "string"}}
        for name in entry.route.query_parameters
    ]
    in_header = [_KEY_PARAMETER] if entry.route.operation in _KEYED else []
    return in_path + in_query + in_header


def _responses(entry: Mounted) -> dict[str, Any]:
    ok: dict[str, Any] = {"schema": {"type": "object"}}
    if entry.route.response_example is not None:
        ok["example"] = entry.route.response_example
    responses: dict[str, Any] = {
        "200": {"description": "Done.", "content": {entry.route.response_content_type: ok}}
    }
    # Whatever a create call is, its Idempotency-Key may be wrong.
    wrong_key = (400,) if entry.route.operation in _KEYED else ()
    for status in sorted({*entry.route.error_statuses, *wrong_key}):
        responses[str(status)] = {
            "description": HTTPStatus(status).phrase,
            "content": {"application/json": _ERROR},
        }
    return responses
