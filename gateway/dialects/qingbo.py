"""Qingbo / WaveAPI ``/v1/tasks`` (seed 003 with the additions of providers/qingbo.md column B).

Times are milliseconds, as the seed prints them (⚑ §6); costs are quota units, 500,000 to the
dollar.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

from gateway.app.dialect import Call, Operation, Reply, ResultImage, Route, View
from gateway.app.pictures import absolute
from gateway.app.schemas import FLAG, TEXT, answer, listed, word
from gateway.dialects import _parts
from gateway.dialects._actions import action_word, read_action
from gateway.dialects._answers import NATIVE
from gateway.dialects._base import NativeTasks
from gateway.dialects._bodies import shown_progress
from gateway.dialects._faults import Fault, fault_of, message_of
from gateway.dialects._fields import UNKNOWN, Fields, Reading, parse_object
from gateway.dialects._schemas import RATIOS, pick, text, whole
from gateway.dialects._waiting import ASYNC, parse_prefer
from gateway.domain.errors import GatewayError, InvalidRequest, WaitExpired
from gateway.domain.model import Catalog, Feature
from gateway.domain.money import MicroCredits
from gateway.domain.request import GenerationRequest, ResultFormat
from gateway.domain.submission import Draft, Wait
from gateway.domain.task import Image, Task, TaskStatus
from gateway.domain.validation import UNSUPPORTED

WAIT_MAX_S = 60
QUOTA_PER_USD = 500_000
SCHEMA = pick(
    (
        "model",
        "action",
        "prompt",
        "negative_prompt",
        "n",
        "image_urls",
        "callback_url",
        "callback_events",
        "watermark",
        "thinking_mode",
        "enable_sequential",
        "color_palette",
        "bbox_list",
    ),
    ("model", "prompt"),
    seed=whole("-1 or absent: random.", default=-1),
    aspect_ratio=text("The shape of the picture.", enum=list(RATIOS), default="1:1"),
    resolution=text("`1K`, `2K` or `4K`; groups up to `2K`.", default="2K"),
)

STATUSES = {status: status.value for status in TaskStatus} | {TaskStatus.PENDING: "queued"}
_FAULTS = {
    Fault.CONTENT: "upstream_bad_request",
    Fault.PICTURE: "upstream_bad_request",
    Fault.PARAMETER: "upstream_bad_request",
    Fault.RATE: "upstream_rate_limited",
    Fault.TIMEOUT: "upstream_unavailable",
    Fault.UNAVAILABLE: "upstream_unavailable",
    Fault.PROVIDER: "task_failed",
    Fault.CANCELLED: "task_failed",
}
# Our codes -> (HTTP status, code) where Qingbo's differ.
_ERRORS = {
    "task_not_cancellable": (400, "task_not_cancellable"),
    "no_healthy_upstream": (503, "upstream_unavailable"),
}
_CAPABILITY = dict.fromkeys((UNKNOWN, UNSUPPORTED), "capability_violation")

_ID = "task-wave1795170300a730194655"
_LINK = "https://gateway.example.net/qingbo/v1/tasks"
_QUEUED = {
    "task_id": _ID,
    "model": "wan2.7-image",
    "action": "generate",
    "status": "queued",
    "created_at": 1795170300412,
    "progress": 0,
    "pre_consumed_cost": 12150,
}
_COMPLETED = {
    "task_id": _ID,
    "status": "completed",
    "action": "generate",
    "model": "wan2.7-image",
    "progress": 100,
    "created_at": 1795170300412,
    "completed_at": 1795170322907,
    "cost": 12150,
    "result": {
        "images": [
            {"url": ["https://cdn.example.net/w/fox-1.jpg"], "expires_at": 1795429522000},
        ]
    },
    "urls": {"get": f"{_LINK}/{_ID}", "cancel": f"{_LINK}/{_ID}/cancel"},
}
_TIME = {"type": "integer", "description": "Unix milliseconds."}
_QUOTA = {"type": "integer", "description": f"Quota units, {QUOTA_PER_USD:,} to the dollar."}
_ALWAYS = {
    "task_id": TEXT,
    "model": TEXT,
    "action": TEXT,
    "status": word(*STATUSES.values()),
    "created_at": _TIME,
    "progress": {"type": "integer", "minimum": 0, "maximum": 100},
}
_SUBMITTED = answer(_ALWAYS, {"pre_consumed_cost": _QUOTA}, title="QingboSubmitted")
_TASK = answer(
    {**_ALWAYS, "urls": answer({"get": TEXT, "cancel": TEXT})},
    {
        "completed_at": _TIME,
        "cost": _QUOTA,
        "result": answer({"images": listed(answer({"url": listed(TEXT)}, {"expires_at": _TIME}))}),
        "error": answer({"message": TEXT, "code": word(*_FAULTS.values())}),
    },
    title="QingboTask",
)
_CANCELLED = answer(
    {"task_id": TEXT, "status": word("cancelled"), "refunded": FLAG},
    {"refunded_quota": _QUOTA},
    title="QingboCancelled",
)
_ERROR = answer(
    {"error": answer({"message": TEXT, "code": TEXT}, {"param": TEXT, "task_id": TEXT})},
    title="QingboError",
)
ROUTES = (
    Route(
        "POST",
        "/tasks",
        Operation.CREATE,
        "Create a picture task; Prefer: wait=N waits up to 60 s for its end",
        images_allowed=True,
        request_schema=SCHEMA,
        response_example=_QUEUED,
        response_schema={"anyOf": [_SUBMITTED, _TASK]},
        error_statuses=(400, 401, 402, 403, 404, 413, 422, 429, 500, 503),
    ),
    Route(
        "GET",
        "/tasks/{task_id}",
        Operation.QUERY,
        "A task as it stands",
        at_root=False,
        response_example=_COMPLETED,
        error_statuses=(401, 404, 429, 500, 503),
    ),
    Route(
        "POST",
        "/tasks/{task_id}/cancel",
        Operation.CANCEL,
        "Cancel a task that is queued",
        at_root=False,
        response_example={
            "task_id": _ID,
            "status": "cancelled",
            "refunded": True,
            "refunded_quota": 12150,
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


class Qingbo(NativeTasks):
    """Reads Qingbo calls, renders Qingbo tasks.

    ``ms_per_tick`` is the unit of every time written: 1 for milliseconds, 1000 for the seconds
    that later pages of the provider show.
    """

    name = "qingbo"
    prefix = "/qingbo/v1"
    root = "/v1"
    routes = ROUTES
    answers = replace(NATIVE, task=_TASK, cancelled=_CANCELLED, error=_ERROR)

    def __init__(self, ms_per_tick: int = 1) -> None:
        self.ms_per_tick = ms_per_tick

    def new_task_id(self, now_ms: int, entropy: bytes) -> str:
        """Give ``task-wave<seconds><letter><9 digits>`` (seed 003): 34 bits of chance."""
        number, letter = divmod(int.from_bytes(entropy[:8], "big"), 26)
        return f"task-wave{now_ms // 1000}{chr(97 + letter)}{number % 10**9:09d}"

    def read_create(self, call: Call, route: Route, catalog: Catalog) -> Draft:
        """Read a create call. Raises InvalidRequest with all problems."""
        reading = Reading()
        fields = Fields(parse_object(call.body), reading, SCHEMA["properties"])
        request, action = _read_request(fields)
        callback = _parts.read_callback(fields)
        echo = {
            "kind": "",
            "mode": request.mode.value,
            "action": action or action_word(request.mode.value),
            "credits_per_usd": str(catalog.credits_per_usd),
        }
        draft = Draft(
            request=_with_defaults(request, catalog),
            wait=_read_wait(call.headers.get("prefer", "")),
            result_format=ResultFormat.URL,
            callback=callback,
            ignored=tuple(reading.ignored),
            field_names=dict(reading.names),
            echo=echo,
        )
        return reading.completed(draft)

    def render_created(self, task: Task, view: View) -> Reply:
        """Answer with the seed's body and the cost held for the task."""
        body = {
            "task_id": task.id,
            "model": task.requested_model,
            "action": _action(task),
            "status": STATUSES[task.status],
            "created_at": task.created_ms // self.ms_per_tick,
            "progress": shown_progress(task),
        }
        return Reply(body | _quota(task, "pre_consumed_cost", task.hold))

    def render_task(self, task: Task, view: View) -> Reply:
        """Answer with the task in any state; links are lists even when single."""
        link = f"{view.base_url}{self.prefix}/tasks/{task.id}"
        body: dict[str, Any] = {
            "task_id": task.id,
            "status": STATUSES[task.status],
            "action": _action(task),
            "model": task.requested_model,
            "progress": shown_progress(task),
            "created_at": task.created_ms // self.ms_per_tick,
        }
        if task.status.is_terminal:
            body["completed_at"] = (task.finished_ms or view.now_ms) // self.ms_per_tick
            body |= _quota(task, "cost", task.charged)
        if task.status is TaskStatus.COMPLETED:
            body["result"] = {"images": [self._image(image, view) for image in task.images]}
        elif task.status is TaskStatus.FAILED:
            code = _FAULTS[fault_of(task.error)]
            body["error"] = {"message": f"[{code}] {message_of(task)}", "code": code}
        return Reply(body | {"urls": {"get": link, "cancel": f"{link}/cancel"}})

    def _image(self, image: Image, view: View) -> dict[str, Any]:
        entry: dict[str, Any] = {"url": [absolute(image.url, view.base_url)]}
        if image.expires_at is not None:
            entry["expires_at"] = image.expires_at * 1000 // self.ms_per_tick
        return entry

    def render_result(self, task: Task, images: tuple[ResultImage, ...], view: View) -> Reply:
        """Answer a waiting call: the task as a query shows it."""
        return self.render_task(task, view)

    def render_cancelled(self, task: Task, view: View) -> Reply:
        """Answer with what was given back."""
        body = {"task_id": task.id, "status": "cancelled", "refunded": True}
        return Reply(body | _quota(task, "refunded_quota", task.hold - task.charged))

    def render_error(self, error: GatewayError, view: View) -> Reply:
        """Answer with ``message`` and ``code``, and the field where one is at fault."""
        status, code = _ERRORS.get(error.code, (error.status, error.code))
        words: dict[str, Any] = {"message": error.message, "code": code}
        if isinstance(error, InvalidRequest):
            words["code"] = _CAPABILITY.get(error.code, "invalid_request")
        if error.param:
            words["param"] = error.param
        if isinstance(error, WaitExpired):
            words["task_id"] = error.task_id
        return Reply({"error": words}, status)


def _read_request(fields: Fields) -> tuple[GenerationRequest, str | None]:
    names = fields.reading.names
    names.update({name: name for name in ("model", "prompt", "negative_prompt", "watermark")})
    names.update(thinking="thinking_mode", group="enable_sequential", tier="resolution")
    fields.require("model")
    fields.require("prompt")
    images = _parts.read_images(fields, ("image_urls",))
    boxes = _parts.read_boxes(fields)
    sequential = fields.flag("enable_sequential")
    n = _parts.read_count(fields)
    action = read_action(fields, pictures=len(images), boxes=any(boxes), group=sequential)
    request = GenerationRequest(
        model=fields.text("model") or "",
        prompt=fields.text("prompt") or "",
        negative_prompt=fields.text("negative_prompt"),
        images=images,
        n=1 if n is None else n,
        tier=_parts.read_resolution(fields),
        aspect_ratio=_parts.read_aspect_ratio(fields, RATIOS),
        seed=_parts.read_seed(fields),
        watermark=fields.flag("watermark"),
        thinking=fields.flag("thinking_mode"),
        group=bool(sequential) or action == "group",
        palette=_parts.read_palette(fields),
        boxes=boxes,
    )
    return request, action


def _with_defaults(request: GenerationRequest, catalog: Catalog) -> GenerationRequest:
    """Say Qingbo's own defaults aloud: 2K, 1:1 and thinking (D5), where the model knows them."""
    model = catalog.models.get(catalog.aliases.get(request.model, ""))
    if model is None:
        return request
    if "2K" in model.limits.size.tiers:
        request = replace(
            request, tier=request.tier or "2K", aspect_ratio=request.aspect_ratio or "1:1"
        )
    thinks = Feature.THINKING in model.limits.features
    if request.thinking is None and thinks and not request.images and not request.group:
        request = replace(request, thinking=True)
    return request


def _read_wait(prefer: str) -> Wait:
    """Give the wait of ``Prefer: wait=N``, at most 60 s; a failed task is answered as a task."""
    seconds = parse_prefer(prefer).wait_s
    if not seconds:
        return ASYNC
    return Wait(float(min(seconds, WAIT_MAX_S)), task_on_timeout=True, task_on_failure=True)


def _action(task: Task) -> str:
    return str(task.echo.get("action") or action_word(str(task.echo.get("mode", ""))))


def _quota(task: Task, name: str, amount: MicroCredits) -> dict[str, int]:
    """Give an amount in quota units by the rate of the day; nothing without a known rate."""
    rate = Decimal(task.echo.get("credits_per_usd", 0))
    if not rate:
        return {}
    return {name: int((Decimal(amount) * QUOTA_PER_USD / (rate * 1_000_000)).to_integral_value())}


DIALECT = Qingbo()
