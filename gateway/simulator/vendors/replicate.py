"""Replicate predictions (providers/others.md).

Input names differ by model there; these are understood: ``prompt``, ``num_outputs`` or ``n``,
``size`` (``W*H`` or ``WxH``) or ``width`` and ``height``, ``images`` or ``image``, ``seed``.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Any, ClassVar

from gateway.simulator.faults import Fault, FaultTable, Refused
from gateway.simulator.state import Order, Phase, SimTask
from gateway.simulator.vendors import checks
from gateway.simulator.vendors.base import Vendor
from gateway.simulator.wire import Reply, Request

PREDICTIONS = "/v1/predictions"
MODELS = "/v1/models/"
DEFAULT_SIDE = 1280
SIDE_BOUNDS = checks.Sides(256, 4096)
HOUR_MS = 3600 * 1000
LISTED = 100
_ID_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"

REFUSALS = FaultTable(
    {
        "invalid_parameter": Fault(None, 422, "The input is not valid.", "Input validation failed"),
        "content_policy": Fault(None, 422, "The input was flagged.", "Input flagged"),
        "bad_key": Fault(
            None, 401, "You did not pass a valid authentication token.", "Unauthenticated"
        ),
        "unpaid": Fault(
            None, 402, "You have insufficient credit to run this model.", "Insufficient credit"
        ),
        "forbidden": Fault(None, 403, "The token may not run this model.", "Forbidden"),
        "model_not_found": Fault(None, 404, "The requested resource was not found.", "Not found"),
        "task_not_found": Fault(None, 404, "The requested resource was not found.", "Not found"),
        "not_cancellable": Fault(None, 422, "The prediction has ended.", "Cannot cancel"),
        "no_route": Fault(None, 404, "The requested resource was not found.", "Not found"),
        "too_large": Fault(None, 413, "The request is too large.", "Payload too large"),
        "rate": Fault(None, 429, "Request was throttled.", "Too many requests"),
        "server_error": Fault(None, 500, "Internal server error.", "Internal server error"),
        "unavailable": Fault(None, 503, "Service unavailable.", "Service unavailable"),
        "timeout": Fault(None, 504, "Gateway timeout.", "Gateway timeout"),
    }
)
FAILURES = FaultTable(
    {
        "content_policy": Fault(None, 200, "NSFW content detected. Try a different prompt."),
        "invalid_parameter": Fault(None, 200, "ValueError: an input was refused."),
        "server_error": Fault(None, 200, "Prediction failed: the model crashed (E1000)."),
        "timeout": Fault(None, 200, "Prediction timed out."),
        "rate": Fault(None, 200, "Prediction failed: the service behind it is busy (E003)."),
    }
)
STATUS = {
    Phase.PENDING: "starting",
    Phase.RUNNING: "processing",
    Phase.SUCCEEDED: "succeeded",
    Phase.FAILED: "failed",
    Phase.CANCELLED: "canceled",
}


class Replicate(Vendor):
    """One Replicate account."""

    refusals = REFUSALS
    failures = FAILURES
    link_ttl_ms = HOUR_MS
    busy_retry_after_s: ClassVar[int | None] = 1

    async def route(self, request: Request) -> Reply:
        """Serve Replicate's routes."""
        method, path = request.method, request.path
        if method == "POST" and path.startswith(MODELS) and path.endswith("/predictions"):
            model = path[len(MODELS) : -len("/predictions")]
            return await self._create(request, model)
        if (method, path) == ("POST", PREDICTIONS):
            version = str(request.json().get("version") or "")
            return await self._create(request, version.partition(":")[0])
        if (method, path) == ("GET", PREDICTIONS):
            return await self._list(request)
        if path.startswith(PREDICTIONS + "/"):
            task_id = path[len(PREDICTIONS) + 1 :]
            if method == "GET":
                return await self.query(request, task_id, self._show)
            if method == "POST" and task_id.endswith("/cancel"):
                task_id = task_id.removesuffix("/cancel")
                phases = (Phase.PENDING, Phase.RUNNING)
                return await self.cancel(task_id, lambda task: self._show(request, task), phases)
        raise Refused("no_route")

    def error(self, fault: Fault, message: str, param: str | None) -> object:
        """An RFC 7807 problem."""
        return {
            "title": fault.type,
            "detail": message if param is None else f"- input.{param}: {message}",
            "status": fault.status,
            "type": "about:blank",
            "instance": f"/requests/{secrets.token_hex(8)}",
        }

    def new_id(self, now_ms: int) -> str:
        """26 lower-case letters and digits."""
        return "".join(secrets.choice(_ID_LETTERS) for _ in range(26))

    async def _create(self, request: Request, model: str) -> Reply:
        self.sells(model)
        source = request.json().get("input")
        if not isinstance(source, dict):
            checks.wrong("input", "an object is required")
        order = _order(source, model)
        wait_s = request.prefer_wait_s()

        async def answer(task: SimTask) -> Reply:
            ended = not wait_s or (await self.finished(task, wait_s)).terminal
            reply = self._show(request, task)
            reply.status = 201 if ended else 202
            return reply

        return await self.submit(request, order, answer)

    def _show(self, request: Request, task: SimTask) -> Reply:
        return Reply(self._prediction(request, task))

    def _prediction(self, request: Request, task: SimTask) -> dict[str, Any]:
        phase = task.phase(self.engine.clock.now_ms())
        address = f"{request.origin}{PREDICTIONS}/{task.id}"
        started = phase is not Phase.PENDING and task.start_ms <= task.ended_ms()
        body: dict[str, Any] = {
            "id": task.id,
            "model": task.order.model,
            "version": "hidden",
            "status": STATUS[phase],
            "input": task.order.traits["input"],
            "output": None,
            "error": None,
            "logs": "",
            "metrics": {},
            "created_at": _time(task.accepted_ms),
            "started_at": _time(task.start_ms) if started else None,
            "completed_at": _time(task.ended_ms()) if phase.terminal else None,
            "urls": {"get": address, "cancel": f"{address}/cancel"},
        }
        if phase is Phase.SUCCEEDED:
            body["output"] = self.links(request, task)
            body["metrics"] = {"predict_time": (task.finish_ms - task.start_ms) / 1000}
        elif phase is Phase.FAILED:
            body["error"] = self.failure(task).message
        return body

    async def _list(self, request: Request) -> Reply:
        await self.listing()
        newest = [task for task, _ in zip(self.engine.newest(), range(LISTED), strict=False)]
        results = [self._prediction(request, task) for task in newest]
        return Reply({"results": results, "next": None, "previous": None})


def _order(source: dict[str, Any], model: str) -> Order:
    images = source.get("images") or source.get("image")
    listed = images if isinstance(images, list) else [images] if images else []
    checks.pictures(listed, "images", ("http://", "https://", "data:"))
    width, height = _size(source)
    most = 4
    count = checks.whole(source, "num_outputs", 1, most, checks.whole(source, "n", 1, most, 1))
    return Order(
        model=model,
        prompt=checks.text(source, "prompt"),
        n=count,
        width=width,
        height=height,
        seed=checks.seed(source),
        traits={"input": source},
    )


def _size(source: dict[str, Any]) -> tuple[int, int]:
    size = source.get("size")
    if size:
        width, height = checks.pixels(str(size).replace("x", "*"), "*")
    else:
        width = checks.whole(source, "width", 1, SIDE_BOUNDS.most, DEFAULT_SIDE)
        height = checks.whole(source, "height", 1, SIDE_BOUNDS.most, DEFAULT_SIDE)
    SIDE_BOUNDS.check(width, height)
    return width, height


def _time(at_ms: int) -> str:
    moment = datetime.fromtimestamp(at_ms / 1000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at_ms % 1000:03d}Z"
