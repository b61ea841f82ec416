"""Batches in the native dialect: JSON lines, each a create call or OpenAI's wrapping of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from gateway.app.dialect import Call, Operation, Reply, Route, View
from gateway.app.ports.admin import Page
from gateway.app.ports.batches import LineResult
from gateway.app.schemas import (
    COUNT,
    DECIMAL,
    FLAG,
    SECONDS,
    TEXT,
    TEXT_OR_NULL,
    WHOLE,
    answer,
    listed,
    word,
)
from gateway.dialects import _bodies, _parts
from gateway.dialects._fields import Fields, Reading
from gateway.dialects._schemas import FIELDS, pick
from gateway.dialects._superset import EDIT, read_draft
from gateway.domain.batch import (
    CUSTOM_ID_MAX,
    LINES_MAX,
    NAME_MAX,
    Batch,
    BatchLine,
    BatchOptions,
    BatchStatus,
    LineState,
)
from gateway.domain.callback import CallbackSpec
from gateway.domain.errors import InvalidRequest, Problem
from gateway.domain.model import Catalog
from gateway.domain.money import format_micro
from gateway.domain.request import ResultFormat

SCHEMA = pick(FIELDS, ("model", "prompt"))
KINDS = {"/v1/images/generations": "", "/v1/images/edits": EDIT}
OPTIONS = ("name", "concurrency", "callback_url")
# OpenAI's names around a create call; none of them is a field of one.
WRAPPING = ("custom_id", "method", "url", "body")
LIMIT_MAX = 100

_SHALLOW = msgspec.json.Decoder(dict[str, msgspec.Raw])
_BATCH: dict[str, Any] = {
    "id": "batch-5f0c6a1be92d4c77a1f3e0b29d6e8c41",
    "object": "batch",
    "name": "spring catalogue",
    "status": "running",
    "reason": None,
    "concurrency": 20,
    "lines": {
        "total": 5000,
        "waiting": 4210,
        "running": 20,
        "completed": 766,
        "failed": 4,
        "cancelled": 0,
    },
    "images": 766,
    "credits_charged": "1149",
    "created_at": 1795170001,
    "ended_at": None,
}
_LINE = {
    "line": 1,
    "custom_id": "sku-4711",
    "task_id": "task-batch-5f0c6a1be92d4c77a1f3e0b29d6e8c41-1",
    "status": "completed",
    "images": 1,
    "credits_charged": "1.5",
    "data": [{"url": "https://files.example.net/a1/lantern-0.png", "expires_at": 1795256401}],
    "error": None,
}
_STATES = ("total", *LineState)
_SCHEMA = answer(
    {
        "id": TEXT,
        "object": word("batch"),
        "name": TEXT,
        "status": word(*BatchStatus),
        "reason": {"anyOf": [answer({"code": TEXT, "message": TEXT}), {"type": "null"}]},
        "concurrency": WHOLE,
        "lines": answer(dict.fromkeys(_STATES, COUNT)),
        "images": COUNT,
        "credits_charged": DECIMAL,
        "created_at": SECONDS,
        "ended_at": {**SECONDS, "type": ["integer", "null"]},
    },
    title="Batch",
)
_ERRORS = (401, 403, 404, 429, 500, 503)

BATCH_ROUTES = (
    Route(
        "POST",
        "/batches",
        Operation.BATCH_CREATE,
        f"Make pictures of up to {LINES_MAX} lines, a task for each",
        request_schema={"type": "string", "description": "JSON lines, one create call each."},
        request_content_types=("application/jsonl", "application/x-ndjson", "text/plain"),
        query_parameters=OPTIONS,
        response_example=_BATCH,
        response_schema=_SCHEMA,
        error_statuses=(400, 401, 403, 413, 422, 429, 500, 503),
    ),
    Route(
        "GET",
        "/batches",
        Operation.BATCH_LIST,
        "List batches, newest first",
        query_parameters=("limit", "cursor"),
        response_example={
            "object": "list",
            "data": [_BATCH],
            "has_more": False,
            "next_cursor": None,
        },
        response_schema=answer(
            {
                "object": word("list"),
                "data": listed(_SCHEMA),
                "has_more": FLAG,
                "next_cursor": TEXT_OR_NULL,
            },
            title="BatchList",
        ),
        error_statuses=(400, 401, 403, 429, 500, 503),
    ),
    Route(
        "GET",
        "/batches/{batch_id}",
        Operation.BATCH,
        "A batch as it stands",
        response_example=_BATCH,
        response_schema=_SCHEMA,
        error_statuses=_ERRORS,
    ),
    Route(
        "GET",
        "/batches/{batch_id}/results",
        Operation.BATCH_RESULTS,
        "The lines that ended, in their order",
        query_parameters=("after",),
        media_types=("application/x-ndjson",),
        response_example=msgspec.json.encode(_LINE).decode(),
        error_statuses=(400, *_ERRORS),
    ),
    Route(
        "POST",
        "/batches/{batch_id}/resume",
        Operation.BATCH_RESUME,
        "Let a paused batch go on, under the calling key",
        response_example=_BATCH,
        response_schema=_SCHEMA,
        error_statuses=(*_ERRORS, 409),
    ),
    Route(
        "POST",
        "/batches/{batch_id}/cancel",
        Operation.BATCH_CANCEL,
        "Let a batch send nothing more",
        response_example=_BATCH | {"status": "cancelling"},
        response_schema=_SCHEMA,
        error_statuses=(*_ERRORS, 409),
    ),
)


class NativeBatches:
    """Reads and renders batches."""

    def read_batch(self, call: Call) -> BatchOptions:
        """Read ``name``, ``concurrency`` and ``callback_url`` of the query.

        Raises InvalidRequest with all problems.
        """
        reading = Reading()
        fields = Fields(dict(call.query), reading, OPTIONS, from_form=True)
        name = fields.text("name") or ""
        if len(name) > NAME_MAX:
            legal = f"at most {NAME_MAX} characters"
            fields.refuse("name", "name is too long.", "string_above_max_length", legal)
        concurrency = fields.integer("concurrency", minimum=1)
        callback = _parts.read_callback(fields)
        reading.finish()
        return BatchOptions(name, concurrency, callback and CallbackSpec(callback.url))

    def read_batch_line(self, call: Call, line: bytes, catalog: Catalog) -> BatchLine:
        """Read one line. Raises InvalidRequest with all problems; PartlyRead where more may be."""
        custom_id, kind, body = _unwrapped(line)
        inner = replace(call, headers={}, query={}, body=body, form=(), files=())
        draft = read_draft(inner, SCHEMA, kind, catalog, openai=False)
        problems = []
        if draft.stream:
            problems.append(Problem("stream", "A line of a batch has no stream.", legal="false"))
        if draft.result_format is ResultFormat.B64_JSON:
            message = "The results of a batch have links."
            problems.append(Problem("response_format", message, legal="url"))
        if problems:
            raise InvalidRequest(*problems)
        return BatchLine(custom_id, draft)

    def read_batch_id(self, call: Call) -> str:
        """Give the id of the path."""
        return call.path_params["batch_id"]

    def read_batch_list(self, call: Call) -> tuple[int, str | None]:
        """Read ``limit`` and ``cursor``."""
        reading = Reading()
        fields = Fields(dict(call.query), reading, ("limit", "cursor"), from_form=True)
        limit = fields.integer("limit", minimum=1)
        cursor = fields.text("cursor")
        reading.finish()
        return min(limit or 20, LIMIT_MAX), cursor

    def read_batch_results(self, call: Call) -> int:
        """Read ``after``."""
        reading = Reading()
        fields = Fields(dict(call.query), reading, ("after",), from_form=True)
        after = fields.integer("after", minimum=0)
        reading.finish()
        return min(after or 0, 2**31 - 1)

    def render_batch(self, batch: Batch, view: View) -> Reply:
        """Answer with the batch."""
        return Reply(_body(batch))

    def render_batches(self, page: Page[Batch], view: View) -> Reply:
        """Answer with a list and its cursor."""
        return Reply(
            {
                "object": "list",
                "data": [_body(batch) for batch in page.items],
                "has_more": page.cursor is not None,
                "next_cursor": page.cursor,
            }
        )

    def render_batch_result(self, result: LineResult, view: View) -> Mapping[str, Any]:
        """Give a line of the results: its task's pictures, or why there are none."""
        body = {} if result.task is None else _bodies.task_body(result.task, view)
        error = body.get("error")
        if result.code is not None:
            error = {"code": result.code, "message": result.message}
        return {
            "line": result.no,
            "custom_id": result.custom_id,
            "task_id": body.get("id"),
            "status": result.state.value,
            "images": result.images,
            "credits_charged": format_micro(result.charged),
            "data": body.get("data", []),
            "error": error,
        }


def _body(batch: Batch) -> dict[str, Any]:
    reason = None
    if batch.reason_code is not None:
        reason = {"code": batch.reason_code, "message": batch.reason}
    return {
        "id": batch.id,
        "object": "batch",
        "name": batch.name,
        "status": batch.status.value,
        "reason": reason,
        "concurrency": batch.concurrency,
        "lines": {name: getattr(batch, name) for name in _STATES},
        "images": batch.images,
        "credits_charged": format_micro(batch.charged),
        "created_at": batch.created_ms // 1000,
        "ended_at": None if batch.ended_ms is None else batch.ended_ms // 1000,
    }


def _unwrapped(line: bytes) -> tuple[str | None, str, bytes]:
    """Give the caller's id of a line, which kind of call it is, and the call's own body."""
    try:
        parts = _SHALLOW.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # The dialect's own reading says what is wrong.
        return None, "", line
    if not any(name in parts for name in WRAPPING):
        return None, "", line
    reading = Reading()
    around = {name: _plain(raw) for name, raw in parts.items() if name != "body"}
    fields = Fields(around, reading, WRAPPING)
    custom_id = fields.text("custom_id")
    if custom_id is not None and not 1 <= len(custom_id) <= CUSTOM_ID_MAX:
        legal = f"1 to {CUSTOM_ID_MAX} characters"
        fields.refuse("custom_id", "custom_id is not valid.", legal=legal)
    fields.choice("method", ("POST",))
    url = fields.choice("url", tuple(KINDS)) or next(iter(KINDS))
    if "body" not in parts:
        fields.refuse("body", "body is missing.", "missing_required_parameter", "a create call")
    reading.finish()
    return custom_id, KINDS[url], bytes(parts["body"])


def _plain(raw: msgspec.Raw) -> Any:
    """Give a small value around a call; what is no text is refused by its type."""
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return b""
