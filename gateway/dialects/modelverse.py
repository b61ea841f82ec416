"""UCloud Modelverse (seed 002, providers/modelverse.md): a synchronous and a task protocol.

Traps kept as they are: ``error.param`` holds the request id, ``prompt_extend`` means thinking,
seed 0 means random.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

from gateway.app.dialect import Call, Operation, Reply, ResultImage, Route, View
from gateway.app.pictures import absolute
from gateway.app.schemas import COUNT, SECONDS, TEXT, answer, listed, word
from gateway.dialects import _bodies, _parts
from gateway.dialects._answers import NATIVE, OPENAI_RESULT, openai_error
from gateway.dialects._base import NativeTasks
from gateway.dialects._dashscope_words import failure_code
from gateway.dialects._faults import Fault, failure, fault_of, message_of
from gateway.dialects._fields import Fields, Reading, parse_object
from gateway.dialects._schemas import FIELDS, OPTIONS, flag, obj, pick, text, whole
from gateway.dialects._superset import read_format, read_options
from gateway.domain.errors import GatewayError, InvalidRequest, Problem, WaitExpired
from gateway.domain.model import Catalog, Feature
from gateway.domain.request import GenerationRequest, InputImage
from gateway.domain.submission import Draft
from gateway.domain.task import Task, TaskStatus
from gateway.domain.validation import MISSING

TASK = "task"
TASK_COUNT_MAX = 4
SYNC_IMAGES = ("images", "image")
TASK_IMAGES = ("images", "img_url", "first_frame_url")

SYNC_SCHEMA = pick(
    (
        "model",
        "prompt",
        *SYNC_IMAGES,
        "size",
        "n",
        "watermark",
        "thinking_mode",
        "enable_sequential",
        "response_format",
        *OPTIONS,
    ),
    ("model",),
    seed=whole("A positive number; 0 or absent: random."),
)
INPUT = {name: FIELDS[name] for name in ("prompt", *TASK_IMAGES)}
PARAMETERS = {
    "size": FIELDS["size"],
    "n": whole("1 to 4.", minimum=1, maximum=TASK_COUNT_MAX, default=1),
    "seed": whole("A positive number; 0 or absent: random."),
    "watermark": FIELDS["watermark"],
    "enable_sequential": FIELDS["enable_sequential"],
    "prompt_extend": flag("Whether the model reasons first (thinking)."),
    "thinking_mode": flag("The same; prompt_extend wins over it."),
}
TASK_SCHEMA = obj(
    {
        "model": text("A model id or alias.", example="wan2.7-image"),
        "input": obj(INPUT),
        "parameters": obj(PARAMETERS),
    },
    ("model", "input"),
)

STATUSES = {
    TaskStatus.PENDING: "Pending",
    TaskStatus.PROCESSING: "Running",
    TaskStatus.COMPLETED: "Success",
    TaskStatus.FAILED: "Failure",
    TaskStatus.CANCELLED: "Cancelled",
}
_FAULTS = {Fault.CONTENT: "sensitive_check_error"}

# Our codes -> (HTTP status, type, code) of providers/modelverse.md §5.
_ERRORS = {
    "invalid_api_key": (401, "invalid_request_error", "auth_error"),
    "insufficient_credits": (403, "permission_error", "forbidden"),
    "key_credit_cap": (403, "permission_error", "forbidden"),
    "team_budget": (403, "permission_error", "forbidden"),
    "not_allowed": (403, "permission_error", "forbidden"),
    "model_not_found": (400, "invalid_request_error", "model_error"),
    "task_not_found": (404, "invalid_request_error", "param_error"),
    "string_above_max_length": (400, "invalid_request_error", "tokens_too_long"),
    "sensitive_check_error": (400, "invalid_request_error", "sensitive_check_error"),
    "rate_limited": (429, "rate_limit_error", "rate_limit"),
    "wait_expired": (504, "timeout", "gateway_timeout_error"),
    "model_server_error": (500, "internal_error", "model_server_error"),
}

_SUBMITTED = answer(
    {"output": answer({"task_id": TEXT}), "request_id": TEXT}, title="ModelverseSubmitted"
)
_TASK = answer(
    {
        "output": answer(
            {"task_id": TEXT, "task_status": word(*STATUSES.values()), "submit_time": SECONDS},
            {"urls": listed(TEXT), "finish_time": SECONDS, "error_message": TEXT},
        ),
        "request_id": TEXT,
    },
    {"usage": answer({"completion_tokens": COUNT, "total_tokens": COUNT})},
    title="ModelverseTask",
)
_URL = "https://files.example.net/m/1.png"
ROUTES = (
    Route(
        "POST",
        "/images/generations",
        Operation.CREATE,
        "Make pictures and wait for them",
        at_root=False,
        sync=True,
        images_allowed=True,
        request_schema=SYNC_SCHEMA,
        response_example={"created": 1795170100, "data": [{"url": _URL}]},
        response_schema=OPENAI_RESULT,
        error_statuses=(400, 401, 403, 404, 413, 422, 429, 500, 503, 504),
    ),
    Route(
        "POST",
        "/tasks/submit",
        Operation.CREATE,
        "Submit a picture task",
        kind=TASK,
        sync=False,
        images_allowed=True,
        request_schema=TASK_SCHEMA,
        response_example={
            "output": {"task_id": "0b1d5c9e-2f44-4b0f-9a57-6f0f8f0d3c21"},
            "request_id": "req_202611200930000007",
        },
        response_schema=_SUBMITTED,
        error_statuses=(400, 401, 403, 404, 413, 422, 429, 500, 503),
    ),
    Route(
        "GET",
        "/tasks/status",
        Operation.QUERY,
        "A task as it stands",
        query_parameters=("task_id",),
        response_example={
            "output": {
                "task_id": "0b1d5c9e-2f44-4b0f-9a57-6f0f8f0d3c21",
                "task_status": "Success",
                "urls": [_URL],
                "submit_time": 1795170120,
                "finish_time": 1795170158,
            },
            "usage": {"completion_tokens": 1, "total_tokens": 1},
            "request_id": "",
        },
        error_statuses=(400, 401, 404, 429, 500, 503),
    ),
    Route(
        "GET",
        "/models",
        Operation.MODELS,
        "Models and aliases",
        at_root=False,
        error_statuses=(401, 429, 500),
    ),
)


class Modelverse(NativeTasks):
    """Reads Modelverse calls, renders Modelverse answers."""

    name = "modelverse"
    prefix = "/modelverse/v1"
    root = "/v1"
    routes = ROUTES
    answers = replace(
        NATIVE, task=_TASK, cancelled=_TASK, error=openai_error(TEXT, "ModelverseError")
    )

    def new_task_id(self, now_ms: int, entropy: bytes) -> str:
        """Give a random UUID; 122 bits of chance."""
        return str(UUID(bytes=entropy[:16], version=4))

    def read_create(self, call: Call, route: Route, catalog: Catalog) -> Draft:
        """Read a synchronous call or a submit. Raises InvalidRequest with all problems."""
        reading = Reading()
        values = parse_object(call.body)
        schema = TASK_SCHEMA if route.kind == TASK else SYNC_SCHEMA
        body = Fields(values, reading, schema["properties"])
        body.require("model")
        is_task = route.kind == TASK
        request = _read_task(body, catalog) if is_task else _read_sync(body, catalog)
        result_format = None if is_task else read_format(body, stream=False)
        draft = Draft(
            request=request,
            result_format=result_format,
            ignored=tuple(reading.ignored),
            field_names=dict(reading.names),
            echo={"kind": route.kind, "mode": request.mode.value},
        )
        return reading.completed(draft)

    def read_task_id(self, call: Call) -> str:
        """Give ``task_id`` of the query string."""
        task_id = call.query.get("task_id", "")
        if not task_id:
            raise InvalidRequest(Problem("task_id", "task_id is required.", MISSING))
        return task_id

    def render_created(self, task: Task, view: View) -> Reply:
        """Answer with the id alone."""
        return Reply({"output": {"task_id": task.id}, "request_id": view.request_id})

    def render_task(self, task: Task, view: View) -> Reply:
        """Answer with the task; a failure is a text ``code=…, message=…`` and HTTP 200."""
        output: dict[str, Any] = {"task_id": task.id, "task_status": STATUSES[task.status]}
        body: dict[str, Any] = {"output": output}
        if task.status is TaskStatus.COMPLETED:
            output["urls"] = [absolute(image.url, view.base_url) for image in task.images]
            count = len(task.images)
            body["usage"] = {"completion_tokens": count, "total_tokens": count}
        output["submit_time"] = task.created_ms // 1000
        if task.finished_ms is not None:
            output["finish_time"] = task.finished_ms // 1000
        if task.status is TaskStatus.FAILED:
            output["error_message"] = f"code={failure_code(task)}, message={message_of(task)}"
        return Reply(body | {"request_id": view.request_id})

    def render_result(self, task: Task, images: tuple[ResultImage, ...], view: View) -> Reply:
        """Answer the synchronous call."""
        data = _bodies.openai_data(images, view)
        return Reply({"created": task.created_ms // 1000, "data": data})

    def render_error(self, error: GatewayError, view: View) -> Reply:
        """Answer with OpenAI's shape, whose ``param`` is the request id here."""
        status, kind, code = _ERRORS.get(error.code) or _by_status(error)
        body: dict[str, Any] = {
            "error": {
                "message": error.message,
                "type": kind,
                "param": view.request_id,
                "code": code,
            }
        }
        if isinstance(error, WaitExpired):
            body["task_id"] = error.task_id
        return Reply(body, status)

    def failure_of(self, task: Task) -> GatewayError:
        """Give the error of a synchronous call whose task did not complete."""
        code = _FAULTS.get(fault_of(task.error), "param_error")
        error = failure(task, code)
        return error if error.status < 500 else failure(task, "model_server_error")


def _by_status(error: GatewayError) -> tuple[int, str, str]:
    if error.status < 500:
        return error.status, "invalid_request_error", "param_error"
    return error.status, "internal_error", "internal_error"


def _read_sync(body: Fields, catalog: Catalog) -> GenerationRequest:
    body.reading.names.update({option: option for option in OPTIONS})
    images = _parts.read_images(body, SYNC_IMAGES)
    request = _request(body, body, body, images)
    thinking = _thinking(catalog, request, body, ("thinking_mode",))
    return replace(request, thinking=thinking, options=read_options(body, catalog))


def _read_task(body: Fields, catalog: Catalog) -> GenerationRequest:
    reading = body.reading
    body.require("input")
    content = body.child("input", INPUT) or Fields({}, reading, INPUT, path="input.")
    empty = Fields({}, reading, PARAMETERS, path="parameters.")
    more = body.child("parameters", PARAMETERS) or empty
    images = _parts.read_images(content, TASK_IMAGES)
    request = _request(body, content, more, images)
    if request.n > TASK_COUNT_MAX:
        message = f"parameters.n is at most {TASK_COUNT_MAX} here; the synchronous call takes more."
        more.refuse("n", message, "integer_above_max_value", f"1 to {TASK_COUNT_MAX}")
    thinking = _thinking(catalog, request, more, ("prompt_extend", "thinking_mode"))
    return replace(request, thinking=thinking)


def _request(
    body: Fields, content: Fields, more: Fields, images: tuple[InputImage, ...]
) -> GenerationRequest:
    names = body.reading.names
    names.update(model="model", prompt=f"{content.path}prompt")
    names.update(watermark=f"{more.path}watermark", group=f"{more.path}enable_sequential")
    prompt = content.text("prompt") or ""
    if not images and not content.raw("prompt"):
        content.refuse("prompt", "Send a prompt or a picture.", MISSING)
    size = _parts.read_size(more)
    n = _parts.read_count(more)
    return GenerationRequest(
        model=body.text("model") or "",
        prompt=prompt,
        images=images,
        n=1 if n is None else n,
        size=size.size,
        tier=size.tier,
        seed=_parts.read_seed(more, random=(0,)),
        watermark=more.flag("watermark"),
        group=bool(more.flag("enable_sequential")),
    )


def _thinking(
    catalog: Catalog, request: GenerationRequest, more: Fields, names: tuple[str, ...]
) -> bool | None:
    """Read the thinking flag; the first of ``names`` that is present counts (R14).

    Absent it is off here, unlike at the model itself: said aloud for models that think (D5).
    """
    more.reading.names["thinking"] = f"{more.path}{names[0]}"
    said = [value for value in map(more.flag, names) if value is not None]
    if said:
        return said[0]
    model = catalog.models.get(catalog.aliases.get(request.model, ""))
    thinks = model is not None and Feature.THINKING in model.limits.features
    return False if thinks else None


DIALECT = Modelverse()
