"""Alibaba DashScope: two protocols, four create endpoints, tasks, uploads (providers/dashscope.md).

The old protocol and ``image-generation`` are asynchronous only, ``multimodal-generation`` is
synchronous only; the header ``X-DashScope-Async`` must agree or the answer is 403. Pictures named
by an address are not downloaded; inline PNGs are checked for size and transparency.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import orjson

from gateway.simulator.config import DAY_MS
from gateway.simulator.faults import Fault, Refused
from gateway.simulator.pictures import Gallery
from gateway.simulator.state import Engine, Order, Phase, SimTask
from gateway.simulator.vendors import checks
from gateway.simulator.vendors.base import Vendor
from gateway.simulator.vendors.dashscope_faults import FAULTS
from gateway.simulator.vendors.dashscope_models import message_order, old_order, rules_of
from gateway.simulator.wire import Reply, Request

API = "/api/v1"
SERVICES = f"{API}/services/aigc/"
TASKS = f"{API}/tasks"
UPLOAD = f"{API}/uploads/oss"
ASYNC_ENDPOINTS = {
    "text2image/image-synthesis": "text2image",
    "image2image/image-synthesis": "image2image",
    "image-generation/generation": "messages",
}
SYNC_ENDPOINT = "multimodal-generation/generation"
BEIJING = timezone(timedelta(hours=8))
UPLOADS_KEPT = 10_000
PICTURE_ERROR = FAULTS["InternalError.Timeout"]

STATUS = {
    Phase.PENDING: "PENDING",
    Phase.RUNNING: "RUNNING",
    Phase.SUCCEEDED: "SUCCEEDED",
    Phase.FAILED: "FAILED",
    Phase.CANCELLED: "CANCELED",
}


class DashScope(Vendor):
    """One DashScope account in Beijing."""

    prefix = API
    refusals = FAULTS
    failures = FAULTS

    def __init__(self, engine: Engine, gallery: Gallery) -> None:
        super().__init__(engine, gallery)
        self._uploads: dict[str, None] = {}

    async def without_key(self, request: Request) -> Reply | None:
        """Serve the upload host, which takes a signed form instead of a key, and result links."""
        if request.path == UPLOAD and request.method == "POST":
            return await self._store_upload(request)
        return await super().without_key(request)

    async def route(self, request: Request) -> Reply:
        """Serve DashScope's routes, with or without a trailing slash."""
        path = request.path.rstrip("/")
        if request.method == "POST" and path.startswith(SERVICES):
            return await self._create(request, path[len(SERVICES) :])
        if request.method == "POST" and path.startswith(TASKS) and path.endswith("/cancel"):
            task_id = path[len(TASKS) + 1 : -len("/cancel")]
            return await self.cancel(task_id, lambda _: Reply({"request_id": _request_id()}))
        if request.method == "GET" and path == TASKS:
            return await self._list(request)
        if request.method == "GET" and path.startswith(TASKS + "/"):
            task_id = path[len(TASKS) + 1 :]
            return await self.query(request, task_id, self._show, lambda: _unknown(task_id))
        if request.method == "GET" and path == f"{API}/uploads":
            return self._policy(request)
        raise Refused("no_route")

    def error(self, fault: Fault, message: str, param: str | None) -> object:
        """A flat error body."""
        return {"code": fault.code, "message": message, "request_id": _request_id()}

    def new_id(self, now_ms: int) -> str:
        """A UUID."""
        return str(uuid.uuid4())

    async def _create(self, request: Request, endpoint: str) -> Reply:
        asynchronous = (request.header("x-dashscope-async") or "").lower() == "enable"
        if endpoint == SYNC_ENDPOINT:
            if asynchronous:
                raise Refused(
                    "AccessDenied", "current user api does not support asynchronous calls."
                )
            return await self._create_sync(request)
        protocol = ASYNC_ENDPOINTS.get(endpoint)
        if protocol is None:
            raise Refused("no_route", f"no service {endpoint}")
        if not asynchronous:
            raise Refused("AccessDenied", "current user api does not support synchronous calls.")
        order = self._order(request, protocol)
        order.traits |= {"protocol": protocol, "endpoint": endpoint}

        async def answer(task: SimTask) -> Reply:
            output = {"task_status": "PENDING", "task_id": task.id}
            return Reply({"output": output, "request_id": _request_id()})

        return await self.submit(request, order, answer)

    async def _create_sync(self, request: Request) -> Reply:
        order = self._order(request, "messages")
        order.traits |= {"protocol": "messages", "endpoint": SYNC_ENDPOINT}
        streamed = (request.header("x-dashscope-sse") or "").lower() == "enable"

        async def answer(task: SimTask) -> Reply:
            await self.delivery(task)
            choices = self._choices(request, task)
            if streamed:
                return Reply(_events(choices, task), content_type="text/event-stream")
            output = {"choices": choices, "finished": True}
            body = {"output": output, "usage": _usage(task), "request_id": _request_id()}
            return Reply(body)

        return await self.submit(request, order, answer)

    def _order(self, request: Request, protocol: str) -> Order:
        body = request.json()
        model = body.get("model")
        if not isinstance(model, str) or not model:
            raise Refused("BadRequest.EmptyModel")
        self.sells(model)
        rules = rules_of(model)
        if protocol not in rules.protocols:
            raise Refused("InvalidParameter", "url error, please check url!")
        make = message_order if protocol == "messages" else old_order
        order = make(body, rules)
        self._check_uploads(request, body)
        return order

    def _check_uploads(self, request: Request, body: dict[str, Any]) -> None:
        """An ``oss://`` address needs the resolve header and a file that was uploaded before."""
        if b"oss://" not in request.body:
            return
        if request.header("x-dashscope-ossresourceresolve") != "enable":
            raise Refused("InvalidURL", "oss:// needs X-DashScope-OssResourceResolve: enable")
        for address in _oss_addresses(body["input"]):
            if address.removeprefix("oss://") not in self._uploads:
                raise Refused("InvalidURL", f"nothing was uploaded as {address}")

    def _show(self, request: Request, task: SimTask) -> Reply:
        now_ms = self.engine.clock.now_ms()
        phase = task.phase(now_ms)
        good = task.delivered if phase is Phase.SUCCEEDED else 0
        bad = task.order.n - good if phase in (Phase.SUCCEEDED, Phase.FAILED) else 0
        output: dict[str, Any] = {
            "task_id": task.id,
            "task_status": STATUS[phase],
            "submit_time": _time(task.accepted_ms),
            "scheduled_time": _time(min(task.start_ms, now_ms)),
            "task_metrics": {"TOTAL": task.order.n, "SUCCEEDED": good, "FAILED": bad},
        }
        body = {"request_id": _request_id(), "output": output}
        if phase.terminal:
            output["end_time"] = _time(task.ended_ms())
        if phase is Phase.FAILED:
            failure = self.failure(task)
            output |= {"code": failure.code, "message": failure.message}
        elif phase is Phase.SUCCEEDED and task.order.traits["protocol"] == "messages":
            output |= {"finished": True, "choices": self._choices(request, task)}
            body["usage"] = _usage(task)
        elif phase is Phase.SUCCEEDED:
            output["results"] = self._results(request, task)
            body["usage"] = {"image_count": task.delivered}
        return Reply(body)

    def _results(self, request: Request, task: SimTask) -> list[dict[str, object]]:
        prompt = task.order.prompt
        told: dict[str, object] = {"orig_prompt": prompt}
        if task.order.traits["extended"]:
            told["actual_prompt"] = f"{prompt}, in soft natural light, finely detailed"
        good = [told | {"url": url} for url in self.links(request, task)]
        failed = {"code": PICTURE_ERROR.code, "message": PICTURE_ERROR.message}
        return good + [dict(failed) for _ in range(task.order.n - task.delivered)]

    def _choices(self, request: Request, task: SimTask) -> list[dict[str, object]]:
        images = [{"type": "image", "image": url} for url in self.links(request, task)]
        if task.order.traits.get("interleave"):
            story: list[dict[str, str]] = []
            for number, image in enumerate(images, start=1):
                story += [{"type": "text", "text": f"Step {number}."}, image]
            return [_choice(story)]
        return [_choice([image]) for image in images]

    async def _list(self, request: Request) -> Reply:
        await self.listing()
        asked = request.query
        page, size = checks.number(asked, "page_no", 1), checks.number(asked, "page_size", 10)
        now_ms = self.engine.clock.now_ms()
        start_ms = _moment(asked, "start_time", now_ms - DAY_MS)
        end_ms = _moment(asked, "end_time", start_ms + DAY_MS)
        if end_ms - start_ms > DAY_MS:
            checks.wrong("end_time", "at most 24 hours after start_time")
        found = [
            task
            for task in self.engine.newest()
            if start_ms <= task.accepted_ms <= end_ms
            and task.order.traits["endpoint"] != SYNC_ENDPOINT
            and (asked.get("model_name") or task.order.model) == task.order.model
            and (asked.get("task_id") or task.id) == task.id
            and (asked.get("status") or STATUS[task.phase(now_ms)]) == STATUS[task.phase(now_ms)]
        ]
        body: dict[str, object] = {
            "request_id": _request_id(),
            "total": len(found),
            "total_page": -(-len(found) // size),
            "page_no": page,
            "page_size": size,
            "data": [_row(task, now_ms) for task in found[(page - 1) * size : page * size]],
        }
        return Reply(body)

    def _policy(self, request: Request) -> Reply:
        asked = request.query
        if asked.get("action") != "getPolicy":
            raise Refused("InvalidParameter", "action must be getPolicy")
        self.sells(asked.get("model", ""))
        data: dict[str, object] = {
            "policy": secrets.token_urlsafe(48),
            "signature": secrets.token_urlsafe(20),
            "upload_dir": f"dashscope-instant/{secrets.token_hex(16)}",
            "upload_host": request.origin + UPLOAD,
            "expire_in_seconds": 300,
            "max_file_size_mb": 100,
            "capacity_limit_mb": 999_999_999,
            "oss_access_key_id": "LTAI-simulated",
            "x_oss_object_acl": "private",
            "x_oss_forbid_overwrite": "true",
        }
        return Reply({"request_id": _request_id(), "data": data})

    async def _store_upload(self, request: Request) -> Reply:
        async with request.form() as form:
            key, complete = form.get("key"), "file" in form and "policy" in form
        if not isinstance(key, str) or not complete:
            return Reply(b"<Error><Code>AccessDenied</Code></Error>", 403, {}, "application/xml")
        self._uploads[key] = None
        if len(self._uploads) > UPLOADS_KEPT:
            del self._uploads[next(iter(self._uploads))]
        return Reply(b"", content_type="text/plain")


def _choice(content: list[dict[str, str]]) -> dict[str, object]:
    return {"finish_reason": "stop", "message": {"role": "assistant", "content": content}}


def _unknown(task_id: str) -> Reply:
    output = {"task_id": task_id, "task_status": "UNKNOWN"}
    return Reply({"request_id": _request_id(), "output": output})


def _usage(task: SimTask) -> dict[str, object]:
    tokens = max(1, len(task.order.prompt) // 4)
    return {
        "image_count": task.delivered,
        "size": f"{task.order.width}*{task.order.height}",
        "input_tokens": tokens,
        "output_tokens": task.delivered,
        "total_tokens": tokens + task.delivered,
    }


async def _events(choices: list[dict[str, object]], task: SimTask) -> AsyncIterator[bytes]:
    for number, choice in enumerate(choices, start=1):
        output = {"choices": [choice], "finished": number == len(choices)}
        data = {"output": output, "usage": _usage(task), "request_id": _request_id()}
        head = f"id:{number}\nevent:result\n:HTTP_STATUS/200\ndata:".encode()
        yield head + orjson.dumps(data) + b"\n\n"


def _row(task: SimTask, now_ms: int) -> dict[str, object]:
    phase = task.phase(now_ms)
    unique = f"apikey:v1:aigc:{task.order.traits['endpoint'].replace('/', ':')}:{task.order.model}"
    row: dict[str, object] = {
        "task_id": task.id,
        "status": STATUS[phase],
        "model_name": task.order.model,
        "region": "cn-beijing",
        "api_key_id": "1",
        "caller_parent_id": "2",
        "caller_uid": "2",
        "request_id": _request_id(),
        "gmt_create": task.accepted_ms,
        "start_time": task.start_ms,
        "user_api_unique_key": unique,
    }
    return row | {"end_time": task.ended_ms()} if phase.terminal else row


def _oss_addresses(source: Any) -> list[str]:
    if isinstance(source, dict):
        return [found for value in source.values() for found in _oss_addresses(value)]
    if isinstance(source, list):
        return [found for value in source for found in _oss_addresses(value)]
    return [source] if isinstance(source, str) and source.startswith("oss://") else []


def _request_id() -> str:
    return str(uuid.uuid4())


def _time(at_ms: int) -> str:
    moment = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(BEIJING)
    return moment.strftime("%Y-%m-%d %H:%M:%S.") + f"{at_ms % 1000:03d}"


def _moment(asked: dict[str, str], name: str, default: int) -> int:
    value = asked.get(name)
    if not value:
        return default
    try:
        moment = datetime.strptime(value, "%Y%m%d%H%M%S").replace(tzinfo=BEIJING)
    except ValueError:
        checks.wrong(name, "the form YYYYMMDDhhmmss is required")
    return int(moment.timestamp() * 1000)
