"""What a member may call, and about which team: judged here for every route alike."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request

from gateway.app.core import Core
from gateway.domain.administration import Actor, Permission
from gateway.domain.errors import NotFound, TaskNotFound
from gateway.http.admin.routes import AdminRoute, Confined

_PARAMETERS = {Confined.TEAM_ID: "team_id", Confined.TEAM: "team"}


def may_call(actor: Actor, route: AdminRoute) -> bool:
    """Whether an actor's role admits it to a route that asks for a permission."""
    if route.permission is None or actor.role.may(route.permission):
        return True
    return route.team is not None and actor.role.may(Permission.TEAM)


async def confined(
    core: Core, route: AdminRoute, request: Request, actor: Actor
) -> Mapping[str, str]:
    """Give the query of a call as it counts: for a member, that of its team alone.

    Raises NotFound for what belongs to another team, in the words for what is not there.
    """
    sent = dict(request.query_params)
    if actor.team_id is None or route.team in (None, Confined.SELF):
        return sent
    name = _PARAMETERS.get(route.team)
    if name is not None:
        _require_own(actor, sent.get(name, actor.team_id))
        return {**sent, name: actor.team_id}
    if route.team is Confined.PATH:
        _require_own(actor, request.path_params["team_id"])
    elif route.team is Confined.KEY:
        key_id = request.path_params["key_id"]
        if (await core.admin.keys.key(key_id)).team_id != actor.team_id:
            raise NotFound(f"There is no key {key_id!r}.")
    elif route.team is Confined.CALLBACK:
        callback_id = request.path_params["callback_id"]
        if (await core.admin.callbacks.callback(callback_id)).team_id != actor.team_id:
            raise NotFound(f"There is no callback {callback_id[:80]!r}.")
    elif route.team is Confined.BATCH:
        batch = await core.admin.batches.get(request.path_params["batch_id"])
        if batch is None or batch.team_id != actor.team_id:
            raise unknown_batch(request.path_params["batch_id"])
    else:
        task = await core.query.find(request.path_params["task_id"])
        if task is None or task.team_id != actor.team_id:
            raise unknown_task(request.path_params["task_id"])
    return sent


def unknown_task(task_id: str) -> TaskNotFound:
    """Give what is answered about a task that is not there."""
    return TaskNotFound(f"There is no task {task_id[:80]!r}.")


def unknown_batch(batch_id: str) -> NotFound:
    """Give what is answered about a batch that is not there."""
    return NotFound(f"There is no batch {batch_id[:80]!r}.")


def _require_own(actor: Actor, team_id: str) -> None:
    if team_id != actor.team_id:
        raise NotFound(f"There is no team {team_id[:80]!r}.")
