"""The native task body (providers/evolink.md §4 with the additions of DESIGN §4) and its lists.

Amounts of credits are exact decimals and become JSON numbers with exactly those digits.
"""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache
from typing import Any

from gateway.app.dialect import ListQuery, Reply, ResultImage, View
from gateway.app.pictures import absolute
from gateway.app.ports import TaskPage
from gateway.dialects._faults import Fault, fault_of, message_of
from gateway.domain.errors import GatewayError, WaitExpired
from gateway.domain.money import MicroCredits, format_micro
from gateway.domain.task import Task, TaskStatus

BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"
_PAIR = [low + high for high in BASE36 for low in BASE36]
PAIRS = len(_PAIR)

# EvoLink's codes inside a failed task.
CODES = {
    Fault.CONTENT: "content_policy_violation",
    Fault.PICTURE: "image_processing_error",
    Fault.PARAMETER: "invalid_parameters",
    Fault.RATE: "rate_limited",
    Fault.TIMEOUT: "generation_timeout",
    Fault.UNAVAILABLE: "service_unavailable",
    Fault.PROVIDER: "upstream_error",
    Fault.CANCELLED: "request_cancelled",
}


def unified_id(now_ms: int, entropy: bytes) -> str:
    """Give ``task-unified-<seconds>-<8 base-36 characters>`` (seed 001): 41 bits of chance."""
    number = int.from_bytes(entropy[:8], "big")
    number, first = divmod(number, PAIRS)
    number, second = divmod(number, PAIRS)
    number, third = divmod(number, PAIRS)
    chance = _PAIR[first] + _PAIR[second] + _PAIR[third] + _PAIR[number % PAIRS]
    return f"task-unified-{now_ms // 1000}-{chance}"


@lru_cache(maxsize=1024)
def credits_number(amount: MicroCredits) -> int | Decimal:
    """Give an amount as an exact JSON number: 3, 1.5."""
    whole, fraction = divmod(amount, 1_000_000)
    return Decimal(format_micro(amount)) if fraction else whole


def error_code(task: Task) -> str:
    """Give EvoLink's code for why a task did not complete."""
    return CODES[fault_of(task.error if task.status is TaskStatus.FAILED else None)]


def task_body(task: Task, view: View) -> dict[str, Any]:
    """Give the native body of a task in any state."""
    completed = task.status is TaskStatus.COMPLETED
    body: dict[str, Any] = {
        "created": task.created_ms // 1000,
        "id": task.id,
        "task_id": task.id,
        "model": task.requested_model,
        "object": "image.generation.task",
        "progress": shown_progress(task),
        "status": task.status.value,
        "task_info": _task_info(task, view),
        "type": "image",
        "usage": {
            "billing_rule": "per_call",
            "credits_reserved": credits_number(task.hold),
            "credits_charged": credits_number(task.charged),
            "user_group": task.user_group,
        },
    }
    if completed:
        body["results"] = [absolute(image.url, view.base_url) for image in task.images]
        body["data"] = [
            picture(url, image.expires_at, image.revised_prompt)
            for url, image in zip(body["results"], task.images, strict=True)
        ]
    elif task.status.is_terminal:
        body["error"] = {"code": error_code(task), "message": message_of(task)}
    return body


def shown_progress(task: Task) -> int:
    """Give the progress to show: a task that failed or was cancelled is back at 0."""
    if task.status is TaskStatus.COMPLETED:
        return 100
    return 0 if task.status.is_terminal else max(0, min(task.progress, 99))


def _task_info(task: Task, view: View) -> dict[str, Any]:
    if task.status.is_terminal:
        return {"can_cancel": False}
    waited_ms = view.now_ms - task.created_ms if task.status is TaskStatus.PROCESSING else 0
    left_ms = max(1_000, task.typical_ms - max(0, waited_ms))
    return {"can_cancel": task.can_cancel, "estimated_time": -(-left_ms // 1000)}


def picture(url: str, expires_at: int | None, revised_prompt: str | None) -> dict[str, Any]:
    """Give one entry of ``data`` with what is known of it; ``expires_at`` is UTC seconds."""
    entry: dict[str, Any] = {"url": url}
    if expires_at is not None:
        entry["expires_at"] = expires_at
    if revised_prompt:
        entry["revised_prompt"] = revised_prompt
    return entry


def openai_data(images: tuple[ResultImage, ...], view: View) -> list[dict[str, Any]]:
    """Give OpenAI's ``data``: one object per picture with ``url`` or ``b64_json``."""
    entries = []
    for image in images:
        entry: dict[str, Any] = {}
        if image.b64_json is not None:
            entry["b64_json"] = image.b64_json
        if image.url is not None:
            entry["url"] = absolute(image.url, view.base_url)
        if image.revised_prompt:
            entry["revised_prompt"] = image.revised_prompt
        entries.append(entry)
    return entries


def native_error(error: GatewayError, view: View) -> Reply:
    """Give the native error answer; a caller who waited in vain also gets the task's id."""
    body: dict[str, Any] = {
        "error": {
            "message": error.message,
            "type": error.type,
            "code": error.code,
            "param": error.param,
            "request_id": view.request_id,
        }
    }
    if isinstance(error, WaitExpired):
        body |= {"id": error.task_id, "task_id": error.task_id, "status": "processing"}
    return Reply(body, error.status)


def list_body(page: TaskPage, query: ListQuery, view: View) -> dict[str, Any]:
    """Give a list of tasks: EvoLink's entries and numbering, and a cursor."""
    body: dict[str, Any] = {
        "object": "list",
        "data": [_list_entry(task, view) for task in page.tasks],
        "has_more": page.next_cursor is not None,
        "next_cursor": page.next_cursor,
    }
    if query.page is not None:
        body |= {"page": query.page, "page_size": query.limit}
    if page.total is not None:
        body["total"] = page.total
    return body


def _list_entry(task: Task, view: View) -> dict[str, Any]:
    return task_body(task, view) | {
        "created_at": task.created_ms // 1000,
        "has_results": task.status is TaskStatus.COMPLETED,
        "has_error": task.status is TaskStatus.FAILED,
        "credits_used": credits_number(task.charged),
    }
