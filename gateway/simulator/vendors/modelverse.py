"""UCloud Modelverse: pictures from a blocking call, or tasks by submit and status
(providers/modelverse.md).
"""

from __future__ import annotations

import secrets
import uuid
from typing import Any

from gateway.simulator.faults import Fault, FaultTable, Refused
from gateway.simulator.state import Order, Phase, SimTask
from gateway.simulator.vendors import checks
from gateway.simulator.vendors.base import Vendor, fault_rows, model_list
from gateway.simulator.vendors.dashscope_faults import FAULTS as DASHSCOPE_FAULTS
from gateway.simulator.wire import Reply, Request

SIZES = {
    "1K": 1024,
    "2K": 2048,
    "4K": 4096,
    "1024x1024": 1024,
    "2048x2048": 2048,
    "4096x4096": 4096,
}
OTHER_SIDES = checks.Sides(256, 1536)
PROMPT_MAX = 5000
PICTURES_MAX = 9
_CALLER = "invalid_request_error"

REFUSALS = FaultTable(
    {
        "invalid_parameter": Fault("param_error", 400, "Invalid param", _CALLER),
        "content_policy": Fault("sensitive_check_error", 400, "Content was rejected", _CALLER),
        "bad_key": Fault("auth_error", 401, "Invalid token", _CALLER),
        "unpaid": Fault("forbidden", 403, "The quota of the key is used up", "permission_error"),
        "forbidden": Fault("forbidden", 403, "The key may not be used here", "permission_error"),
        "model_not_found": Fault("model_error", 400, "No permission for the model", _CALLER),
        "task_not_found": Fault("param_error", 400, "task not found", _CALLER),
        "no_route": Fault("param_error", 400, "Unsupported endpoint", _CALLER),
        "too_large": Fault("tokens_too_long", 400, "The prompt is too long", _CALLER),
        "rate": Fault("rate_limit", 429, "Too many requests", "rate_limit_error"),
        "server_error": Fault("internal_error", 500, "Internal error", "internal_error"),
        "unavailable": Fault("model_server_error", 500, "The model failed", "internal_error"),
        "timeout": Fault("gateway_timeout_error", 504, "Gateway timeout", "timeout"),
        "request_timeout": Fault("timeout", 408, "Request timeout", "timeout"),
    },
    fault_rows(
        [
            (400, "invalid_messages", "Content was rejected"),
            (400, "websearch_error", "Web search failed"),
        ],
        _CALLER,
    ),
)

STATUS = {
    Phase.PENDING: "Pending",
    Phase.RUNNING: "Running",
    Phase.SUCCEEDED: "Success",
    Phase.FAILED: "Failure",
    Phase.CANCELLED: "Cancelled",
}


class Modelverse(Vendor):
    """One Modelverse account. Failed tasks carry DashScope's codes."""

    refusals = REFUSALS
    failures = DASHSCOPE_FAULTS

    async def route(self, request: Request) -> Reply:
        """Serve Modelverse's routes."""
        call = (request.method, request.path)
        if call == ("POST", "/v1/images/generations"):
            return await self._generate(request)
        if call == ("POST", "/v1/tasks/submit"):
            return await self._submit(request)
        if call == ("GET", "/v1/tasks/status"):
            return await self.query(request, request.query.get("task_id", ""), self._show)
        if call == ("GET", "/v1/models"):
            return Reply(model_list(self.engine.prices))
        raise Refused("no_route")

    def error(self, fault: Fault, message: str, param: str | None) -> object:
        """An error object whose ``param`` is the request id, as the vendor has it."""
        error = {
            "message": message,
            "type": fault.type,
            "param": f"req_{secrets.token_hex(8)}",
            "code": fault.code,
        }
        return {"error": error}

    def new_id(self, now_ms: int) -> str:
        """A UUID."""
        return str(uuid.uuid4())

    async def _generate(self, request: Request) -> Reply:
        body = request.json()
        sources = _sources(body, ("images", "image"))
        group = checks.flag(body, "enable_sequential")
        checks.flag(body, "thinking_mode")
        order = self._order(body, body, sources, group=group, most=12 if group else 4)

        async def answer(task: SimTask) -> Reply:
            await self.delivery(task)
            data = [{"url": url} for url in self.links(request, task)]
            return Reply({"created": task.accepted_ms // 1000, "data": data})

        return await self.submit(request, order, answer)

    async def _submit(self, request: Request) -> Reply:
        body = request.json()
        source, parameters = body.get("input"), body.get("parameters") or {}
        if not isinstance(source, dict) or not isinstance(parameters, dict):
            checks.wrong("input", "input and parameters must be objects")
        sources = _sources(source, ("images", "img_url", "first_frame_url"))
        group = checks.flag(parameters, "enable_sequential")
        checks.flag(parameters, "prompt_extend")
        flat = {**parameters, "model": body.get("model"), "prompt": source.get("prompt")}
        order = self._order(flat, parameters, sources, group=group, most=4)

        async def answer(task: SimTask) -> Reply:
            request_id = f"req_{secrets.token_hex(8)}"
            return Reply({"output": {"task_id": task.id}, "request_id": request_id})

        return await self.submit(request, order, answer)

    def _order(
        self,
        body: dict[str, Any],
        parameters: dict[str, Any],
        sources: list[str],
        *,
        group: bool,
        most: int,
    ) -> Order:
        model = checks.text(body, "model")
        self.sells(model)
        prompt = body.get("prompt") or ""
        if not isinstance(prompt, str) or not (prompt or sources):
            checks.wrong("prompt", "a prompt or a picture is required")
        if len(prompt) > PROMPT_MAX:
            raise Refused("too_large", f"The prompt is longer than {PROMPT_MAX} characters")
        plain = not group and not sources
        width, height = _size(parameters.get("size"), model, plain=plain)
        checks.flag(parameters, "watermark")
        return Order(
            model=model,
            prompt=prompt,
            n=checks.whole(parameters, "n", 1, most, 1),
            width=width,
            height=height,
            seed=checks.seed(parameters) or None,
        )

    def _show(self, request: Request, task: SimTask) -> Reply:
        phase = task.phase(self.engine.clock.now_ms())
        output: dict[str, Any] = {
            "task_id": task.id,
            "task_status": STATUS[phase],
            "submit_time": task.accepted_ms // 1000,
        }
        body: dict[str, Any] = {"output": output, "request_id": ""}
        if phase.terminal:
            output["finish_time"] = task.ended_ms() // 1000
        if phase is Phase.SUCCEEDED:
            output["urls"] = self.links(request, task)
            body["usage"] = {"completion_tokens": task.delivered, "total_tokens": task.delivered}
        elif phase is Phase.FAILED:
            failure = self.failure(task)
            output["error_message"] = f"code={failure.code}, message={failure.message}"
        return Reply(body)


def _size(size: object, model: str, *, plain: bool) -> tuple[int, int]:
    """Wan models take the named squares, others any size of legal sides (models.md section 1)."""
    if not model.startswith("wan2.7-image"):
        width, height = checks.pixels(size or "1024x1024", "x")
        OTHER_SIDES.check(width, height)
        return width, height
    side = SIZES.get(str(size or "2K"))
    if side is None:
        checks.wrong("size", f"must be one of {', '.join(SIZES)}")
    if side > 2048 and not (plain and model.endswith("-pro")):
        checks.wrong("size", "4K is for wan2.7-image-pro without pictures and groups")
    return side, side


def _sources(fields: dict[str, Any], names: tuple[str, ...]) -> list[str]:
    """The pictures of the first named field that has any; the list field comes first."""
    for name in names:
        value = fields.get(name)
        if not value:
            continue
        listed = checks.pictures(
            value if isinstance(value, list) else [value], name, ("http://", "https://", "data:")
        )
        if len(listed) > PICTURES_MAX:
            checks.wrong(name, f"at most {PICTURES_MAX} pictures")
        return listed
    return []
