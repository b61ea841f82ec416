"""OpenAI images: generations, edits (multipart and JSON), streaming, models (providers/openai.md).

GPT image models are strict and answer base64. Models that only the price table knows behave as an
OpenAI-compatible third party's: extra fields pass, and the answer is links unless ``b64_json`` is
asked.
"""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import orjson
from starlette.datastructures import UploadFile

from gateway.simulator.faults import Fault, FaultTable, Refused
from gateway.simulator.state import Order, Phase, SimTask
from gateway.simulator.vendors.base import Vendor, fault_rows, model_list
from gateway.simulator.vendors.openai_models import check_pictures, order_of, refuse
from gateway.simulator.wire import Reply, Request

DEFAULT_MODEL = "gpt-image-1.5"
HOUR_MS = 3600 * 1000
_CALLER = "invalid_request_error"

FAULTS = FaultTable(
    {
        "invalid_parameter": Fault("invalid_value", 400, "Invalid value.", _CALLER),
        "content_policy": Fault(
            "moderation_blocked",
            400,
            "Your request was rejected by the safety system.",
            "image_generation_user_error",
        ),
        "bad_key": Fault("invalid_api_key", 401, "Incorrect API key provided.", _CALLER),
        "unpaid": Fault(
            "insufficient_quota", 429, "You exceeded your current quota.", "insufficient_quota"
        ),
        "forbidden": Fault(
            None, 403, "Your organization must be verified to use this model.", _CALLER
        ),
        "model_not_found": Fault("model_not_found", 404, "The model does not exist.", _CALLER),
        "no_route": Fault(None, 404, "Invalid URL.", _CALLER),
        "too_large": Fault(None, 413, "The request is too large.", _CALLER),
        "rate": Fault("rate_limit_exceeded", 429, "Rate limit reached.", "requests"),
        "server_error": Fault("server_error", 500, "The server had an error.", "server_error"),
        "bad_gateway": Fault("server_error", 502, "Bad gateway.", "server_error"),
        "unavailable": Fault("overloaded", 503, "The engine is overloaded.", "server_error"),
        "timeout": Fault("server_error", 504, "The request timed out.", "server_error"),
    },
    [
        *fault_rows(
            [
                (400, "invalid_size", "Invalid size."),
                (400, "unknown_parameter", "Unknown parameter."),
                (400, "missing_required_parameter", "Missing required parameter."),
                (400, "string_above_max_length", "The text is too long."),
                (400, "invalid_image_format", "Invalid image format."),
                (
                    400,
                    "content_policy_violation",
                    "Your request was rejected by the safety system.",
                ),
            ],
            _CALLER,
        ),
        Fault(
            "billing_hard_limit_reached",
            400,
            "Billing hard limit has been reached.",
            "billing_limit_user_error",
        ),
        Fault("account_deactivated", 401, "The account is deactivated.", _CALLER),
        Fault(
            "unsupported_country_region_territory",
            403,
            "Country not supported.",
            "request_forbidden",
        ),
        Fault("engine_overloaded", 503, "The engine is overloaded.", "server_error"),
    ],
)


class OpenAI(Vendor):
    """One OpenAI, or OpenAI-compatible, account."""

    refusals = FAULTS
    failures = FAULTS
    link_ttl_ms = HOUR_MS
    busy_retry_after_s: ClassVar[int | None] = 1

    async def handle(self, request: Request) -> Reply:
        """Serve one request, adding OpenAI's response headers."""
        started = time.monotonic()
        reply = await super().handle(request)
        reply.headers["x-request-id"] = f"req_{secrets.token_hex(16)}"
        reply.headers["openai-processing-ms"] = str(int((time.monotonic() - started) * 1000))
        return reply

    async def route(self, request: Request) -> Reply:
        """Serve OpenAI's routes."""
        call = (request.method, request.path)
        if call == ("POST", "/v1/images/generations"):
            return await self._generate(request)
        if call == ("POST", "/v1/images/edits"):
            return await self._edit(request)
        if call == ("GET", "/v1/models"):
            return Reply(model_list(self.engine.prices))
        if request.method == "GET" and request.path.startswith("/v1/models/"):
            model = request.path[len("/v1/models/") :]
            self.sells(model)
            return Reply(model_list([model])["data"][0])
        raise Refused("no_route", f"Invalid URL ({request.method} {request.path})")

    def error(self, fault: Fault, message: str, param: str | None) -> object:
        """OpenAI's error object."""
        error = {"message": message, "type": fault.type, "param": param, "code": fault.code}
        return {"error": error}

    def new_id(self, now_ms: int) -> str:
        """Synchronous calls have no id on the wire; this one names them in the bill."""
        return f"img_{secrets.token_hex(12)}"

    async def _generate(self, request: Request) -> Reply:
        fields = request.json()
        order = order_of(fields, self._model(fields))
        return await self._answer(request, order, "image_generation")

    async def _edit(self, request: Request) -> Reply:
        if (request.header("content-type") or "").startswith("application/json"):
            order = self._json_edit(request)
        else:
            order = await self._form_edit(request)
        return await self._answer(request, order, "image_edit")

    def _json_edit(self, request: Request) -> Order:
        fields = request.json()
        images = fields.get("images")
        if not isinstance(images, list) or not 1 <= len(images) <= 16:
            refuse("images", "1 to 16 images are required.")
        for entry in images:
            address = entry.get("image_url") if isinstance(entry, dict) else None
            if not isinstance(address, str) or not address.startswith(("https://", "data:image/")):
                refuse("images", "Each image needs an image_url.")
        order = order_of(fields, self._model(fields))
        order.traits |= {"pictures": len(images), "mask": "mask" in fields}
        return order

    async def _form_edit(self, request: Request) -> Order:
        fields: dict[str, Any] = {}
        pictures: list[bytes] = []
        mask: bytes | None = None
        async with request.form() as form:
            for name, value in form.multi_items():
                if not isinstance(value, UploadFile):
                    fields[name] = value
                elif name in ("image", "image[]"):
                    pictures.append(await value.read())
                elif name == "mask":
                    mask = await value.read()
                else:
                    refuse(name, f"Unknown parameter: '{name}'.", "unknown_parameter")
        model = self._model(fields)
        check_pictures(pictures, mask, model)
        order = order_of(fields, model)
        order.traits |= {"pictures": len(pictures), "mask": mask is not None}
        return order

    def _model(self, fields: dict[str, Any]) -> str:
        model = str(fields.get("model") or DEFAULT_MODEL)
        self.sells(model)
        return model

    async def _answer(self, request: Request, order: Order, event: str) -> Reply:
        async def answer(task: SimTask) -> Reply:
            if order.traits["stream"]:
                stream = self._events(task, event)
                return Reply(stream, content_type="text/event-stream")
            await self.delivery(task)
            return Reply(await self._body(request, task))

        return await self.submit(request, order, answer)

    async def _body(self, request: Request, task: SimTask) -> dict[str, Any]:
        created = task.accepted_ms // 1000
        if task.order.traits["as_url"]:
            revised = {"revised_prompt": task.order.prompt}
            data: list[dict[str, str]] = [
                {"url": url} | revised for url in self.links(request, task)
            ]
            return {"created": created, "data": data}
        data = [{"b64_json": await self._base64(task, index)} for index in range(task.delivered)]
        return {"created": created, "data": data} | _facts(task) | {"usage": _usage(task)}

    async def _base64(self, task: SimTask, index: int) -> str:
        return base64.b64encode(await self.picture(task, index)).decode()

    async def _events(self, task: SimTask, event: str) -> AsyncIterator[bytes]:
        """The events of a streamed answer; a failure comes as an event after the 200."""
        if task.end is Phase.SUCCEEDED:
            for index in range(task.order.traits["partials"]):
                partial = {"b64_json": await self._base64(task, 0), "partial_image_index": index}
                yield _event(f"{event}.partial_image", partial | _stamp(self) | _facts(task))
        if await self.finished(task) is not Phase.SUCCEEDED:
            fault = self.failure(task)
            yield b"event: error\ndata: " + orjson.dumps(self.error(fault, fault.message, None))
            yield b"\n\n"
            return
        for index in range(task.delivered):
            picture = {"b64_json": await self._base64(task, index)}
            done = picture | _stamp(self) | _facts(task) | {"usage": _usage(task)}
            yield _event(f"{event}.completed", done)


def _event(name: str, data: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: ".encode() + orjson.dumps({"type": name} | data) + b"\n\n"


def _stamp(vendor: Vendor) -> dict[str, int]:
    return {"created_at": vendor.engine.clock.now_ms() // 1000}


def _facts(task: SimTask) -> dict[str, str]:
    order = task.order
    return {
        "background": order.traits["background"],
        "output_format": order.format,
        "quality": "medium" if order.traits["quality"] == "auto" else order.traits["quality"],
        "size": f"{order.width}x{order.height}",
    }


def _usage(task: SimTask) -> dict[str, object]:
    text = max(1, len(task.order.prompt) // 4)
    drawn = task.delivered * max(1, task.order.width * task.order.height // 993)
    return {
        "input_tokens": text,
        "input_tokens_details": {"text_tokens": text, "image_tokens": 0},
        "output_tokens": drawn,
        "total_tokens": text + drawn,
    }
