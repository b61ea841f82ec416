"""EvoLink: ``/v1/images/generations`` answers a task, ``/v1/tasks`` tells how it is
(providers/evolink.md).

Callbacks are validated but never sent.
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Sequence
from typing import Any

from gateway.simulator.faults import Fault, FaultTable, Refused
from gateway.simulator.state import Order, Phase, SimTask
from gateway.simulator.vendors import checks
from gateway.simulator.vendors.base import Vendor, digest_of, fault_rows, model_list
from gateway.simulator.wire import Reply, Request

GENERATE_SIZE = checks.Area(768 * 768, 1440 * 1440, 4)
EDIT_SIZE = checks.Area(768 * 768, 1280 * 1280, 4)
EDIT_MODELS = ("wan2.5-image-to-image", "wan2.5-i2i-preview")
BATCH_MAX = 50
_BASE36 = string.ascii_lowercase + string.digits
_CALLER = "invalid_request_error"
_FUNDS = "insufficient_quota_error"

REFUSALS = FaultTable(
    {
        "invalid_parameter": Fault("invalid_parameters", 400, "Invalid parameters.", _CALLER),
        "content_policy": Fault(
            "content_policy_violation",
            400,
            "The prompt was rejected by the content filter.",
            _CALLER,
        ),
        "bad_key": Fault(401, 401, "Invalid API key.", "authentication_error"),
        "unpaid": Fault(402, 402, "Balance too low.", _FUNDS),
        "forbidden": Fault(
            "key_model_not_allowed", 403, "The key may not use this model.", "permission_error"
        ),
        "model_not_found": Fault(404, 404, "No such model.", "not_found_error"),
        "task_not_found": Fault("task_not_found", 404, "No such task.", "not_found_error"),
        "no_route": Fault(404, 404, "No such route.", "not_found_error"),
        "too_large": Fault(413, 413, "The request is too large.", "request_too_large_error"),
        "rate": Fault("rate_limited", 429, "Too many requests.", "rate_limit_error"),
        "server_error": Fault(500, 500, "Internal server error.", "internal_server_error"),
        "bad_gateway": Fault("upstream_error", 502, "The backend failed.", "upstream_error"),
        "unavailable": Fault(
            "no_available_channel", 503, "No channel is available.", "service_unavailable_error"
        ),
        "timeout": Fault(504, 504, "The backend took too long.", "upstream_error"),
        "idempotency_conflict": Fault(
            "idempotency_conflict", 409, "The key was used with another body.", _CALLER
        ),
    },
    [
        *fault_rows(
            [
                (400, code, "The request was refused.")
                for code in (
                    "invalid_task_id",
                    "content_filter",
                    "sensitive_content",
                    "moderation_blocked",
                    "input_moderation_failed",
                )
            ],
            _CALLER,
        ),
        *fault_rows(
            [(401, "key_disabled", "Key disabled."), (401, "key_expired", "Key expired.")],
            "authentication_error",
        ),
        *fault_rows(
            [
                (402, code, "Balance too low.")
                for code in (
                    "insufficient_quota",
                    "insufficient_user_quota",
                    "quota_not_enough",
                    "account_balance_insufficient",
                    "insufficient_token_quota",
                    "key_quota_exhausted",
                    "token_daily_quota_exceeded",
                    "key_daily_quota_exhausted",
                )
            ],
            _FUNDS,
        ),
        Fault("user_disabled", 403, "The user is disabled.", "permission_error"),
        Fault("paid_outcome_unknown", 409, "The outcome is not known.", _CALLER),
        *fault_rows(
            [
                (503, code, "The service is unavailable.")
                for code in ("model_unavailable", "channel_selection_failed", "service_unavailable")
            ],
            "service_unavailable_error",
        ),
    ],
)

FAILURES = FaultTable(
    {
        "content_policy": Fault(
            "content_policy_violation", 200, "The prompt was rejected by the content filter."
        ),
        "invalid_parameter": Fault("invalid_parameters", 200, "A parameter was refused."),
        "server_error": Fault("service_error", 200, "The service failed."),
        "timeout": Fault("generation_timeout", 200, "The generation took too long."),
        "rate": Fault("rate_limited", 200, "The backend is busy."),
    },
    fault_rows(
        [
            (200, code, f"The task ended with {code}.")
            for code in (
                "image_processing_error",
                "image_dimension_mismatch",
                "request_cancelled",
                "generation_failed_no_content",
                "resource_exhausted",
                "service_unavailable",
                "resource_not_found",
                "model_unavailable",
                "upstream_error",
                "unknown_error",
                "quota_exceeded",
            )
        ]
    ),
)

STATUS = {
    Phase.PENDING: "pending",
    Phase.RUNNING: "processing",
    Phase.SUCCEEDED: "completed",
    Phase.FAILED: "failed",
    Phase.CANCELLED: "cancelled",
}


class EvoLink(Vendor):
    """One EvoLink account."""

    refusals = REFUSALS
    failures = FAILURES

    async def route(self, request: Request) -> Reply:
        """Serve EvoLink's routes."""
        call = (request.method, request.path)
        if call == ("POST", "/v1/images/generations"):
            return await self._create(request)
        if call == ("POST", "/v1/tasks/batch"):
            return await self._batch(request)
        if call == ("GET", "/v1/tasks"):
            return await self._list(request)
        if call == ("GET", "/v1/credits"):
            return Reply(self._credits())
        if call == ("GET", "/v1/models"):
            return Reply(model_list(self.engine.prices))
        if request.method == "GET" and request.path.startswith("/v1/tasks/"):
            return await self.query(request, request.path[len("/v1/tasks/") :], self._show)
        raise Refused("no_route")

    def error(self, fault: Fault, message: str, param: str | None) -> object:
        """An error body: numeric codes come in the older envelope, words in the newer."""
        body: dict[str, object] = {"code": fault.code, "message": message, "type": fault.type}
        if isinstance(fault.code, int):
            body |= {"param": param, "fallback_suggestion": None}
        elif param is not None:
            body["param"] = param
        return {"error": body}

    def new_id(self, now_ms: int) -> str:
        """``task-unified-<unix seconds>-<8 base-36 characters>``."""
        tail = "".join(secrets.choice(_BASE36) for _ in range(8))
        return f"task-unified-{now_ms // 1000}-{tail}"

    async def _create(self, request: Request) -> Reply:
        order = self._order(request)

        async def answer(task: SimTask) -> Reply:
            body = _frame(task, "pending", 0)
            estimated_s = max(1, (task.finish_ms - task.accepted_ms) // 1000)
            body["task_info"] = {"can_cancel": True, "estimated_time": min(estimated_s, 600)}
            body["usage"] = _usage(task)
            return Reply(body)

        return await self.submit(request, order, answer)

    def _order(self, request: Request) -> Order:
        body = request.json()
        model = checks.text(body, "model")
        self.sells(model)
        edit = model in EDIT_MODELS
        prompt = checks.text(body, "prompt", most=2000)
        checks.flag(body, "prompt_extend", default=True)
        checks.public_callback(body)
        sources = checks.pictures(body.get("image_urls"), "image_urls", ("https://", "http://"))
        if edit and not 1 <= len(sources) <= 2:
            checks.wrong("image_urls", "1 or 2 pictures are required")
        if not edit and sources:
            checks.wrong("image_urls", f"{model} takes no pictures")
        width, height = checks.pixels(body.get("size") or "1280x1280", "x")
        (EDIT_SIZE if edit else GENERATE_SIZE).check(width, height)
        key = request.header("idempotency-key")
        if key is not None and not 16 <= len(key) <= 96:
            checks.wrong("Idempotency-Key", "16 to 96 characters are required")
        return Order(
            model=model,
            prompt=prompt,
            n=checks.whole(body, "n", 1, 4, 1),
            width=width,
            height=height,
            key=key,
            digest=digest_of(request.body),
        )

    def _show(self, request: Request, task: SimTask) -> Reply:
        now_ms = self.engine.clock.now_ms()
        phase = task.phase(now_ms)
        body = _frame(task, STATUS[phase], task.progress(now_ms))
        if not phase.terminal:
            left_s = max(1, (min(task.finish_ms, now_ms + 600_000) - now_ms) // 1000)
            body["task_info"] = {"can_cancel": True, "estimated_time": left_s}
            return Reply(body)
        body["task_info"] = {"can_cancel": False}
        if phase is Phase.SUCCEEDED:
            body["results"] = self.links(request, task)
            body["usage"] = _usage(task)
        elif phase is Phase.FAILED:
            failure = self.failure(task)
            body["error"] = {"code": failure.code, "message": failure.message}
        else:
            body["error"] = {"code": "request_cancelled", "message": "The task was cancelled."}
        return Reply(body)

    async def _batch(self, request: Request) -> Reply:
        ids = request.json().get("task_ids")
        if not isinstance(ids, list) or not 1 <= len(ids) <= BATCH_MAX:
            checks.wrong("task_ids", f"1 to {BATCH_MAX} task ids are required")

        def shown(tasks: Sequence[SimTask]) -> Reply:
            return Reply({"data": [self._show(request, task).payload for task in tasks]})

        return await self.query_many([str(task_id) for task_id in ids], shown)

    async def _list(self, request: Request) -> Reply:
        await self.listing()
        asked = request.query
        page, size = checks.number(asked, "page", 1), checks.number(asked, "page_size", 20)
        now_ms = self.engine.clock.now_ms()
        wanted = {"processing": ("processing", "pending")}.get(
            asked.get("status", ""), (asked.get("status"),)
        )
        found = [
            task
            for task in self.engine.newest()
            if (wanted == (None,) or STATUS[task.phase(now_ms)] in wanted)
            and asked.get("model", task.order.model) == task.order.model
        ]
        rows = [_row(task, now_ms) for task in found[(page - 1) * size : page * size]]
        return Reply({"data": rows, "total": len(found), "page": page, "page_size": size})

    def _credits(self) -> dict[str, object]:
        bill = self.engine.bill()
        used = bill.amount_usd_micros * 68 / 1_000_000
        user = {"remaining_credits": round(100_000 - used, 3), "used_credits": round(used, 3)}
        return {"success": True, "data": {"user": user, "token": dict(user)}}


def _frame(task: SimTask, status: str, progress: int) -> dict[str, Any]:
    return {
        "created": task.accepted_ms // 1000,
        "id": task.id,
        "model": task.order.model,
        "object": "image.generation.task",
        "progress": progress,
        "status": status,
        "type": "image",
    }


def _usage(task: SimTask) -> dict[str, object]:
    reserved = task.order.n * 3 // 2
    return {"billing_rule": "per_call", "credits_reserved": reserved, "user_group": "default"}


def _row(task: SimTask, now_ms: int) -> dict[str, object]:
    phase = task.phase(now_ms)
    return {
        "id": task.id,
        "status": STATUS[phase],
        "model": task.order.model,
        "type": "image",
        "progress": task.progress(now_ms),
        "created_at": task.accepted_ms // 1000,
        "has_results": phase is Phase.SUCCEEDED and task.delivered > 0,
        "has_error": phase is Phase.FAILED,
        "credits_used": task.delivered * 3 // 2 if phase is Phase.SUCCEEDED else 0,
    }
