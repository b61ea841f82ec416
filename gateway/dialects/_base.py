"""What most dialects do alike: ids in the path, native lists, plain server-sent events."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from gateway.app.dialect import Answers, Call, ListQuery, Reply, ResultImage, View
from gateway.app.ports import TaskFilter, TaskPage
from gateway.dialects import _bodies
from gateway.dialects._answers import NATIVE
from gateway.dialects._faults import failure
from gateway.dialects._fields import Fields, Reading
from gateway.domain.errors import GatewayError, TaskNotFound
from gateway.domain.task import Task, TaskStatus

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LIMIT_MAX = 100
LIST_QUERY = (
    "status",
    "model",
    "type",
    "page",
    "page_size",
    "limit",
    "cursor",
    "since",
    "until",
)


class NativeTasks:
    """The native way with tasks, which every dialect has that documents no other.

    A subclass overrides what its provider words differently.
    """

    answers: Answers = NATIVE

    def new_task_id(self, now_ms: int, entropy: bytes) -> str:
        """Give a unified id (seed 001); 41 bits of chance."""
        return _bodies.unified_id(now_ms, entropy)

    def read_task_id(self, call: Call) -> str:
        """Give the id of the path."""
        return call.path_params["task_id"]

    def read_list(self, call: Call) -> ListQuery:
        """Read ``status, model, page, page_size`` or ``limit, cursor``, and a time range.

        Times are Unix seconds or ISO 8601. Raises InvalidRequest with all problems.
        """
        reading = Reading()
        fields = Fields(dict(call.query), reading, LIST_QUERY, from_form=True)
        status = fields.choice("status", tuple(TaskStatus))
        fields.choice("type", ("image",))
        limit = _limit(fields, "limit", _limit(fields, "page_size", 20))
        query = ListQuery(
            where=TaskFilter(
                status=status,
                model=fields.text("model"),
                since_ms=_time_ms(fields, "since"),
                until_ms=_time_ms(fields, "until"),
            ),
            limit=limit,
            cursor=fields.text("cursor"),
            page=fields.integer("page", minimum=1),
        )
        if query.cursor is not None and query.page is not None:
            fields.refuse("page", "page and cursor exclude each other; send one of them.")
        reading.finish()
        return query

    def render_created(self, task: Task, view: View) -> Reply:
        """Answer with the task."""
        return Reply(_bodies.task_body(task, view))

    def render_task(self, task: Task, view: View) -> Reply:
        """Answer with the task."""
        return Reply(_bodies.task_body(task, view))

    def render_cancelled(self, task: Task, view: View) -> Reply:
        """Answer with the task, now cancelled."""
        return self.render_task(task, view)

    def render_list(self, page: TaskPage, query: ListQuery, view: View) -> Reply:
        """Answer with native task bodies."""
        return Reply(_bodies.list_body(page, query, view))

    def render_unknown(self, task_id: str, view: View) -> Reply:
        """Answer 404."""
        return self.render_error(TaskNotFound(f"There is no task {task_id[:80]!r}."), view)

    def render_error(self, error: GatewayError, view: View) -> Reply:
        """Answer with the native error shape."""
        return _bodies.native_error(error, view)

    def failure_of(self, task: Task) -> GatewayError:
        """Give the error of a task that did not complete, with EvoLink's code."""
        return failure(task, _bodies.error_code(task))

    def stream_event(
        self, task: Task, images: tuple[ResultImage, ...], view: View
    ) -> tuple[tuple[str, Any], ...]:
        """Give OpenAI's ``…completed`` event per picture, or one ``error`` event."""
        if task.status is not TaskStatus.COMPLETED:
            return (("error", self.render_error(self.failure_of(task), view).body),)
        name = "image_edit" if task.echo.get("kind") == "edit" else "image_generation"
        event = f"{name}.completed"
        frame = {
            "type": event,
            "created_at": (task.finished_ms or view.now_ms) // 1000,
            "size": task.echo.get("size", "auto"),
            "quality": task.echo.get("quality", "auto"),
            "background": task.echo.get("background", "auto"),
            "output_format": task.echo.get("output_format", "png"),
        }
        return tuple((event, frame | entry) for entry in _bodies.openai_data(images, view))

    def frame(self, number: int, event: str, data: bytes, status: int = 200) -> bytes:
        """Encode an event as ``event:`` and ``data:`` lines."""
        return b"event: %b\ndata: %b\n\n" % (event.encode(), data)


def _limit(fields: Fields, name: str, default: int) -> int:
    wanted = fields.integer(name, minimum=1)
    return min(wanted, LIMIT_MAX) if wanted is not None else default


def _time_ms(fields: Fields, name: str) -> int | None:
    text = fields.text(name)
    if text is None:
        return None
    found = parse_time_ms(text)
    if found is None:
        fields.refuse(name, f"{name} is no time.", legal="Unix seconds or 2026-11-20T09:00:00Z")
    return found


def parse_time_ms(text: str) -> int | None:
    """Give UTC milliseconds of Unix seconds or ISO 8601 (UTC unless it says otherwise)."""
    if text.isascii() and text.isdigit() and len(text) < 12:
        return int(text) * 1000
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment.replace(tzinfo=moment.tzinfo or UTC) - EPOCH) // timedelta(milliseconds=1)
