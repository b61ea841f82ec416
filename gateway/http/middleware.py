"""What surrounds every request: an id, a measure, a log line for the failed and the slow."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from functools import cache
from itertools import count
from secrets import token_hex

import structlog
from prometheus_client import Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.http.exchange import WAITED
from gateway.http.metrics import http_in_flight, http_requests, http_seconds

log = structlog.get_logger("gateway.access")

_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}\Z")
LOGGED_STATUS = 400
LOGGED_S = 1.0
_QUIET = frozenset({"/healthz", "/readyz", "/metrics"})


@dataclass(slots=True)
class _InFlight:
    """How many calls are being answered; a plain number, for a gauge has a lock around each."""

    calls: int = 0


_in_flight = _InFlight()
http_in_flight.set_function(lambda: _in_flight.calls)

# Ids of our own: no other process begins them so, and none of this process ends so.
_PROCESS = token_hex(8)
_NUMBERS = count(1)


class _Answer:
    """Sends an answer with its request's id, and tells its status; smaller than a closure."""

    __slots__ = ("_request_id", "_send", "status")

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self.status = 500

    def __call__(self, message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            header = (b"x-request-id", self._request_id.encode())
            message["headers"] = [*message.get("headers", ()), header]
        return self._send(message)


class Observe:
    """Gives each request an id (the caller's ``x-request-id`` if it is sane) and measures it."""

    def __init__(self, app: ASGIApp) -> None:
        """Take the app to wrap."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        answer = _Answer(send, request_id)
        started = time.perf_counter()
        _in_flight.calls += 1
        try:
            await self._app(scope, receive, answer)
        finally:
            _in_flight.calls -= 1
            _measure(scope, answer.status, time.perf_counter() - started, request_id)


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _ID.match(value):
            return str(value, "ascii")
    return f"req_{_PROCESS}{next(_NUMBERS):08x}"


# Looking a child up by its labels costs more than counting: they are few and are kept.
@cache
def _counter(route: str, method: str, status: int) -> Counter:
    return http_requests.labels(route, method, str(status))


@cache
def _histogram(route: str, method: str) -> Histogram:
    return http_seconds.labels(route, method)


def _measure(scope: Scope, status: int, seconds: float, request_id: str) -> None:
    route = scope["state"].get("route") or "other"
    method = scope["method"] if route != "other" else "ANY"
    _counter(route, method, status).inc()
    _histogram(route, method).observe(seconds)
    # A line for every request costs more than answering some of them; the metrics count those.
    slow = seconds >= LOGGED_S and WAITED not in scope["state"]
    if scope["path"] not in _QUIET and (status >= LOGGED_STATUS or slow):
        log.info(
            "request",
            method=scope["method"],
            path=scope["path"],
            status=status,
            ms=round(seconds * 1000, 1),
            request_id=request_id,
        )
