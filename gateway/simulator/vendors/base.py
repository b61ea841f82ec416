"""What all simulated vendors have in common: authentication, the submit, query and cancel flows,
result links.

A vendor adds its wire shapes: routes, validation, fault tables, bodies. The flows run in one order
everywhere. Submit: pick the script, wait, fail early, replay a known idempotency key, check limits,
accept, then fail late or answer. Query and cancel: pick the script, fail, check limits, look the
task up.
"""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any, ClassVar

from gateway.simulator.config import DAY_MS
from gateway.simulator.faults import (
    ConnectionDropped,
    Fault,
    FaultTable,
    NeverAnswered,
    Refused,
)
from gateway.simulator.pictures import CONTENT_TYPES, Gallery, Picture
from gateway.simulator.scripts import On, Script
from gateway.simulator.state import NEVER_MS, Engine, Order, Phase, SimTask
from gateway.simulator.wire import BadBody, Reply, Request, blank, wrong_types

HTML = b"<html><head><title>502</title></head><body><h1>502 Bad Gateway</h1></body></html>"
GARBAGE = b'{"created": 1795170001, "id": "task-'
HUGE_CHUNK = b"\x00" * 65_536
HUGE_CHUNKS = 4_096
SILENT_STREAM = b": nothing to tell\n\n"
HIDES_NO_TASK = ("html", "empty")
EXPIRED = (
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code>'
    b"<Message>Request has expired.</Message></Error>"
)
SUFFIXES = {"png": "png", "jpeg": "jpg", "webp": "webp"}

Answer = Callable[[SimTask], Awaitable[Reply]]


class Vendor(ABC):
    """One simulated account of one API."""

    prefix: ClassVar[str] = "/v1"
    scheme: ClassVar[str] = "Bearer "
    link_ttl_ms: int = DAY_MS
    refusals: ClassVar[FaultTable]
    failures: ClassVar[FaultTable]
    busy_retry_after_s: ClassVar[int | None] = None

    def __init__(self, engine: Engine, gallery: Gallery) -> None:
        self.engine = engine
        self.gallery = gallery

    async def handle(self, request: Request) -> Reply:
        """Serve one request; faults come back as the vendor's own error answers."""
        try:
            open_to_all = await self.without_key(request)
            if open_to_all is not None:
                return open_to_all
            self._authorize(request)
            return await self.route(request)
        except Refused as refusal:
            return self._refuse(refusal)
        except BadBody as problem:
            return self._refuse(Refused("invalid_parameter", str(problem)))

    async def without_key(self, request: Request) -> Reply | None:
        """Serve what needs no key, which is the result links; None for everything else."""
        return await self._file(request) if request.path.startswith("/files/") else None

    @abstractmethod
    async def route(self, request: Request) -> Reply:
        """Serve an authenticated request; raises Refused."""

    @abstractmethod
    def error(self, fault: Fault, message: str, param: str | None) -> object:
        """The body of an error answer."""

    @abstractmethod
    def new_id(self, now_ms: int) -> str:
        """A fresh task id in the vendor's format."""

    def sells(self, model: str) -> None:
        """Refused with ``model_not_found`` unless the model is in the price table."""
        if model not in self.engine.prices:
            raise Refused("model_not_found", f"The model {model} does not exist.", param="model")

    def check_script(self, script: Script) -> None:
        """ValueError when a script names a fault this vendor does not have."""
        if script.error is not None:
            self.refusals[script.error]
        if script.fail is not None:
            self.failures[script.fail]

    async def submit(self, request: Request, order: Order, answer: Answer) -> Reply:
        """Take an order through the submit flow and answer it."""
        script = self._pick("submit", order)
        self.engine.counts["submit"] += 1
        await self._pause(script)
        self._fail_early(script)
        task = self.engine.replay(order)
        replayed = task is not None
        if task is None:
            self.engine.check_submit(order.model)
            task = self.engine.draft(order, script, self.new_id(self.engine.clock.now_ms()))
            if _accepts(script):
                self.engine.admit(task)
        if script.accept_then == "timeout":
            raise NeverAnswered
        if script.accept_then == "reset":
            raise ConnectionDropped
        if script.answer == "html":
            return _spoil(Reply(None), script)
        reply = await answer(task)
        if replayed:
            reply.headers["idempotency-replayed"] = "true"
        return _spoil(reply, script)

    async def query(
        self,
        request: Request,
        task_id: str,
        render: Callable[[Request, SimTask], Reply],
        missing: Callable[[], Reply] | None = None,
    ) -> Reply:
        """Look a task up and render it; without ``missing`` an unknown one is Refused."""
        task = self.engine.find(task_id)
        script = await self._guard("query", task)
        if task is None:
            if missing is None:
                raise Refused("task_not_found")
            return missing()
        self._notice(task)
        return _spoil(render(request, task), script)

    async def query_many(
        self, task_ids: Sequence[str], render: Callable[[Sequence[SimTask]], Reply]
    ) -> Reply:
        """Look tasks up in one query and render those that are known."""
        script = await self._guard("query", None)
        found = [task for task_id in task_ids if (task := self.engine.find(task_id)) is not None]
        for task in found:
            self._notice(task)
        return _spoil(render(found), script)

    def _notice(self, task: SimTask) -> None:
        now_ms = self.engine.clock.now_ms()
        if task.noticed_ms is None and task.phase(now_ms).terminal:
            task.noticed_ms = now_ms

    async def listing(self) -> None:
        """Count a list call as a query; raises Refused."""
        await self._guard("query", None)

    async def cancel(
        self,
        task_id: str,
        render: Callable[[SimTask], Reply],
        phases: tuple[Phase, ...] = (Phase.PENDING,),
    ) -> Reply:
        """Cancel a task that is in one of the phases; else Refused with ``not_cancellable``."""
        task = self.engine.find(task_id)
        script = await self._guard("cancel", task)
        if task is None:
            raise Refused("task_not_found")
        if task.phase(self.engine.clock.now_ms()) not in phases:
            raise Refused("not_cancellable")
        self.engine.cancel(task)
        return _spoil(render(task), script)

    async def finished(self, task: SimTask, most_s: float | None = None) -> Phase:
        """Wait until a task has ended, or ``most_s`` seconds; the phase it is in then."""
        loop = asyncio.get_running_loop()
        deadline = None if most_s is None else loop.time() + most_s
        while True:
            now_ms = self.engine.clock.now_ms()
            if task.phase(now_ms).terminal:
                return task.phase(now_ms)
            left_s = (task.finish_ms - now_ms) / 1000
            if deadline is not None:
                left_s = min(left_s, deadline - loop.time())
                if left_s <= 0:
                    return task.phase(now_ms)
            elif task.finish_ms >= NEVER_MS:
                raise NeverAnswered
            await asyncio.sleep(max(left_s, 0.001))

    async def delivery(self, task: SimTask) -> None:
        """Wait for a task of a synchronous call; Refused by the fault that failed it."""
        if await self.finished(task) is Phase.CANCELLED:
            raise Refused("server_error")
        if task.failure is not None:
            raise Refused(task.failure if task.failure in self.refusals else "server_error")

    def failure(self, task: SimTask) -> Fault:
        """What a failed task failed of."""
        return self.failures[task.failure or "server_error"]

    def links(self, request: Request, task: SimTask) -> list[str]:
        """The result links of a finished task, one per delivered picture."""
        suffix = SUFFIXES[task.order.format]
        expires_s = (task.ended_ms() + self.link_ttl_ms) // 1000
        return [
            f"{request.origin}/files/{task.id}/{index}.{suffix}?Expires={expires_s}"
            for index in range(task.delivered)
        ]

    async def picture(self, task: SimTask, index: int) -> bytes:
        """Draw one picture of a task."""
        order = task.order
        seed = zlib.crc32(order.prompt.encode()) if order.seed is None else order.seed
        return await self.gallery.show(
            Picture(
                prompt=order.prompt,
                model=order.model,
                index=index,
                seed=seed + index,
                width=order.width,
                height=order.height,
                format=order.format,
            )
        )

    def _authorize(self, request: Request) -> None:
        given = request.header("authorization") or ""
        key = given.removeprefix(self.scheme) if given.startswith(self.scheme) else ""
        accepted = self.engine.vendor.keys
        if not key or (key.startswith("wrong") if accepted is None else key not in accepted):
            self.engine.counts["bad_key"] += 1
            raise Refused("bad_key")

    def _pick(self, on: On, order: Order | None) -> Script:
        model, prompt = ("", "") if order is None else (order.model, order.prompt)
        try:
            script = self.engine.scripts.pick(on, model, prompt)
            self.check_script(script)
        except ValueError as problem:
            raise Refused("invalid_parameter", str(problem), param="prompt") from problem
        return script

    async def _guard(self, on: On, task: SimTask | None) -> Script:
        script = self._pick(on, None if task is None else task.order)
        self.engine.counts[on] += 1
        await self._pause(script)
        self._fail_early(script)
        self.engine.check_query()
        return script

    async def _pause(self, script: Script) -> None:
        latency_ms = self.engine.latency_ms(script)
        if latency_ms:
            await asyncio.sleep(latency_ms / 1000)

    @staticmethod
    def _fail_early(script: Script) -> None:
        if script.reset:
            raise ConnectionDropped
        if script.error is not None:
            raise Refused(script.error, status=script.status, retry_after_s=script.retry_after_s)

    def _refuse(self, refusal: Refused) -> Reply:
        self.engine.counts["refused"] += 1
        fault = self.refusals[refusal.name]
        body = self.error(fault, refusal.message or fault.message, refusal.param)
        reply = Reply(body, refusal.status or fault.status)
        retry_after_s = refusal.retry_after_s
        if retry_after_s is None and fault.status == 429:
            retry_after_s = self.busy_retry_after_s
        if retry_after_s is not None:
            reply.headers["retry-after"] = str(retry_after_s)
        return reply

    async def _file(self, request: Request) -> Reply:
        """Serve a result link: draw the picture, unless the link is dead or misbehaves."""
        self.engine.counts["result"] += 1
        parts = request.path.split("/")
        task = self.engine.remembered(parts[2]) if len(parts) == 4 else None
        index_text = parts[-1].partition(".")[0]
        if task is None or not index_text.isdecimal() or int(index_text) >= task.delivered:
            return Reply(b"not found", 404, content_type="text/plain")
        now_ms = self.engine.clock.now_ms()
        if task.links == "missing" or task.phase(now_ms) is not Phase.SUCCEEDED:
            return Reply(b"not found", 404, content_type="text/plain")
        if task.links == "expired" or task.ended_ms() + self.link_ttl_ms <= now_ms:
            return Reply(EXPIRED, 403, content_type="application/xml")
        if task.links == "html":
            return Reply(HTML, content_type="text/html")
        content_type = CONTENT_TYPES[task.order.format]
        drawn = await self.picture(task, int(index_text))
        if task.links == "huge":
            return Reply(_endless(drawn), content_type=content_type)
        return Reply(drawn, content_type=content_type, dripped=task.links == "slow")


def digest_of(body: bytes) -> bytes:
    """A short fingerprint of a request body, to tell a repeated request from another."""
    return hashlib.blake2b(body, digest_size=16).digest()


def fault_rows(rows: Iterable[tuple[int, str, str]], type_: str = "") -> list[Fault]:
    """Build table rows from (status, code, message)."""
    return [Fault(code, status, message, type_) for status, code, message in rows]


def model_list(models: Iterable[str]) -> dict[str, Any]:
    """The OpenAI-shaped list of models."""
    rows = [
        {"id": name, "object": "model", "created": 1795000000, "owned_by": "simulator"}
        for name in models
    ]
    return {"object": "list", "data": rows}


async def _endless(start: bytes) -> AsyncIterator[bytes]:
    """A picture followed by 256 MiB of nothing."""
    yield start
    for _ in range(HUGE_CHUNKS):
        yield HUGE_CHUNK
        await asyncio.sleep(0)


def _accepts(script: Script) -> bool:
    if script.accept is not None:
        return script.accept
    return script.answer not in HIDES_NO_TASK


def _spoil(reply: Reply, script: Script) -> Reply:
    """Turn a good answer into the bad one a script asks for."""
    if script.answer is None:
        return reply
    if script.answer == "html":
        return Reply(HTML, script.status or 502, content_type="text/html")
    if script.answer == "garbage":
        reply.payload = GARBAGE
    elif isinstance(reply.payload, AsyncIterator):
        reply.payload = SILENT_STREAM
    elif script.answer == "empty":
        reply.payload = blank(reply.payload)
    elif script.answer == "wrong_types":
        reply.payload = wrong_types(reply.payload)
    elif script.answer == "slow":
        reply.dripped = True
    else:
        reply.cut = True
    return reply
