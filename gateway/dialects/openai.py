"""OpenAI Images (providers/openai.md): generations and edits, synchronous, optionally streamed.

The request takes the unified field names too, because OpenAI SDK users send them through
``extra_body``. Token usage is never invented, so ``usage`` is absent.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gateway.app.dialect import Call, Operation, Reply, ResultImage, Route, View
from gateway.app.schemas import SECONDS, TEXT, TEXT_OR_NULL, answer, listed
from gateway.dialects import _bodies
from gateway.dialects._answers import NATIVE, RESULT_PICTURE, TASK, openai_error
from gateway.dialects._base import NativeTasks
from gateway.dialects._schemas import FIELDS, pick
from gateway.dialects._superset import EDIT, read_draft
from gateway.domain.errors import GatewayError, RouteNotFound, WaitExpired
from gateway.domain.model import Catalog
from gateway.domain.submission import Draft
from gateway.domain.task import Task

VARIATION = "variation"
SCHEMA = pick(FIELDS, ("model", "prompt"))

_RESULT = {
    "created": 1795170700,
    "data": [{"url": "https://files.example.net/b2/bicycle.png"}],
}
_ECHOED = ("quality", "background", "output_format")
# A call that says ``async: true`` gets a native task.
_CREATED = {
    "anyOf": [
        answer(
            {"created": SECONDS, "data": listed(RESULT_PICTURE)},
            dict.fromkeys(_ECHOED, TEXT),
            title="OpenAIPictures",
        ),
        TASK,
    ]
}
_TASK_ERRORS = (401, 404, 409, 429, 500, 503)
_CREATE_ERRORS = (400, 401, 402, 403, 404, 413, 422, 429, 500, 502, 503, 504)

# Our codes that OpenAI words otherwise: code -> (type, code).
_WORDS = {
    "invalid_api_key": ("invalid_request_error", "invalid_api_key"),
    "insufficient_credits": ("insufficient_quota", "insufficient_quota"),
    "key_credit_cap": ("insufficient_quota", "insufficient_quota"),
    "team_budget": ("insufficient_quota", "insufficient_quota"),
    "model_not_found": ("invalid_request_error", "model_not_found"),
    "task_not_found": ("invalid_request_error", "task_not_found"),
    "route_not_found": ("invalid_request_error", "unknown_url"),
    "rate_limited": ("rate_limit_error", "rate_limit_exceeded"),
}

ROUTES = (
    Route(
        "POST",
        "/images/generations",
        Operation.CREATE,
        "Make pictures (OpenAI Images)",
        at_root=False,
        images_allowed=True,
        request_schema=SCHEMA,
        response_example=_RESULT,
        response_schema=_CREATED,
        media_types=("application/json", "text/event-stream"),
        error_statuses=_CREATE_ERRORS,
    ),
    Route(
        "POST",
        "/images/edits",
        Operation.CREATE,
        "Edit or combine pictures (OpenAI Images)",
        kind=EDIT,
        at_root=False,
        images_allowed=True,
        request_schema=SCHEMA,
        request_content_types=("multipart/form-data", "application/json"),
        response_example=_RESULT,
        response_schema=_CREATED,
        media_types=("application/json", "text/event-stream"),
        error_statuses=_CREATE_ERRORS,
    ),
    Route(
        "POST",
        "/images/variations",
        Operation.CREATE,
        "Retired with dall-e-2: always 404",
        kind=VARIATION,
        at_root=False,
        images_allowed=True,
        request_content_types=("multipart/form-data",),
        never_succeeds=True,
        error_statuses=(401, 404, 413),
    ),
    Route(
        "GET",
        "/models",
        Operation.MODELS,
        "Models and aliases",
        at_root=False,
        error_statuses=(401, 429, 500),
    ),
    Route(
        "GET",
        "/models/{model}",
        Operation.MODEL,
        "One model",
        at_root=False,
        error_statuses=(401, 404, 429, 500),
    ),
    Route(
        "GET",
        "/tasks/{task_id}",
        Operation.QUERY,
        "A task that was created with async: true, or that outlived its wait",
        at_root=False,
        error_statuses=_TASK_ERRORS,
    ),
    Route(
        "POST",
        "/tasks/{task_id}/cancel",
        Operation.CANCEL,
        "Cancel a task that no vendor works on yet",
        at_root=False,
        error_statuses=_TASK_ERRORS,
    ),
)


class OpenAI(NativeTasks):
    """Reads OpenAI calls, renders OpenAI answers; tasks, which OpenAI lacks, are native."""

    name = "openai"
    prefix = "/openai/v1"
    root = "/v1"
    routes = ROUTES
    answers = replace(NATIVE, error=openai_error(TEXT_OR_NULL, "OpenAIError"))

    def read_create(self, call: Call, route: Route, catalog: Catalog) -> Draft:
        """Read a generation or an edit. Raises InvalidRequest, RouteNotFound for variations."""
        if route.kind == VARIATION:
            raise RouteNotFound(
                "Image variations were retired with dall-e-2; send the picture to /images/edits."
            )
        return read_draft(call, SCHEMA, route.kind, catalog, openai=True)

    def render_result(self, task: Task, images: tuple[ResultImage, ...], view: View) -> Reply:
        """Answer with ``created`` and ``data``; fields the model honoured are echoed."""
        body: dict[str, Any] = {
            "created": task.created_ms // 1000,
            "data": _bodies.openai_data(images, view),
        }
        for name in _ECHOED:
            if name in task.echo and name not in task.ignored:
                body[name] = task.echo[name]
        return Reply(body)

    def render_error(self, error: GatewayError, view: View) -> Reply:
        """Answer with OpenAI's error object; its SDK maps the status to an exception class."""
        kind, code = _WORDS.get(error.code, (error.type, error.code))
        body: dict[str, Any] = {
            "error": {
                "message": error.message,
                "type": "server_error" if error.status >= 500 else kind,
                "param": error.param,
                "code": code,
            }
        }
        if isinstance(error, WaitExpired):
            body["task_id"] = error.task_id
        return Reply(body, error.status)


DIALECT = OpenAI()
