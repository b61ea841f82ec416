"""Task lists as vendors give them."""

from __future__ import annotations

from typing import Any

from gateway.domain.errors import Sent
from gateway.domain.lost import ListedJob
from gateway.upstreams._errors import unreadable
from gateway.upstreams._wire import Json, json_object, task_id_of, text, unix_s

_NO = Sent.NO


def listed(body: Json, task_id: str, model: str, created: str) -> tuple[ListedJob, ...]:
    """Give the jobs in ``data``, whose fields have these names.

    An empty page is believed only beside a ``total`` of nothing: what is concluded from a list is
    what it does not show. Raises UpstreamError for a page that is not whole.
    """
    rows = body.get("data")
    if not isinstance(rows, list) or (not rows and body.get("total") != 0):
        raise unreadable("The task list shows no tasks and does not say that there are none.", _NO)
    return tuple(_job(json_object(row), task_id, model, created) for row in rows)


def whole(body: Json, name: str) -> int:
    """Give a count. Raises UpstreamError when it is none."""
    value: Any = body.get(name)
    if not isinstance(value, int):
        raise unreadable(f"The task list has no {name}.", _NO)
    return value


def _job(row: Json, task_id: str, model: str, created: str) -> ListedJob:
    found, made_s = task_id_of(row.get(task_id)), unix_s(row.get(created))
    if found is None or made_s is None:
        raise unreadable("The task list has a task without an id or a time.", _NO)
    return ListedJob(found, text(row.get(model)), made_s * 1000)
