"""Calls, tasks and a catalogue for the dialect tests."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from typing import Any

import msgspec

from gateway.app.dialect import Call, Dialect, Operation, Route, UploadedFile, View
from gateway.catalog import demo
from gateway.dialects import DIALECTS
from gateway.domain.errors import Blame
from gateway.domain.model import Catalog
from gateway.domain.submission import Draft
from gateway.domain.task import Attempt, Ending, Image, Task, TaskError, TaskStatus
from gateway.domain.validation import check, normalize

BASE_URL = "https://gw.example"
NOW_MS = 1795170042_000
VIEW = View(base_url=BASE_URL, request_id="req_1", now_ms=NOW_MS)
PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489")
VENDORS = ("dashscope", "evolink", "modelverse", "qingbo", "openai")


@cache
def catalog() -> Catalog:
    """The demo catalogue; nothing is ever sent to these addresses."""
    return demo({vendor: f"http://127.0.0.1:9/{vendor}" for vendor in VENDORS})


def route(dialect: Dialect, path: str, method: str = "POST") -> Route:
    """A dialect's route by its path under the mount."""
    return next(r for r in dialect.routes if (r.method, r.path) == (method, path))


def call(
    body: Any = None,
    *,
    headers: dict[str, str] | None = None,
    query: dict[str, str] | None = None,
    path_params: dict[str, str] | None = None,
    form: tuple[tuple[str, str], ...] = (),
    files: tuple[UploadedFile, ...] = (),
) -> Call:
    """A call as the HTTP layer hands it over; ``body`` may be bytes or JSON-encodable."""
    return Call(
        method="POST",
        path="/",
        request_id="req_1",
        headers=headers or {},
        query=query or {},
        path_params=path_params or {},
        base_url=BASE_URL,
        body=body if isinstance(body, bytes) else json.dumps(body).encode(),
        form=form,
        files=files,
    )


def read(name: str, path: str, body: Any, **headers: str) -> Draft:
    """Read a create call; underscores in header names stand for dashes."""
    dialect = DIALECTS[name]
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return dialect.read_create(call(body, headers=named), route(dialect, path), catalog())


def complaints(draft: Draft) -> list[str]:
    """What the model's limits say against a draft, as the core asks them."""
    model = catalog().models[catalog().aliases[draft.request.model]]
    request, _ = normalize(replace(draft.request, snap_size=draft.snap_size), model)
    return [str(problem) for problem in check(request, model.limits)]


def create_routes(dialect: Dialect) -> list[Route]:
    """The dialect's create routes that take a body of documented fields."""
    return [r for r in dialect.routes if r.operation is Operation.CREATE and r.request_schema]


def wire(body: Any) -> Any:
    """A reply's body as the client decodes it."""
    encoder = msgspec.json.Encoder(decimal_format="number")
    return json.loads(encoder.encode(body))


ATTEMPT = Attempt(
    id="a1",
    no=1,
    upstream="evolink",
    adapter="evolink",
    upstream_model="wan2.5-text-to-image",
    started_ms=1795170001_140,
    planned_cost=44_000,
)
PENDING = Task(
    id="task-unified-1795170001-q7m2kd0a",
    team_id="team_1",
    key_id="key_1",
    dialect="evolink",
    model="wan2.5-t2i-preview",
    requested_model="wan2.5-text-to-image",
    n=2,
    tier="2K",
    unit_price=1_500_000,
    hold=3_000_000,
    created_ms=1795170001_100,
    deadline_ms=1795170601_100,
    typical_ms=30_000,
)
PROCESSING = replace(PENDING, status=TaskStatus.PROCESSING, progress=65, attempts=(ATTEMPT,))
COMPLETED = replace(
    PROCESSING,
    status=TaskStatus.COMPLETED,
    progress=100,
    charged=3_000_000,
    finished_ms=1795170019_700,
    ending=Ending(
        TaskStatus.COMPLETED,
        images=(
            Image("https://files.example.net/a1/lantern-0.png", 1795256419, "A quiet canal"),
            Image("/assets/2c1f.png", 1795256419),
        ),
    ),
)
FAILED = replace(
    PROCESSING,
    status=TaskStatus.FAILED,
    finished_ms=1795170006_000,
    ending=Ending(
        TaskStatus.FAILED,
        error=TaskError("DataInspectionFailed", "The prompt was rejected.", Blame.CALLER),
    ),
)
CANCELLED = replace(
    PENDING,
    status=TaskStatus.CANCELLED,
    finished_ms=1795170003_000,
    ending=Ending(TaskStatus.CANCELLED),
)
STATES = (PENDING, PROCESSING, COMPLETED, FAILED, CANCELLED)


def failed(code: str, blame: Blame, message: str = "It failed.") -> Task:
    """A failed task with this error."""
    return replace(FAILED, ending=Ending(TaskStatus.FAILED, error=TaskError(code, message, blame)))


def delivered(task: Task, *links: str) -> Task:
    """A completed task with these links."""
    images = tuple(Image(link) for link in links)
    return replace(COMPLETED, id=task.id, ending=Ending(TaskStatus.COMPLETED, images))
