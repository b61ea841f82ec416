"""Qingbo / WaveAPI: ``/v1/tasks`` in its three generations A, B and C (providers/qingbo.md).

A is the seed: plain link strings, milliseconds. B adds costs, ``urls`` and lists of links, in
seconds. C has progress as text, lower-case resolutions and two actions, and refuses unknown
parameters. Pictures are JPEGs. ``4K`` on ``wan2.7-image`` is legal in A and B, as the seed has it.
Callbacks are validated but never sent.
"""

from __future__ import annotations

import secrets
from typing import Any

from gateway.simulator.config import DAY_MS
from gateway.simulator.faults import Fault, FaultTable, Refused
from gateway.simulator.pictures import Gallery
from gateway.simulator.state import Engine, Order, Phase, SimTask
from gateway.simulator.vendors import checks
from gateway.simulator.vendors.base import Vendor, digest_of, model_list
from gateway.simulator.wire import Reply, Request

ACTIONS = {
    "generate": (0, 0),
    "image2image": (1, 1),
    "edit": (1, 1),
    "reference": (2, 9),
    "group": (0, 9),
    "interactive_edit": (1, 9),
}
"""Fewest and most pictures by action; the seed's own interactive_edit example has two."""

ACTIONS_C = {"generate": (0, 0), "edit": (1, 9)}
SIZES = {
    "1K": {
        "1:1": (1024, 1024),
        "16:9": (1280, 720),
        "9:16": (720, 1280),
        "4:3": (1152, 864),
        "3:4": (864, 1152),
        "3:2": (1248, 832),
        "2:3": (832, 1248),
    },
    "2K": {
        "1:1": (2048, 2048),
        "16:9": (2688, 1512),
        "9:16": (1512, 2688),
        "4:3": (2336, 1752),
        "3:4": (1752, 2336),
        "3:2": (2496, 1664),
        "2:3": (1664, 2496),
    },
    "4K": {
        "1:1": (4096, 4096),
        "16:9": (5376, 3024),
        "9:16": (3024, 5376),
        "4:3": (4704, 3528),
        "3:4": (3528, 4704),
        "3:2": (5016, 3344),
        "2:3": (3344, 5016),
    },
}
FIELDS = frozenset(
    {
        "model",
        "action",
        "prompt",
        "n",
        "seed",
        "aspect_ratio",
        "resolution",
        "image_urls",
        "callback_url",
        "callback_events",
        "watermark",
        "thinking_mode",
        "enable_sequential",
        "color_palette",
        "bbox_list",
        "extra",
    }
)
EVENTS = ("succeeded", "failed", "cancelled")
SYNC_PATHS = ("/v1/images/generations", "/v1/images/edits")
PROMPT_MAX = 5000
LINK_TTL_MS = {"A": DAY_MS, "B": 3 * DAY_MS, "C": 7 * DAY_MS}

REFUSALS = FaultTable(
    {
        "invalid_parameter": Fault("invalid_request", 400, "The request is invalid."),
        "content_policy": Fault("invalid_request", 400, "The prompt was refused."),
        "capability": Fault("capability_violation", 400, "The model cannot do that."),
        "not_cancellable": Fault("task_not_cancellable", 400, "The task is no longer queued."),
        "bad_key": Fault("unauthorized", 401, "Invalid API key."),
        "unpaid": Fault("insufficient_balance", 402, "The balance is too low."),
        "forbidden": Fault("forbidden", 403, "The key may not be used here."),
        "model_not_found": Fault("invalid_request", 400, "The model does not exist."),
        "task_not_found": Fault("task_not_found", 404, "The task does not exist."),
        "no_route": Fault("not_found", 404, "No such route."),
        "idempotency_conflict": Fault(
            "idempotency_conflict", 409, "The key was used with another body."
        ),
        "too_large": Fault("invalid_request", 413, "The request is too large."),
        "rate": Fault("rate_limited", 429, "Too many requests."),
        "quota_window": Fault(
            "quota_window_exceeded",
            429,
            "The quota of the window is used up.",
            extra={"window": "5h", "used": 500_000, "cap": 500_000, "reset_in_s": 60},
        ),
        "server_error": Fault("internal_error", 500, "Internal error."),
        "price": Fault("price_not_configured", 500, "The model has no price."),
        "unavailable": Fault("service_unavailable", 503, "The service is unavailable."),
        "timeout": Fault("gateway_timeout", 504, "The gateway timed out."),
    }
)

FAILURES = FaultTable(
    {
        "content_policy": Fault(
            "upstream_bad_request", 200, "[upstream_bad_request] prompt refused"
        ),
        "invalid_parameter": Fault("upstream_bad_request", 200, "[upstream_bad_request] refused"),
        "server_error": Fault(
            "upstream_unavailable", 200, "[upstream_unavailable] try again later"
        ),
        "timeout": Fault("task_failed", 200, "[task_failed] the task took too long"),
        "rate": Fault("upstream_rate_limited", 200, "[upstream_rate_limited] busy"),
    }
)

STATUS = {
    Phase.PENDING: "queued",
    Phase.RUNNING: "processing",
    Phase.SUCCEEDED: "completed",
    Phase.FAILED: "failed",
    Phase.CANCELLED: "cancelled",
}


class Qingbo(Vendor):
    """One Qingbo account."""

    refusals = REFUSALS
    failures = FAILURES

    def __init__(self, engine: Engine, gallery: Gallery) -> None:
        super().__init__(engine, gallery)
        self.link_ttl_ms = LINK_TTL_MS[self._generation]

    async def route(self, request: Request) -> Reply:
        """Serve Qingbo's routes."""
        method, path = request.method, request.path
        if (method, path) == ("POST", "/v1/tasks"):
            return await self._create(request)
        if method == "POST" and path in SYNC_PATHS:
            return await self._create_sync(request)
        if (method, path) == ("GET", "/v1/models"):
            return Reply(model_list(self.engine.prices))
        if path.startswith("/v1/tasks/"):
            task_id = path[len("/v1/tasks/") :]
            if method == "GET":
                return await self.query(request, task_id, self._show)
            if method == "POST" and task_id.endswith("/cancel"):
                return await self.cancel(task_id.removesuffix("/cancel"), _cancelled)
        raise Refused("no_route")

    def error(self, fault: Fault, message: str, param: str | None) -> object:
        """An error object without a type; a window that is used up says when it opens again."""
        error: dict[str, object] = {"message": message, "code": fault.code} | dict(fault.extra)
        if param is not None:
            error["param"] = param
        if "reset_in_s" in error:
            reset_in_s = fault.extra["reset_in_s"]
            assert isinstance(reset_in_s, int)
            del error["reset_in_s"]
            error["reset_at"] = self.engine.clock.now_ms() // 1000 + reset_in_s
        return {"error": error}

    def new_id(self, now_ms: int) -> str:
        """``task-wave<unix milliseconds><letter><9 digits>``."""
        letter = secrets.choice("abcdefghijklmnopqrstuvwxyz")
        return f"task-wave{now_ms}{letter}{secrets.randbelow(1_000_000_000):09d}"

    @property
    def _generation(self) -> str:
        return self.engine.vendor.generation

    async def _create(self, request: Request) -> Reply:
        order = self._order(request)
        wait_s = request.prefer_wait_s()

        async def answer(task: SimTask) -> Reply:
            if wait_s:
                await self.finished(task, wait_s)
                return self._show(request, task)
            body = self._frame(task, Phase.PENDING, 0)
            body["created_at"] = task.accepted_ms
            if self._generation != "A":
                body["pre_consumed_cost"] = self._quota(task.order.n, task)
            return Reply(body)

        return await self.submit(request, order, answer)

    async def _create_sync(self, request: Request) -> Reply:
        order = self._order(request)

        async def answer(task: SimTask) -> Reply:
            await self.delivery(task)
            data = [{"url": url} for url in self.links(request, task)]
            return Reply({"created": task.accepted_ms // 1000, "data": data})

        return await self.submit(request, order, answer)

    def _order(self, request: Request) -> Order:
        body = request.json()
        if self._generation == "C":
            for name in body:
                if name not in FIELDS:
                    raise Refused("capability", f"unknown parameter {name}", param=name)
        model = checks.text(body, "model")
        self.sells(model)
        sources = checks.pictures(
            body.get("image_urls"), "image_urls", ("http://", "https://", "data:image/")
        )
        group = checks.flag(body, "enable_sequential")
        action = self._action(body, len(sources), group=group)
        for name in ("watermark", "thinking_mode"):
            checks.flag(body, name)
        if not group:
            checks.palette(body.get("color_palette"), percent=False)
        checks.public_callback(body)
        if any(event not in EVENTS for event in body.get("callback_events") or ()):
            checks.wrong("callback_events", f"known events are {', '.join(EVENTS)}")
        width, height = self._size(body, model, group=group)
        seed = checks.seed(body, low=-1)
        return Order(
            model=model,
            prompt=checks.text(body, "prompt", most=PROMPT_MAX),
            n=checks.whole(body, "n", 1, 12 if group else 4, 1),
            width=width,
            height=height,
            seed=None if seed == -1 else seed,
            format="jpeg",
            key=request.header("idempotency-key"),
            digest=digest_of(request.body),
            traits={"action": action},
        )

    def _action(self, body: dict[str, Any], count: int, *, group: bool) -> str:
        """The action, derived from the fields when it is left out; refused when it contradicts
        them.
        """
        actions = ACTIONS_C if self._generation == "C" else ACTIONS
        boxes = body.get("bbox_list")
        if body.get("action") is None:
            action = _derived(count, group=group, boxes=boxes is not None)
            action = action if action in actions else "edit" if count else "generate"
        else:
            action = checks.word(body, "action", tuple(actions), "generate")
        fewest, most = actions[action]
        if not fewest <= count <= most:
            checks.wrong("image_urls", f"{action} takes {fewest} to {most} pictures, got {count}")
        if action == "group" and not group:
            checks.wrong("enable_sequential", "group needs enable_sequential")
        if boxes is not None and action not in ("interactive_edit", "edit"):
            checks.wrong("bbox_list", "boxes are for interactive_edit")
        if action == "interactive_edit" and boxes is None:
            checks.wrong("bbox_list", "interactive_edit needs boxes")
        checks.boxes(boxes, count)
        return action

    def _size(self, body: dict[str, Any], model: str, *, group: bool) -> tuple[int, int]:
        names = tuple(SIZES)
        if self._generation == "C":
            names = tuple(name.lower() for name in names)
        resolution = checks.word(body, "resolution", names, names[1]).upper()
        ratio = checks.word(body, "aspect_ratio", tuple(SIZES["1K"]), "1:1")
        if resolution == "4K" and (group or (self._generation == "C" and "pro" not in model)):
            checks.wrong("resolution", "4K is not available here")
        return SIZES[resolution][ratio]

    def _show(self, request: Request, task: SimTask) -> Reply:
        now_ms = self.engine.clock.now_ms()
        phase = task.phase(now_ms)
        body = self._frame(task, phase, task.progress(now_ms))
        address = f"{request.origin}/v1/tasks/{task.id}"
        if self._generation != "A":
            body["urls"] = {"get": address, "cancel": f"{address}/cancel"}
        if not phase.terminal:
            return Reply(body)
        body["completed_at"] = self._time(task.ended_ms())
        delivered = task.delivered if phase is Phase.SUCCEEDED else 0
        if self._generation != "A":
            body["cost"] = self._quota(delivered, task)
        if self._generation == "C":
            body["billing_status"] = "charged" if delivered else "refunded"
        if phase is Phase.SUCCEEDED:
            body["result"] = {"images": self._images(request, task)}
        elif phase is Phase.FAILED:
            failure = self.failure(task)
            body["error"] = {"message": failure.message, "code": failure.code}
        return Reply(body)

    def _frame(self, task: SimTask, phase: Phase, progress: int) -> dict[str, Any]:
        shown: int | str = progress
        if self._generation == "C":
            shown = "" if phase is Phase.PENDING else f"{progress}%"
            shown = "100%" if phase.terminal else shown
        return {
            "task_id": task.id,
            "model": task.order.model,
            "action": task.order.traits["action"],
            "status": STATUS[phase],
            "created_at": self._time(task.accepted_ms),
            "progress": shown,
        }

    def _images(self, request: Request, task: SimTask) -> list[dict[str, object]]:
        links = self.links(request, task)
        if self._generation == "A":
            return [{"url": url} for url in links]
        expires_s = (task.ended_ms() + self.link_ttl_ms) // 1000
        return [{"url": [url], "expires_at": expires_s} for url in links]

    def _time(self, at_ms: int) -> int:
        return at_ms if self._generation == "A" else at_ms // 1000

    def _quota(self, count: int, task: SimTask) -> int:
        """Quota units, 500,000 to the USD, of so many pictures."""
        return task.price_usd_micros * count // 2


def _derived(count: int, *, group: bool, boxes: bool) -> str:
    if boxes:
        return "interactive_edit"
    if group:
        return "group"
    if count > 1:
        return "reference"
    return "edit" if count else "generate"


def _cancelled(task: SimTask) -> Reply:
    refunded = task.price_usd_micros * task.order.n // 2
    return Reply(
        {"task_id": task.id, "status": "cancelled", "refunded": True, "refunded_quota": refunded}
    )
