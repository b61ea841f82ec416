"""The fal queue: submit to an application, then ask its status and fetch its result
(providers/others.md).

Argument names follow fal's Wan applications: ``prompt``, ``num_images``, ``image_size`` (preset or
width and height), ``image_urls``, ``seed``.
"""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

from gateway.simulator.faults import Fault, FaultTable, Refused
from gateway.simulator.state import Order, Phase, SimTask
from gateway.simulator.vendors import checks
from gateway.simulator.vendors.base import Vendor, fault_rows
from gateway.simulator.wire import Reply, Request

PRESETS = {
    "square_hd": (1024, 1024),
    "square": (512, 512),
    "portrait_4_3": (768, 1024),
    "portrait_16_9": (576, 1024),
    "landscape_4_3": (1024, 768),
    "landscape_16_9": (1024, 576),
}
DEFAULT_SIDE = 1280
SIDE_BOUNDS = checks.Sides(256, 4096)
EDIT_PICTURES = 2

REFUSALS = FaultTable(
    {
        "invalid_parameter": Fault("value_error", 422, "The value is not valid."),
        "content_policy": Fault("content_policy_violation", 422, "The content was flagged."),
        "bad_key": Fault("unauthorized", 401, "Cannot access application: no valid key."),
        "unpaid": Fault("payment_required", 402, "Exhausted balance."),
        "forbidden": Fault("forbidden", 403, "The key may not use this application."),
        "model_not_found": Fault("not_found", 404, "Application not found."),
        "task_not_found": Fault("request_not_found", 404, "Request not found."),
        "not_cancellable": Fault("ALREADY_COMPLETED", 400, "Already completed."),
        "no_route": Fault("not_found", 404, "Path not found."),
        "too_large": Fault("too_large", 413, "The request is too large."),
        "rate": Fault("rate_limited", 429, "Too many requests."),
        "server_error": Fault("internal_server_error", 500, "Internal server error."),
        "bad_gateway": Fault("bad_gateway", 502, "Bad gateway."),
        "unavailable": Fault("service_unavailable", 503, "Service unavailable."),
        "timeout": Fault("request_timeout", 504, "The request timed out."),
        "in_progress": Fault("request_in_progress", 400, "Request is still in progress."),
    }
)
FAILURES = FaultTable(
    {
        "content_policy": Fault("content_policy_violation", 422, "content flagged"),
        "invalid_parameter": Fault("value_error", 422, "an argument was refused"),
        "server_error": Fault("internal_server_error", 500, "the runner failed"),
        "timeout": Fault("generation_timeout", 504, "the generation took too long"),
        "rate": Fault("downstream_service_unavailable", 503, "a service behind it is busy"),
        "cancelled": Fault("request_cancelled", 499, "request was cancelled"),
    },
    fault_rows([(500, "runner_disconnected", "the runner went away")]),
)


class Fal(Vendor):
    """One fal account."""

    prefix = ""
    scheme: ClassVar[str] = "Key "
    refusals = REFUSALS
    failures = FAILURES

    async def route(self, request: Request) -> Reply:
        """Serve the queue's routes: everything before ``/requests/`` names the application."""
        path = request.path.strip("/")
        app, found, rest = path.partition("/requests/")
        if request.method == "POST" and not found:
            return await self._submit(request, app)
        task_id, _, verb = rest.partition("/")
        call = (request.method, verb)
        if call == ("GET", "status"):
            return await self.query(request, task_id, self._status)
        if call == ("GET", ""):
            return await self.query(request, task_id, self._result)
        if call == ("PUT", "cancel"):
            phases = (Phase.PENDING, Phase.RUNNING)
            return await self._cancel(task_id, phases)
        raise Refused("no_route")

    def error(self, fault: Fault, message: str, param: str | None) -> object:
        """A ``detail`` text, or a list naming the argument."""
        if fault.code == "ALREADY_COMPLETED":
            return {"status": fault.code}
        if fault.status == 422:
            place = ["body"] if param is None else ["body", param]
            return {"detail": [{"loc": place, "msg": message, "type": fault.code}]}
        return {"detail": message, "error_type": fault.code}

    def new_id(self, now_ms: int) -> str:
        """A UUID."""
        return str(uuid.uuid4())

    async def _submit(self, request: Request, app: str) -> Reply:
        self.sells(app)
        order = self._order(request.json(), app)

        async def answer(task: SimTask) -> Reply:
            address = f"{request.origin}/{'/'.join(app.split('/')[:2])}/requests/{task.id}"
            return Reply(
                {
                    "request_id": task.id,
                    "response_url": address,
                    "status_url": f"{address}/status",
                    "cancel_url": f"{address}/cancel",
                    "queue_position": self.engine.in_flight,
                }
            )

        return await self.submit(request, order, answer)

    def _order(self, body: dict[str, Any], app: str) -> Order:
        sources = checks.pictures(
            body.get("image_urls"), "image_urls", ("http://", "https://", "data:")
        )
        edit = "image-to-image" in app
        if edit and not 1 <= len(sources) <= EDIT_PICTURES:
            checks.wrong("image_urls", f"1 to {EDIT_PICTURES} pictures are required")
        if sources and not edit:
            checks.wrong("image_urls", "this application takes no pictures")
        width, height = _size(body.get("image_size"))
        return Order(
            model=app,
            prompt=checks.text(body, "prompt", most=2000),
            n=checks.whole(body, "num_images", 1, 4, 1),
            width=width,
            height=height,
            seed=checks.seed(body),
        )

    def _status(self, request: Request, task: SimTask) -> Reply:
        phase = task.phase(self.engine.clock.now_ms())
        if phase is Phase.PENDING:
            return Reply({"status": "IN_QUEUE", "queue_position": 0, "request_id": task.id})
        if phase is Phase.RUNNING:
            return Reply({"status": "IN_PROGRESS", "logs": None})
        seconds = (task.ended_ms() - task.start_ms) / 1000
        body: dict[str, Any] = {"status": "COMPLETED", "logs": None}
        if phase is Phase.SUCCEEDED:
            return Reply(body | {"metrics": {"inference_time": seconds}})
        failure = self._ending(task, phase)
        return Reply(body | {"error": failure.message, "error_type": failure.code})

    def _result(self, request: Request, task: SimTask) -> Reply:
        phase = task.phase(self.engine.clock.now_ms())
        if not phase.terminal:
            raise Refused("in_progress")
        if phase is not Phase.SUCCEEDED:
            failure = self._ending(task, phase)
            body = self.error(failure, failure.message, None)
            return Reply(body, failure.status, {"x-fal-error-type": str(failure.code)})
        order = task.order
        images = [
            {
                "url": url,
                "width": order.width,
                "height": order.height,
                "content_type": "image/png",
            }
            for url in self.links(request, task)
        ]
        return Reply({"images": images, "seed": order.seed or 0})

    def _ending(self, task: SimTask, phase: Phase) -> Fault:
        return self.failures["cancelled"] if phase is Phase.CANCELLED else self.failure(task)

    async def _cancel(self, task_id: str, phases: tuple[Phase, ...]) -> Reply:
        """A queued request is removed; a running one only gets a signal, and goes on."""
        task = self.engine.find(task_id)
        if task is not None and task.phase(self.engine.clock.now_ms()) is Phase.RUNNING:
            await self.listing()
            return Reply({"status": "CANCELLATION_REQUESTED"}, 202)
        return await self.cancel(
            task_id, lambda _: Reply({"status": "CANCELLATION_REQUESTED"}, 202)
        )


def _size(value: object) -> tuple[int, int]:
    if value is None:
        return DEFAULT_SIDE, DEFAULT_SIDE
    if isinstance(value, dict):
        width = checks.whole(value, "width", SIDE_BOUNDS.least, SIDE_BOUNDS.most, DEFAULT_SIDE)
        return width, checks.whole(
            value, "height", SIDE_BOUNDS.least, SIDE_BOUNDS.most, DEFAULT_SIDE
        )
    if value not in PRESETS:
        checks.wrong("image_size", f"width and height, or one of {', '.join(PRESETS)}")
    return PRESETS[str(value)]
