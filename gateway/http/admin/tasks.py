"""`/admin/v1/tasks`: a team's tasks as the team itself sees them."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import JSONResponse, Response

from gateway.app.dialect import View
from gateway.app.ports import TaskFilter
from gateway.domain.administration import Permission
from gateway.domain.task import Task, TaskStatus
from gateway.http.admin.answers import page, task_of_team
from gateway.http.admin.confine import unknown_task
from gateway.http.admin.routes import AdminCall, AdminRoute, Confined, paged
from gateway.http.mount import NATIVE
from gateway.http.replies import encode

_STATUSES = tuple(status.value for status in TaskStatus)


async def list_tasks(call: AdminCall) -> Response:
    """List a team's tasks, newest first."""
    limit, cursor = call.page()
    query = call.query
    team_id, model = query.needed("team_id"), query.text("model")
    status = query.choice("status", _STATUSES, "") or None
    query.finish()
    if model is not None:
        model = call.core.catalog().aliases.get(model, model)
    where = TaskFilter(status=status, model=model)
    found = await call.core.query.tasks.page(team_id, where, limit, cursor)
    return JSONResponse(paged([_view(call, task) for task in found.tasks], found.next_cursor))


async def get(call: AdminCall) -> Response:
    """Give a task as it stands."""
    task = await call.core.query.find(call.path["task_id"])
    if task is None:
        raise unknown_task(call.path["task_id"])
    return JSONResponse(_view(call, task))


def _view(call: AdminCall, task: Task) -> dict[str, Any]:
    """Give a task in the native dialect, with its team and its key."""
    core = call.core
    view = View(core.public_url or "", call.ask.request_id, core.clock.now_ms())
    body = core.dialects[NATIVE].render_task(task, view).body
    shown: dict[str, Any] = msgspec.json.decode(encode(body))
    return {**shown, "team_id": task.team_id, "key_id": task.key_id}


ROUTES = (
    AdminRoute(
        "GET",
        "/tasks",
        Permission.READ,
        list_tasks,
        "List a team's tasks, newest first",
        query=("limit", "cursor", "team_id", "model", "status"),
        team=Confined.TEAM_ID,
        answer=lambda native: page(task_of_team(native)),
    ),
    AdminRoute(
        "GET",
        "/tasks/{task_id}",
        Permission.READ,
        get,
        "Show a task",
        team=Confined.TASK,
        answer=task_of_team,
    ),
)
