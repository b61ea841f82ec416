"""DashScope's way of writing a task: results or choices, counts, times, list entries."""

from __future__ import annotations

from typing import Any

from gateway.app.dialect import View
from gateway.dialects._dashscope_words import STATUSES, beijing, failure_code
from gateway.dialects._faults import message_of
from gateway.domain.request import Mode
from gateway.domain.task import Image, Task, TaskStatus


def times(task: Task) -> dict[str, str]:
    """Give the times known so far, as Beijing texts: the SDK refuses numbers."""
    found = {"submit_time": beijing(task.created_ms)}
    if task.attempts:
        found["scheduled_time"] = beijing(task.attempts[0].started_ms)
    if task.finished_ms is not None:
        found["end_time"] = beijing(task.finished_ms)
    return found


def choice(link: str) -> dict[str, Any]:
    """Give one picture of the messages protocol."""
    content = [{"type": "image", "image": link}]
    return {"finish_reason": "stop", "message": {"role": "assistant", "content": content}}


def results(task: Task, links: list[str]) -> list[dict[str, str]]:
    """Give one object per picture asked for: the delivered ones, then the ones that failed."""
    delivered = [_result(task, *pair) for pair in zip(task.images, links, strict=True)]
    failed = {
        "code": "InternalError.Algo",
        "message": "This picture could not be generated; it was not charged.",
    }
    return [*delivered, *(dict(failed) for _ in range(metrics(task)["FAILED"]))]


def _result(task: Task, image: Image, link: str) -> dict[str, str]:
    entry = {"orig_prompt": task.echo["prompt"]} if "prompt" in task.echo else {}
    if image.revised_prompt:
        entry["actual_prompt"] = image.revised_prompt
    return entry | {"url": link}


def metrics(task: Task) -> dict[str, int]:
    """Count pictures. A group delivers at most n, so fewer is no failure (R5)."""
    if task.status in (TaskStatus.PENDING, TaskStatus.PROCESSING):
        return {"TOTAL": task.n, "SUCCEEDED": 0, "FAILED": 0}
    delivered = len(task.images) if task.status is TaskStatus.COMPLETED else 0
    is_group = task.echo.get("mode") == Mode.GROUP.value and delivered > 0
    total = delivered if is_group else task.n
    failed = total - delivered if task.status is not TaskStatus.CANCELLED else 0
    return {"TOTAL": total, "SUCCEEDED": delivered, "FAILED": max(0, failed)}


def list_entry(task: Task, view: View) -> dict[str, Any]:
    """Give an entry of ``data``: the documented shape, times in milliseconds."""
    entry: dict[str, Any] = {
        "task_id": task.id,
        "status": STATUSES[task.status],
        "model_name": task.requested_model,
        "region": "gateway",
        "api_key_id": task.key_id,
        "caller_parent_id": task.team_id,
        "caller_uid": task.team_id,
        "request_id": view.request_id,
        "gmt_create": task.created_ms,
    }
    if task.attempts:
        entry["start_time"] = task.attempts[0].started_ms
    if task.finished_ms is not None:
        entry["end_time"] = task.finished_ms
    return entry


def task_entry(task: Task) -> dict[str, Any]:
    """Give an entry of ``tasks``: what the newest SDK reads."""
    entry: dict[str, Any] = {
        "task_id": task.id,
        "task_status": STATUSES[task.status],
        "model_name": task.requested_model,
        **times(task),
    }
    if task.status is TaskStatus.FAILED:
        entry |= {"code": failure_code(task), "message": message_of(task)}
    return entry
