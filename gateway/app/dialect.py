"""The seam between HTTP and the dialects: framework-free calls, replies and routes as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

from gateway.app.ports import TaskFilter, TaskPage
from gateway.app.ports.admin import Page
from gateway.app.ports.batches import LineResult
from gateway.domain.batch import Batch, BatchLine, BatchOptions
from gateway.domain.errors import GatewayError
from gateway.domain.model import Catalog
from gateway.domain.records import quick
from gateway.domain.submission import Draft
from gateway.domain.task import Task


class Operation(StrEnum):
    """What a route does; the HTTP layer knows one handler for each."""

    CREATE = "create"
    QUERY = "query"
    LIST = "list"
    CANCEL = "cancel"
    EVENTS = "events"
    MODELS = "models"
    MODEL = "model"
    QUOTE = "quote"
    CREDITS = "credits"
    USAGE = "usage"
    UPLOAD_POLICY = "upload_policy"
    UPLOAD = "upload"
    BATCH_CREATE = "batch_create"
    BATCH = "batch"
    BATCH_LIST = "batch_list"
    BATCH_RESULTS = "batch_results"
    BATCH_RESUME = "batch_resume"
    BATCH_CANCEL = "batch_cancel"


@dataclass(frozen=True, slots=True)
class Route:
    """One address of a dialect.

    ``path`` starts with ``/`` and is relative to the dialect's mount; ``{task_id}``, ``{batch_id}``
    and ``{model}`` are its only parameters, ``{rest}`` matches several segments. ``at_root``: also
    mounted without the dialect's prefix. ``by_creator``: at the root the dialect that created
    the task renders it. ``kind`` is the dialect's own hint to itself (which create path it is).
    ``sync`` fixes the answer mode where the dialect has only one. ``images_allowed`` raises the
    body cap from 1 MiB to 45 MiB. The rest documents the route in OpenAPI: ``response_schema`` is
    for what the dialect's `Answers` and the gateway's own do not say, ``media_types`` are those of
    a success, that of the example first.
    """

    method: str
    path: str
    operation: Operation
    summary: str
    kind: str = ""
    at_root: bool = True
    by_creator: bool = False
    sync: bool | None = None
    images_allowed: bool = False
    request_schema: Mapping[str, Any] | None = None
    request_content_types: tuple[str, ...] = ("application/json",)
    query_parameters: tuple[str, ...] = ()
    response_example: Any = None
    response_schema: Mapping[str, Any] | None = None
    never_succeeds: bool = False
    media_types: tuple[str, ...] = ("application/json",)
    error_statuses: tuple[int, ...] = (400, 401, 402, 403, 404, 413, 429, 500, 503)


@dataclass(frozen=True, slots=True)
class Answers:
    """JSON Schemas of what a dialect renders wherever it does: a task, a cancelled one, a list of
    them, an error. One with a ``title`` is a component of the document.
    """

    task: Mapping[str, Any]
    cancelled: Mapping[str, Any]
    listed: Mapping[str, Any]
    error: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file part of a multipart call."""

    name: str
    filename: str
    content_type: str
    content: bytes


@quick
@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP call, framework-free. Header names are lower case.

    ``form`` and ``files`` are filled for multipart calls (repeated names keep their order),
    ``body`` otherwise. ``base_url`` is how the caller reaches us, without a trailing slash.
    """

    method: str
    path: str
    request_id: str
    headers: Mapping[str, str]
    query: Mapping[str, str]
    path_params: Mapping[str, str]
    base_url: str
    body: bytes = b""
    form: tuple[tuple[str, str], ...] = ()
    files: tuple[UploadedFile, ...] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: ``body`` is JSON-encodable."""

    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ResultImage:
    """A picture of a synchronous answer: a link, or raw base64 without a ``data:`` prefix."""

    url: str | None = None
    b64_json: str | None = None
    revised_prompt: str | None = None
    expires_at: int | None = None


@dataclass(frozen=True, slots=True)
class View:
    """What a dialect may need beside the task to render it.

    ``base_url`` prefixes links of our own; ``request_id`` belongs to the asking call, empty in a
    callback.
    """

    base_url: str
    request_id: str
    now_ms: int


@dataclass(frozen=True, slots=True)
class Upload:
    """A picture file a client uploads before it creates the task that names it by ``key``."""

    key: str
    file: UploadedFile


@dataclass(frozen=True, slots=True)
class ListQuery:
    """A parsed list call; ``page`` counts from 1 where the dialect numbers pages."""

    where: TaskFilter
    limit: int = 20
    cursor: str | None = None
    page: int | None = None


class Dialect(Protocol):
    """A wire protocol we accept from clients: reads calls, renders tasks and errors. No I/O.

    ``prefix`` is the mount that always exists (``/openai/v1``), ``root`` the mount of its
    ``at_root`` routes (``/v1``, ``/api/v1``).
    """

    name: str
    prefix: str
    root: str
    routes: tuple[Route, ...]
    answers: Answers

    def new_task_id(self, now_ms: int, entropy: bytes) -> str:
        """Give an id in this dialect's format from 16 random bytes.

        The printed formats leave as little as 34 bits of chance (Qingbo) beside the time: the
        caller draws again when an id is taken.
        """
        ...

    def read_create(self, call: Call, route: Route, catalog: Catalog) -> Draft:
        """Read a create call. Raises InvalidRequest with all problems, in the caller's names."""
        ...

    def read_task_id(self, call: Call) -> str:
        """Give the task id a query or cancel call names."""
        ...

    def read_list(self, call: Call) -> ListQuery:
        """Read a list call."""
        ...

    def render_created(self, task: Task, view: View) -> Reply:
        """Answer an asynchronous create."""
        ...

    def render_task(self, task: Task, view: View) -> Reply:
        """Answer a query; also the body of a callback."""
        ...

    def render_unknown(self, task_id: str, view: View) -> Reply:
        """Answer a query for a task that does not exist or is somebody else's.

        An error in most dialects; DashScope answers 200 with the status UNKNOWN.
        """
        ...

    def render_result(self, task: Task, images: tuple[ResultImage, ...], view: View) -> Reply:
        """Answer a synchronous create whose task completed."""
        ...

    def render_list(self, page: TaskPage, query: ListQuery, view: View) -> Reply:
        """Answer a list call."""
        ...

    def render_cancelled(self, task: Task, view: View) -> Reply:
        """Answer a cancel that succeeded."""
        ...

    def render_error(self, error: GatewayError, view: View) -> Reply:
        """Answer with an error, in this dialect's shape and codes."""
        ...

    def failure_of(self, task: Task) -> GatewayError:
        """Give the error a synchronous create raises for a failed or cancelled task."""
        ...

    def stream_event(
        self, task: Task, images: tuple[ResultImage, ...], view: View
    ) -> tuple[tuple[str, Any], ...]:
        """Give the (event name, data) pairs that end a stream of a terminal task."""
        ...

    def frame(self, number: int, event: str, data: bytes, status: int = 200) -> bytes:
        """Encode one server-sent event; ``number`` counts from 1, ``data`` is one line of JSON.

        ``status`` is what the answer would have without a stream, for events named ``error``.
        """
        ...


@runtime_checkable
class UploadDialect(Protocol):
    """A dialect whose clients upload pictures first (DashScope's SDK with ``file://`` names).

    The upload itself carries no API key but the ticket of a policy, in its address. A create
    call then names the picture as an ``oss://`` address.
    """

    def read_upload_policy(self, call: Call) -> None:
        """Judge a call for an upload policy. Raises InvalidRequest."""
        ...

    def render_upload_policy(self, ticket: str, bytes_max: int, ttl_s: int, view: View) -> Reply:
        """Answer with the policy: ``ticket`` is unguessable, letters and digits only."""
        ...

    def read_upload_ticket(self, call: Call) -> str:
        """Give the ticket of an upload from its address, before its body is read."""
        ...

    def read_upload(self, call: Call) -> Upload:
        """Read the upload. Raises InvalidRequest, also when it is not this ticket's."""
        ...

    def render_uploaded(self, view: View) -> Reply:
        """Answer a successful upload."""
        ...

    def upload_key(self, url: str) -> str | None:
        """Give the key of an uploaded picture's address, None for any other address."""
        ...


@runtime_checkable
class BatchDialect(Protocol):
    """A dialect in which many create calls can be sent as one file."""

    def read_batch(self, call: Call) -> BatchOptions:
        """Read what is wanted of a whole batch. Raises InvalidRequest with all problems."""
        ...

    def read_batch_line(self, call: Call, line: bytes, catalog: Catalog) -> BatchLine:
        """Read one line of a batch that was sent by ``call``.

        Raises InvalidRequest with all problems of the line.
        """
        ...

    def read_batch_id(self, call: Call) -> str:
        """Give the id of the batch that a call names."""
        ...

    def read_batch_list(self, call: Call) -> tuple[int, str | None]:
        """Give ``limit`` and ``cursor`` of a list call. Raises InvalidRequest."""
        ...

    def read_batch_results(self, call: Call) -> int:
        """Give the number of the line after which results are wanted. Raises InvalidRequest."""
        ...

    def render_batch(self, batch: Batch, view: View) -> Reply:
        """Answer with a batch as it stands; also the body of its callback."""
        ...

    def render_batches(self, page: Page[Batch], view: View) -> Reply:
        """Answer a list call."""
        ...

    def render_batch_result(self, result: LineResult, view: View) -> Mapping[str, Any]:
        """Give one line of a batch's results, JSON-encodable."""
        ...
