"""Alibaba DashScope (providers/dashscope.md), close enough for its official SDK to work unmodified.

Section 7.3 of that file lists what the SDK needs; each item has a test.
"""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

from gateway.app.dialect import (
    Call,
    ListQuery,
    Operation,
    Reply,
    ResultImage,
    Route,
    Upload,
    View,
)
from gateway.app.pictures import absolute
from gateway.app.ports import TaskFilter, TaskPage
from gateway.dialects._base import LIMIT_MAX, NativeTasks
from gateway.dialects._dashscope_answers import ANSWERS, CREATED, POLICY, REQUEST, RESULT
from gateway.dialects._dashscope_body import SCHEMA, read_body
from gateway.dialects._dashscope_tasks import (
    choice,
    list_entry,
    metrics,
    results,
    task_entry,
    times,
)
from gateway.dialects._dashscope_words import (
    STATUSES,
    UNKNOWN,
    error_words,
    failure_code,
    parse_beijing,
)
from gateway.dialects._faults import failure, message_of
from gateway.dialects._fields import Fields, Reading, parse_object
from gateway.domain.errors import GatewayError, InvalidRequest, NotAllowed, Problem, WaitExpired
from gateway.domain.model import Catalog
from gateway.domain.request import ResultFormat
from gateway.domain.submission import Draft
from gateway.domain.task import Task, TaskStatus

RESULTS = "results"
CHOICES = "choices"
SYNC = "sync"
LIST_QUERY = (
    "page_no",
    "page_size",
    "start_time",
    "end_time",
    "model_name",
    "api_key_id",
    "region",
    "status",
    "task_id",
)
UPLOADS = "/uploads"
_UPLOAD_KEY = re.compile(
    r"gateway-uploads/(?P<ticket>[A-Za-z0-9]{16,128})/[^/\x00\ud800-\udfff]{1,255}"
)

_CREATED = {
    "output": {"task_status": "PENDING", "task_id": "5f2d0f52-7f0b-4b6e-8f65-0a3f7c0f6d10"},
    "request_id": "8a1c2f7e-1111-9e2d-b0c7-5d4f00aa7711",
}
_SUCCEEDED = {
    "request_id": "8a1c2f7e-1111-9e2d-b0c7-5d4f00aa7711",
    "output": {
        "task_id": "5f2d0f52-7f0b-4b6e-8f65-0a3f7c0f6d10",
        "task_status": "SUCCEEDED",
        "submit_time": "2026-11-20 17:05:01.100",
        "scheduled_time": "2026-11-20 17:05:01.140",
        "end_time": "2026-11-20 17:05:19.700",
        "results": [
            {"orig_prompt": "Paper lanterns", "url": "https://files.example.net/x/1.png"},
        ],
        "task_metrics": {"TOTAL": 1, "SUCCEEDED": 1, "FAILED": 0},
    },
    "usage": {"image_count": 1},
}
_CREATE_ERRORS = (400, 401, 403, 404, 413, 422, 429, 500, 503)


def _create(path: str, summary: str, kind: str) -> tuple[Route, ...]:
    return tuple(
        Route(
            "POST",
            f"/services/aigc/{path}{slash}",
            Operation.CREATE,
            summary,
            kind=kind,
            sync=kind == SYNC,
            images_allowed=True,
            request_schema=SCHEMA,
            response_example=None if kind == SYNC else _CREATED,
            response_schema=RESULT if kind == SYNC else CREATED,
            media_types=("application/json", "text/event-stream")
            if kind == SYNC
            else ("application/json",),
            error_statuses=(*_CREATE_ERRORS, 504) if kind == SYNC else _CREATE_ERRORS,
        )
        for slash in ("", "/")
    )


def _tasks(method: str, path: str, operation: Operation, summary: str, example: Any) -> list[Route]:
    # The SDK's async client ends its addresses with a slash; a redirect would cost it a call.
    return [
        Route(
            method,
            path + slash,
            operation,
            summary,
            query_parameters=LIST_QUERY if operation is Operation.LIST else (),
            response_example=example,
            error_statuses=(400, 401, 404, 429, 500, 503),
        )
        for slash in ("", "/")
    ]


ROUTES = (
    *_create("text2image/image-synthesis", "Text to image (prompt protocol)", RESULTS),
    *_create("image2image/image-synthesis", "Image to image (prompt protocol)", RESULTS),
    *_create("image-generation/generation", "Any picture task (messages protocol)", CHOICES),
    *_create("multimodal-generation/generation", "The same, waiting for the pictures", SYNC),
    *_tasks("GET", "/tasks/{task_id}", Operation.QUERY, "A task as it stands", _SUCCEEDED),
    *_tasks(
        "POST",
        "/tasks/{task_id}/cancel",
        Operation.CANCEL,
        "Cancel a task that is PENDING",
        {"request_id": "8a1c2f7e-1111-9e2d-b0c7-5d4f00aa7711"},
    ),
    Route(
        "GET",
        "/tasks/{task_id}/cancel/",
        Operation.CANCEL,
        "The same, as the asynchronous client of SDK 1.25 sends it",
        response_example={"request_id": "8a1c2f7e-1111-9e2d-b0c7-5d4f00aa7711"},
        error_statuses=(400, 401, 404, 429, 500, 503),
    ),
    *_tasks("GET", "/tasks", Operation.LIST, "List tasks, newest first", None),
    Route(
        "GET",
        UPLOADS,
        Operation.UPLOAD_POLICY,
        "Permission to upload a picture (action=getPolicy)",
        query_parameters=("action", "model"),
        response_schema=POLICY,
        error_statuses=(400, 401, 429, 500, 503),
    ),
    Route(
        "POST",
        UPLOADS,
        Operation.UPLOAD,
        "Upload a picture with a policy; then name it as oss://…",
        images_allowed=True,
        query_parameters=("ticket",),
        request_content_types=("multipart/form-data",),
        response_schema=REQUEST,
        error_statuses=(400, 401, 409, 413, 500, 503),
    ),
)


class DashScope(NativeTasks):
    """Reads DashScope calls, renders DashScope answers."""

    name = "dashscope"
    prefix = "/dashscope/api/v1"
    root = "/api/v1"
    routes = ROUTES
    answers = ANSWERS

    def new_task_id(self, now_ms: int, entropy: bytes) -> str:
        """Give a random UUID; 122 bits of chance."""
        return str(UUID(bytes=entropy[:16], version=4))

    def read_create(self, call: Call, route: Route, catalog: Catalog) -> Draft:
        """Read a create call of any of the four paths.

        Raises NotAllowed when ``X-DashScope-Async`` does not fit the path, InvalidRequest with
        all problems.
        """
        _check_mode(call, route)
        reading = Reading()
        request = read_body(parse_object(call.body), reading, catalog)
        shape = RESULTS if route.kind == RESULTS else CHOICES
        echo: dict[str, Any] = {"kind": shape, "mode": request.mode.value}
        if shape == RESULTS:
            echo["prompt"] = request.prompt
        sse = call.headers.get("x-dashscope-sse", "").lower() == "enable"
        draft = Draft(
            request=request,
            result_format=ResultFormat.URL,
            stream=route.kind == SYNC and sse,
            field_names=dict(reading.names),
            echo=echo,
        )
        return reading.completed(draft)

    def read_list(self, call: Call) -> ListQuery:
        """Read ``page_no, page_size, start_time, end_time, model_name, status, task_id``.

        Parameters DashScope does not know are ignored: its SDK repeats all it was given.
        """
        reading = Reading()
        query = {name: call.query[name] for name in LIST_QUERY if call.query.get(name)}
        fields = Fields(query, reading, LIST_QUERY, from_form=True)
        words = {word: status for status, word in STATUSES.items()}
        status = fields.choice("status", tuple(words))
        size = fields.integer("page_size", minimum=1)
        page = fields.integer("page_no", minimum=1)
        where = TaskFilter(
            status=words[status].value if status else None,
            model=fields.text("model_name"),
            since_ms=_list_time(fields, "start_time"),
            until_ms=_list_time(fields, "end_time"),
            task_id=fields.text("task_id"),
        )
        reading.finish()
        return ListQuery(where, limit=min(size or 10, LIMIT_MAX), page=page or 1)

    def render_created(self, task: Task, view: View) -> Reply:
        """Answer with id and status; HTTP 200 exactly, the SDK takes nothing else."""
        output = {"task_status": STATUSES[task.status], "task_id": task.id}
        return Reply({"output": output, "request_id": view.request_id})

    def render_task(self, task: Task, view: View) -> Reply:
        """Answer in the shape of the endpoint that created the task."""
        output: dict[str, Any] = {"task_id": task.id, "task_status": STATUSES[task.status]}
        if task.echo.get("kind") == CHOICES:
            output["finished"] = task.status.is_terminal
        output |= times(task)
        body: dict[str, Any] = {"request_id": view.request_id, "output": output}
        if task.status is TaskStatus.COMPLETED:
            links = [absolute(image.url, view.base_url) for image in task.images]
            if task.echo.get("kind") == CHOICES:
                output["choices"] = [choice(link) for link in links]
            else:
                output["results"] = results(task, links)
            body["usage"] = {"image_count": len(links)}
        elif task.status is TaskStatus.FAILED:
            output |= {"code": failure_code(task), "message": message_of(task)}
        output["task_metrics"] = metrics(task)
        return Reply(body)

    def render_unknown(self, task_id: str, view: View) -> Reply:
        """Answer 200 with UNKNOWN, which ends the SDK's waiting; a 404 would be an error to it."""
        output = {"task_id": task_id[:80], "task_status": UNKNOWN}
        return Reply({"request_id": view.request_id, "output": output})

    def render_result(self, task: Task, images: tuple[ResultImage, ...], view: View) -> Reply:
        """Answer the synchronous call with choices."""
        links = [absolute(image.url or "", view.base_url) for image in images]
        output = {"choices": [choice(link) for link in links], "finished": True}
        usage = {"image_count": len(links)}
        return Reply({"request_id": view.request_id, "output": output, "usage": usage})

    def render_list(self, page: TaskPage, query: ListQuery, view: View) -> Reply:
        """Answer with ``data`` as documented and with ``tasks`` as the newest SDK reads it."""
        total = page.total if page.total is not None else len(page.tasks)
        return Reply(
            {
                "request_id": view.request_id,
                "total": total,
                "total_page": -(-total // query.limit),
                "page_no": query.page or 1,
                "page_size": query.limit,
                "data": [list_entry(task, view) for task in page.tasks],
                "tasks": [task_entry(task) for task in page.tasks],
            }
        )

    def render_cancelled(self, task: Task, view: View) -> Reply:
        """Answer with the request id alone."""
        return Reply({"request_id": view.request_id})

    def render_error(self, error: GatewayError, view: View) -> Reply:
        """Answer flat: ``code``, ``message``, ``request_id``."""
        status, code = error_words(error)
        body = {"code": code, "message": error.message, "request_id": view.request_id}
        if isinstance(error, WaitExpired):
            body["task_id"] = error.task_id
        return Reply(body, status)

    def failure_of(self, task: Task) -> GatewayError:
        """Give the error of a synchronous call whose task did not complete."""
        return failure(task, failure_code(task))

    def stream_event(
        self, task: Task, images: tuple[ResultImage, ...], view: View
    ) -> tuple[tuple[str, Any], ...]:
        """Give the whole result as one event, or the error."""
        if task.status is not TaskStatus.COMPLETED:
            return (("error", self.render_error(self.failure_of(task), view).body),)
        return (("result", self.render_result(task, images, view).body),)

    def frame(self, number: int, event: str, data: bytes, status: int = 200) -> bytes:
        """Encode an event without blanks after the colons: the SDK compares what follows."""
        head = f"id:{number}\nevent:{event}\n:HTTP_STATUS/{status}\n".encode()
        return b"%bdata:%b\n\n" % (head, data)

    def read_upload_policy(self, call: Call) -> None:
        """Judge a getPolicy call. Raises InvalidRequest."""
        if call.query.get("action") != "getPolicy":
            raise InvalidRequest(Problem("action", "action must be getPolicy.", legal="getPolicy"))

    def render_upload_policy(self, ticket: str, bytes_max: int, ttl_s: int, view: View) -> Reply:
        """Answer with everything the SDK puts into its upload form."""
        data = {
            "policy": ticket,
            "signature": ticket,
            "upload_dir": f"gateway-uploads/{ticket}",
            "upload_host": f"{view.base_url}{self.prefix}{UPLOADS}?ticket={ticket}",
            "expire_in_seconds": ttl_s,
            "max_file_size_mb": bytes_max // (1024 * 1024),
            "capacity_limit_mb": bytes_max // (1024 * 1024),
            "oss_access_key_id": "gateway",
            "x_oss_object_acl": "private",
            "x_oss_forbid_overwrite": "true",
        }
        return Reply({"request_id": view.request_id, "data": data})

    def read_upload_ticket(self, call: Call) -> str:
        """Give the ticket, which our ``upload_host`` carries."""
        return call.query.get("ticket", "")

    def read_upload(self, call: Call) -> Upload:
        """Read the upload form: ``key`` is the policy's directory and a name, ``file`` a file."""
        key = _UPLOAD_KEY.fullmatch(dict(call.form).get("key", ""))
        if key is None or key["ticket"] != self.read_upload_ticket(call):
            raise InvalidRequest(Problem("key", "key must be upload_dir/filename of the policy."))
        file = next((part for part in call.files if part.name == "file"), None)
        if file is None:
            raise InvalidRequest(Problem("file", "The form has no file."))
        return Upload(key[0], file)

    def render_uploaded(self, view: View) -> Reply:
        """Answer 200; the SDK takes a 204 for a failure."""
        return Reply({"request_id": view.request_id})

    def upload_key(self, url: str) -> str | None:
        """Give the key of an ``oss://`` address that a policy of ours led to."""
        found = _UPLOAD_KEY.fullmatch(url.removeprefix("oss://"))
        return found[0] if found and url.startswith("oss://") else None


def _check_mode(call: Call, route: Route) -> None:
    asks_async = call.headers.get("x-dashscope-async", "").lower() == "enable"
    if route.kind == SYNC and asks_async:
        raise NotAllowed("current user api does not support asynchronous calls.")
    if route.kind != SYNC and not asks_async:
        raise NotAllowed("current user api does not support synchronous calls.")


def _list_time(fields: Fields, name: str) -> int | None:
    text = fields.text(name)
    if text is None:
        return None
    found = parse_beijing(text)
    if found is None:
        fields.refuse(name, f"{name} is no time.", legal="YYYYMMDDhhmmss in Beijing time")
    return found


DIALECT = DashScope()
