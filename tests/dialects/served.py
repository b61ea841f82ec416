"""A dialect served over loopback HTTP with tasks in memory, for the vendors' own SDKs.

It holds no logic of ours: it calls the dialect as the HTTP layer does and moves a task one state
on with every query. A prompt that contains ``fail`` fails, ``stay`` stays queued.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from email.message import Message
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

import msgspec

from gateway.app.dialect import (
    Call,
    Dialect,
    Operation,
    Reply,
    ResultImage,
    Route,
    UploadDialect,
    UploadedFile,
    View,
)
from gateway.app.ports import TaskPage
from gateway.domain.errors import Blame, GatewayError, RouteNotFound, TooLateToCancel
from gateway.domain.request import ResultFormat
from gateway.domain.submission import Draft
from gateway.domain.task import Ending, Image, Task, TaskError, TaskStatus
from tests.dialects.samples import NOW_MS, PENDING, catalog

TICKET = "t1cketT1cketT1cket"
_ENCODER = msgspec.json.Encoder(decimal_format="number")


@dataclass
class Served:
    """The dialect, what it was asked and the tasks it made."""

    dialect: Dialect
    url: str = ""
    tasks: dict[str, Task] = field(default_factory=dict)
    drafts: list[Draft] = field(default_factory=list)
    calls: list[tuple[str, str]] = field(default_factory=list)
    uploads: list[UploadedFile] = field(default_factory=list)
    trouble: list[GatewayError] = field(default_factory=list)

    def answer(self, call: Call) -> tuple[Reply, bytes | None]:
        """Give the reply, or the bytes of a stream."""
        self.calls.append((call.method, call.path))
        view = View(call.base_url, call.request_id, NOW_MS)
        try:
            if self.trouble:
                raise self.trouble.pop(0)
            route, params = self._route(call)
            return self._operate(replace(call, path_params=params), route, view)
        except GatewayError as error:
            return self.dialect.render_error(error, view), None

    def _route(self, call: Call) -> tuple[Route, dict[str, str]]:
        for route in self.dialect.routes:
            pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", self.dialect.prefix + route.path)
            match = re.fullmatch(pattern, call.path)
            if match and route.method == call.method:
                return route, match.groupdict()
        raise RouteNotFound(f"{call.method} {call.path}")

    def _operate(self, call: Call, route: Route, view: View) -> tuple[Reply, bytes | None]:
        dialect = self.dialect
        if route.operation is Operation.CREATE:
            return self._create(call, route, view)
        if route.operation is Operation.LIST:
            page = TaskPage(tuple(self.tasks.values()), None, len(self.tasks))
            return dialect.render_list(page, dialect.read_list(call), view), None
        if route.operation in (Operation.UPLOAD, Operation.UPLOAD_POLICY):
            assert isinstance(dialect, UploadDialect)
            if route.operation is Operation.UPLOAD:
                self.uploads.append(dialect.read_upload(call).file)
                return dialect.render_uploaded(view), None
            dialect.read_upload_policy(call)
            return dialect.render_upload_policy(TICKET, 2**20, 600, view), None
        task = self.tasks.get(dialect.read_task_id(call))
        if task is None:
            return dialect.render_unknown(dialect.read_task_id(call), view), None
        if route.operation is Operation.CANCEL:
            if task.status is not TaskStatus.PENDING:
                raise TooLateToCancel
            self.tasks[task.id] = replace(task, status=TaskStatus.CANCELLED)
            return dialect.render_cancelled(self.tasks[task.id], view), None
        self.tasks[task.id] = moved_on(task)
        return dialect.render_task(self.tasks[task.id], view), None

    def _create(self, call: Call, route: Route, view: View) -> tuple[Reply, bytes | None]:
        draft = self.dialect.read_create(call, route, catalog())
        self.drafts.append(draft)
        entropy = len(self.drafts).to_bytes(16, "big")
        task = replace(
            PENDING,
            id=self.dialect.new_task_id(NOW_MS, entropy),
            dialect=self.dialect.name,
            requested_model=draft.request.model,
            n=draft.request.n,
            echo=draft.echo | {"test_prompt": draft.request.prompt},
        )
        self.tasks[task.id] = task
        if not (route.sync or (draft.wait and draft.wait.wait_s is not None)):
            return self.dialect.render_created(task, view), None
        task = moved_on(moved_on(task))
        if task.status is not TaskStatus.COMPLETED:
            raise self.dialect.failure_of(task)
        inline = draft.result_format is ResultFormat.B64_JSON
        images = tuple(
            ResultImage(b64_json="aGk=") if inline else ResultImage(url=image.url)
            for image in task.images
        )
        if draft.stream:
            events = self.dialect.stream_event(task, images, view)
            frames = [
                self.dialect.frame(number, name, _ENCODER.encode(data))
                for number, (name, data) in enumerate(events, 1)
            ]
            return Reply(None), b": ping\n\n" + b"".join(frames)
        return self.dialect.render_result(task, images, view), None


def moved_on(task: Task) -> Task:
    """Give the task one state further."""
    prompt = task.echo["test_prompt"]
    if task.status.is_terminal or "stay" in prompt:
        return task
    if task.status is TaskStatus.PENDING:
        return replace(task, status=TaskStatus.PROCESSING)
    if "fail" in prompt:
        error = TaskError("DataInspectionFailed", "The prompt was rejected.", Blame.CALLER)
        ending = Ending(TaskStatus.FAILED, error=error)
        return replace(task, status=TaskStatus.FAILED, ending=ending, finished_ms=NOW_MS)
    images = tuple(Image(f"https://files.example.net/{k}.png") for k in range(task.n))
    ending = Ending(TaskStatus.COMPLETED, images)
    return replace(task, status=TaskStatus.COMPLETED, ending=ending, finished_ms=NOW_MS)


@contextmanager
def served(dialect: Dialect) -> Iterator[Served]:
    """Serve a dialect under its prefix for the length of a with block."""
    state = Served(dialect)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Say nothing."""

        def _serve(self) -> None:
            call = call_of(self)
            reply, stream = state.answer(call)
            content = _ENCODER.encode(reply.body) if stream is None else stream
            self.send_response(reply.status)
            kind = "application/json" if stream is None else "text/event-stream"
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(content)))
            self.send_header("x-request-id", call.request_id)
            # The SDKs keep sockets in globals; nobody would close them.
            self.send_header("connection", "close")
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _serve  # noqa: N815 - names of the standard library

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}{dialect.prefix}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def call_of(handler: BaseHTTPRequestHandler) -> Call:
    """Give the call an HTTP request makes."""
    parts = urlsplit(handler.path)
    body = handler.rfile.read(int(handler.headers.get("content-length") or 0))
    form, files = _parts(handler.headers, body)
    return Call(
        method=handler.command,
        path=parts.path,
        request_id="req_1",
        headers={name.lower(): value for name, value in handler.headers.items()},
        query=dict(parse_qsl(parts.query)),
        path_params={},
        base_url=f"http://{handler.headers['host']}",
        body=b"" if form or files else body,
        form=form,
        files=files,
    )


def _parts(
    headers: Message, body: bytes
) -> tuple[tuple[tuple[str, str], ...], tuple[UploadedFile, ...]]:
    if headers.get_content_type() != "multipart/form-data":
        return (), ()
    head = f"content-type: {headers['content-type']}\r\n\r\n".encode()
    form: list[tuple[str, str]] = []
    files: list[UploadedFile] = []
    for part in BytesParser().parsebytes(head + body).walk():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if not isinstance(name, str) or not isinstance(content, bytes):
            continue
        filename = part.get_filename()
        if filename is None:
            form.append((name, content.decode()))
        else:
            files.append(UploadedFile(name, filename, part.get_content_type(), content))
    return tuple(form), tuple(files)
