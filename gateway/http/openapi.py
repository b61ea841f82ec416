"""`/openapi.json`: FastAPI's own document, plus every dialect route from its declaration."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from gateway.app.core import Core
from gateway.app.dialect import Operation
from gateway.app.schemas import TEXT
from gateway.domain.repeats import KEY_CHARS_MAX
from gateway.http.admin.openapi import ADMIN_SCHEMES, add_admin_paths
from gateway.http.answers import OWN
from gateway.http.handlers import WITH_BODY
from gateway.http.mount import NATIVE, Mounted, mounted
from gateway.http.repeats import KEY_HEADER

JSON = "application/json"
# Calls that take an Idempotency-Key.
_KEYED = (Operation.CREATE, Operation.BATCH_CREATE)
# A key is judged by its rules, and a body by its size and whether it comes, whatever the call is.
_EVERYWHERE = {401, 403, 500}
_OF_BODIES = {400, 413}
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
        paths.setdefault(entry.path, {})[entry.route.method.lower()] = _operation(core, entry)
    add_admin_paths(paths, core.dialects[NATIVE].answers)
    components = dict(base.get("components", {}))
    named = {**components.get("schemas", {})}
    paths = {path: _named(methods, named) for path, methods in paths.items()}
    components["schemas"] = dict(sorted(named.items()))
    components["securitySchemes"] = {
        **components.get("securitySchemes", {}),
        "key": {"type": "http", "scheme": "bearer", "description": "A team's key, sk-igw-…"},
        **ADMIN_SCHEMES,
    }
    return {**base, "paths": paths, "components": components}


def _operation(core: Core, entry: Mounted) -> dict[str, Any]:
    route = entry.route
    # A trailing slash stays, as an underscore: DashScope's addresses exist in both forms.
    name = entry.path.lstrip("/").replace("/", "_").replace("{", "").replace("}", "")
    operation: dict[str, Any] = {
        "operationId": f"{route.method.lower()}_{name}",
        "summary": route.summary,
        "tags": [entry.dialect.name],
        "security": [] if route.operation is Operation.UPLOAD else [{"key": []}],
        "parameters": _parameters(entry),
        "responses": _responses(core, entry),
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


def _responses(core: Core, entry: Mounted) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    if not entry.route.never_succeeds:
        responses["200"] = {"description": "Done.", "content": _content(core, entry)}
    statuses = {*entry.route.error_statuses, *_EVERYWHERE}
    if entry.route.operation in WITH_BODY:
        statuses |= _OF_BODIES
    error = {"application/json": {"schema": entry.dialect.answers.error}}
    for status in sorted(statuses):
        responses[str(status)] = {"description": HTTPStatus(status).phrase, "content": error}
    return responses


def _content(core: Core, entry: Mounted) -> dict[str, Any]:
    route = entry.route
    content: dict[str, Any] = {kind: {"schema": TEXT} for kind in route.media_types}
    if JSON in content:
        content[JSON] = {"schema": _answer(core, entry)}
    if route.response_example is not None:
        content[route.media_types[0]]["example"] = route.response_example
    return content


def _answer(core: Core, entry: Mounted) -> Mapping[str, Any]:
    """Give the schema of a success, as whoever renders it says."""
    route, operation = entry.route, entry.route.operation
    if route.response_schema is not None:
        return route.response_schema
    if operation is Operation.LIST:
        return entry.dialect.answers.listed
    if operation in (Operation.QUERY, Operation.CANCEL):
        name = "task" if operation is Operation.QUERY else "cancelled"
        at_root = not entry.path.startswith(entry.dialect.prefix)
        creators = core.dialects.values() if route.by_creator and at_root else (entry.dialect,)
        ways = [getattr(dialect.answers, name) for dialect in creators]
        return ways[0] if len(ways) == 1 else {"anyOf": _once(ways)}
    return OWN.get(operation, {"type": "object"})


def _once(schemas: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [one for number, one in enumerate(schemas) if one not in schemas[:number]]


def _named(value: Any, named: dict[str, Any]) -> Any:
    """Give a part of the document with references in place of schemas that have a title.

    Raises ValueError for two schemas of one title.
    """
    if isinstance(value, list | tuple):
        return [_named(one, named) for one in value]
    if not isinstance(value, Mapping):
        return value
    plain = {name: _named(one, named) for name, one in value.items() if name != "example"}
    plain |= {name: one for name, one in value.items() if name == "example"}
    title = value.get("title")
    if not isinstance(title, str) or "type" not in value:
        return plain
    if named.setdefault(title, plain) != plain:
        raise ValueError(f"two schemas are named {title}")
    return {"$ref": f"#/components/schemas/{title}"}
