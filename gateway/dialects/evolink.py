"""The native dialect, which is EvoLink's (seeds 000 and 001) with everybody's fields.

It owns ``/v1`` at the root: the unified create call, edits, tasks, and our own routes.
"""

from __future__ import annotations

from typing import Any

from gateway.app.dialect import Call, Operation, Reply, ResultImage, Route, View
from gateway.dialects import _bodies
from gateway.dialects._answers import CREATED
from gateway.dialects._base import LIST_QUERY, NativeTasks
from gateway.dialects._batches import BATCH_ROUTES, NativeBatches
from gateway.dialects._schemas import FIELDS, pick
from gateway.dialects._superset import EDIT, read_draft
from gateway.domain.model import Catalog
from gateway.domain.submission import Draft
from gateway.domain.task import Task

USAGE_QUERY = ("days", "by", "from", "to", "key", "model", "upstream", "status", "format")

SCHEMA = pick(FIELDS, ("model", "prompt"))

_PENDING = {
    "created": 1795170001,
    "id": "task-unified-1795170001-q7m2kd0a",
    "task_id": "task-unified-1795170001-q7m2kd0a",
    "model": "wan2.5-text-to-image",
    "object": "image.generation.task",
    "progress": 0,
    "status": "pending",
    "task_info": {"can_cancel": True, "estimated_time": 30},
    "type": "image",
    "usage": {
        "billing_rule": "per_call",
        "credits_reserved": 3,
        "credits_charged": 0,
        "user_group": "default",
    },
}
_COMPLETED = _PENDING | {
    "progress": 100,
    "status": "completed",
    "results": ["https://files.example.net/a1/lantern-0.png"],
    "data": [{"url": "https://files.example.net/a1/lantern-0.png", "expires_at": 1795256401}],
    "task_info": {"can_cancel": False},
    "usage": {
        "billing_rule": "per_call",
        "credits_reserved": 3,
        "credits_charged": 1.5,
        "user_group": "default",
    },
}
_CANCELLED = _PENDING | {
    "status": "cancelled",
    "task_info": {"can_cancel": False},
    "error": {
        "code": "request_cancelled",
        "message": "The task was cancelled; nothing was charged.",
    },
}
_QUOTE = {
    "object": "quote",
    "model": "wan2.5-t2i-preview",
    "n": 2,
    "tier": "2K",
    "credits_per_image": "1.5",
    "credits": "3",
    "strategy": "cheapest",
    "offers": [
        {
            "upstream": "evolink",
            "adapter": "evolink",
            "upstream_model": "wan2.5-text-to-image",
            "cost_usd": "0.044",
            "note": None,
        }
    ],
    "excluded": [{"upstream": "dashscope", "reason": "resting for 30 s: HTTP 500"}],
    "warning": None,
    "ignored_params": [],
}
ROUTES = (
    Route(
        "POST",
        "/images/generations",
        Operation.CREATE,
        "Make pictures: answers a task, or the pictures themselves",
        images_allowed=True,
        request_schema=SCHEMA,
        request_content_types=("application/json", "multipart/form-data"),
        response_example=_PENDING,
        response_schema=CREATED,
        media_types=("application/json", "text/event-stream"),
        error_statuses=(400, 401, 402, 403, 404, 413, 422, 429, 500, 502, 503, 504),
    ),
    Route(
        "POST",
        "/images/edits",
        Operation.CREATE,
        "Edit or combine pictures, as a form or as JSON",
        kind=EDIT,
        images_allowed=True,
        request_schema=SCHEMA,
        request_content_types=("multipart/form-data", "application/json"),
        response_example=_PENDING,
        response_schema=CREATED,
        media_types=("application/json", "text/event-stream"),
        error_statuses=(400, 401, 402, 403, 404, 413, 422, 429, 500, 502, 503, 504),
    ),
    Route(
        "POST",
        "/images/quote",
        Operation.QUOTE,
        "Price and route of a request, without sending it",
        images_allowed=True,
        request_schema=SCHEMA,
        response_example=_QUOTE,
    ),
    Route(
        "GET",
        "/tasks",
        Operation.LIST,
        "List tasks, newest first",
        query_parameters=LIST_QUERY,
        response_example={
            "object": "list",
            "data": [
                _PENDING
                | {
                    "created_at": 1795170001,
                    "has_results": False,
                    "has_error": False,
                    "credits_used": 0,
                }
            ],
            "has_more": False,
            "next_cursor": None,
        },
        error_statuses=(400, 401, 429, 500, 503),
    ),
    Route(
        "GET",
        "/tasks/{task_id}",
        Operation.QUERY,
        "A task as it stands",
        by_creator=True,
        response_example=_COMPLETED,
        error_statuses=(401, 404, 429, 500, 503),
    ),
    Route(
        "POST",
        "/tasks/{task_id}/cancel",
        Operation.CANCEL,
        "Cancel a task that no vendor works on yet",
        by_creator=True,
        response_example=_CANCELLED,
        error_statuses=(401, 404, 409, 429, 500, 503),
    ),
    Route(
        "GET",
        "/tasks/{task_id}/events",
        Operation.EVENTS,
        "A task's changes as server-sent events, until it ends",
        by_creator=True,
        media_types=("text/event-stream",),
        error_statuses=(401, 404, 429, 500, 503),
    ),
    Route(
        "GET",
        "/models",
        Operation.MODELS,
        "Models and aliases with price, limits and parameters",
        error_statuses=(401, 429, 500),
    ),
    Route(
        "GET",
        "/models/{model}",
        Operation.MODEL,
        "One model with price, limits and parameters",
        error_statuses=(401, 404, 429, 500),
    ),
    Route(
        "GET",
        "/credits",
        Operation.CREDITS,
        "The calling team's balance",
        response_example={
            "object": "credits",
            "balance": "100",
            "held": "3",
            "available": "97",
        },
        error_statuses=(401, 429, 500, 503),
    ),
    Route(
        "GET",
        "/usage",
        Operation.USAGE,
        "The calling team's usage, by model and status unless asked otherwise",
        query_parameters=USAGE_QUERY,
        media_types=("application/json", "text/csv", "application/x-ndjson"),
        response_example={
            "object": "usage",
            "since": 1792578001,
            "until": 1795170001,
            "by": ["model", "status"],
            "credits_charged": "3",
            "images": 2,
            "data": [
                {
                    "model": "wan2.5-t2i-preview",
                    "status": "completed",
                    "tasks": 1,
                    "completed": 1,
                    "images": 2,
                    "credits_charged": "3",
                    "cost_usd": "0.044",
                    "exposure_usd": "0",
                    "margin_usd": "0",
                    "waste_usd": "0",
                    "latency_p50_ms": 9000,
                    "latency_p95_ms": 9000,
                }
            ],
        },
        error_statuses=(400, 401, 429, 500, 503),
    ),
    *BATCH_ROUTES,
)


class EvoLink(NativeBatches, NativeTasks):
    """Reads unified calls, renders native tasks and batches."""

    name = "evolink"
    prefix = "/evolink/v1"
    root = "/v1"
    routes = ROUTES

    def read_create(self, call: Call, route: Route, catalog: Catalog) -> Draft:
        """Read a unified create, edit or quote call. Raises InvalidRequest."""
        return read_draft(call, SCHEMA, route.kind, catalog, openai=False)

    def render_result(self, task: Task, images: tuple[ResultImage, ...], view: View) -> Reply:
        """Answer with OpenAI's body plus the task, for clients of either kind."""
        body: dict[str, Any] = _bodies.task_body(task, view)
        return Reply(body | {"data": _bodies.openai_data(images, view)})


DIALECT = EvoLink()
