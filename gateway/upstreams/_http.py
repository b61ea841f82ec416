"""HTTP towards one upstream: what adapters send with, and how failures become UpstreamError.

Two kinds of call. A *paid* call asks for pictures: it is sent once, and every failure says
through ``UpstreamError.sent`` whether the vendor may have accepted it. A *query* asks about a
task that exists: any failure of it has ``sent=NO``, because it can simply be repeated.

The client is handed in, so that timeouts of the pool, the address guard and the transport are
decided in one place; nothing here opens connections, follows redirects or repeats a call.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import zlib
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

import httpx
import orjson

from gateway.app.ports import HttpAnswer, HttpClient
from gateway.domain.errors import Blame, Sent, UpstreamError
from gateway.domain.model import Upstream
from gateway.upstreams._errors import (
    ErrorTable,
    Fault,
    has_fault,
    read_fault,
    task_unknown,
    unreadable,
)

CONNECT_TIMEOUT_S = 5.0
QUERY_TIMEOUT_S = 20.0
BLOCKING_TIMEOUT_S = 310.0
"""Longer than the 300 s after which vendors end a synchronous call themselves."""
GRACE_S = 3 * CONNECT_TIMEOUT_S
"""Time for a connection on top of the wait for an answer; more than pool and connect take, so
that they fail first and by their own name."""
BODY_BYTES_MAX = 1024 * 1024
MESSAGE_CHARS_MAX = 500
RETRY_AFTER_S_MAX = 86_400.0
SECRET_CHARS_MIN = 8
_ZLIB_OR_GZIP = zlib.MAX_WBITS | 32
REQUEST_ID_HEADERS = ("x-request-id", "x-fal-request-id", "cf-ray")

_NEVER_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
)
"""No byte of the request can have reached the vendor; the address guard's refusal is a
ConnectError."""


class FilePart(NamedTuple):
    """A file of a multipart body: form field name, file name, bytes, media type."""

    field: str
    name: str
    content: bytes
    media_type: str


@dataclass(frozen=True, slots=True)
class Form:
    """A multipart body: text fields first, then files, as the OpenAI SDK sends it."""

    fields: Mapping[str, str]
    files: tuple[FilePart, ...]


class Answer(NamedTuple):
    """A vendor's answer; ``body`` is always a JSON object, names of headers are lower-case."""

    status: int
    headers: Mapping[str, str]
    body: dict[str, Any]


class _Request(NamedTuple):
    """A call as it is sent."""

    method: str
    url: str
    headers: Mapping[str, str]
    content: bytes


class _Raw(NamedTuple):
    status: int
    headers: Mapping[str, str]
    content: bytes


class UpstreamHttp:
    """Calls to one upstream under its credentials.

    ``scheme`` stands before the key in the Authorization header; ``idempotent`` sends the attempt
    id with paid calls; ``now_s`` gives UTC seconds, against which Retry-After dates are measured.
    """

    def __init__(
        self,
        upstream: Upstream,
        client: HttpClient,
        *,
        scheme: str,
        idempotent: bool,
        now_s: Callable[[], int],
    ) -> None:
        """Take the upstream, the client to send with, what its calls carry, and the clock."""
        self.upstream = upstream
        self._idempotent = idempotent
        self.now_s = now_s
        self._client = client
        self._base = upstream.base_url.rstrip("/")
        key = upstream.api_key.value
        self._authorization = f"{scheme} {key}"
        halves = (half for half in key.split(":") if len(half) >= SECRET_CHARS_MIN)
        self._secrets = (*((key,) if key else ()), *halves)

    async def paid(
        self,
        path: str,
        body: Mapping[str, Any] | Form,
        errors: ErrorTable,
        *,
        attempt_id: str,
        headers: Mapping[str, str] | None = None,
        blocking: bool = False,
        bytes_max: int = BODY_BYTES_MAX,
    ) -> Answer:
        """POST a request for pictures, once. ``attempt_id`` is the Idempotency-Key.

        ``blocking``: the answer is the pictures themselves, so it is waited for at least 310 s
        whatever the upstream's submit timeout. ``bytes_max`` bounds the answer. Raises
        UpstreamError with ``sent=NO`` when nothing can have been accepted, REFUSED when the
        vendor said no, UNKNOWN when it may have accepted. A 2xx answer may still report an
        error: see `refuse_if_fault`.
        """
        wait_s = self.upstream.submit_timeout_ms / 1000
        if blocking:
            wait_s = max(wait_s, BLOCKING_TIMEOUT_S)
        key = {"idempotency-key": attempt_id} if self._idempotent else {}
        request = self._request("POST", path, body, key | dict(headers or {}))
        raw = await self._send(request, wait_s, bytes_max)
        parsed = _json_object(raw.content)
        if not 200 <= raw.status < 300:
            raise self._refusal(raw, parsed, errors)
        if parsed is None:
            raise unreadable("The upstream's answer is not a JSON object.")
        return Answer(raw.status, raw.headers, parsed)

    async def query(
        self,
        method: str,
        path: str,
        errors: ErrorTable,
        *,
        body: Mapping[str, Any] | None = None,
        allow: Container[int] = (),
    ) -> Answer:
        """Ask about existing tasks. Statuses in ``allow`` are answers, not errors.

        A 404 is raised with code ``task_unknown``. Every UpstreamError has ``sent=NO``: the
        query failed, which says nothing about the task.
        """
        request = self._request(method, path, body, {})
        try:
            raw = await self._send(request, QUERY_TIMEOUT_S, BODY_BYTES_MAX)
        except UpstreamError as error:
            error.sent = Sent.NO
            raise
        parsed = _json_object(raw.content)
        if raw.status in allow:
            return Answer(raw.status, raw.headers, parsed or {})
        if raw.status == 404:
            raise task_unknown()
        if not 200 <= raw.status < 300:
            refusal = self._refusal(raw, parsed, errors)
            refusal.sent = Sent.NO
            raise refusal
        if parsed is None:
            raise unreadable("The upstream's answer is not a JSON object.", Sent.NO)
        return Answer(raw.status, raw.headers, parsed)

    def refuse_if_fault(self, answer: Answer, errors: ErrorTable) -> None:
        """Raise the error that a 2xx answer of a paid call reports, if it reports one."""
        if has_fault(answer.body):
            fault = read_fault(answer.body, 200)
            raise self._error(fault, errors, self._retry_after_s(answer.headers))

    def task_failed(self, errors: ErrorTable, fault: Fault) -> UpstreamError:
        """Give the error of a task that the vendor accepted and then failed: final, not billed."""
        named = fault if fault.code or fault.type else replace(fault, code="task_failed")
        error = self._error(named, errors, None)
        error.sent = Sent.REFUSED
        return error

    def scrubbed(self, text: str) -> str:
        """Give a vendor's text without our key, on one line, at most 500 characters long."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return re.sub(r"[\s\x00-\x1f\x7f]+", " ", text).strip()[:MESSAGE_CHARS_MAX]

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    # --- sending -------------------------------------------------------------------------

    def _request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | Form | None,
        headers: Mapping[str, str],
    ) -> _Request:
        """Build a request. Raises UpstreamError when a header cannot carry its text."""
        sent = {"authorization": self._authorization, "accept": "application/json", **headers}
        content = b""
        if isinstance(body, Form):
            content, sent["content-type"] = _multipart(body)
        elif body is not None:
            sent["content-type"] = "application/json"
            # ASCII escapes: a prompt may hold a lone surrogate, which UTF-8 cannot carry.
            content = json.dumps(body, separators=(",", ":")).encode()
        texts = "".join(sent.values())
        if texts.isascii() and texts.isprintable():
            return _Request(method, f"{self._base}{path}", sent, content)
        raise _unsendable()

    async def _send(self, request: _Request, wait_s: float, bytes_max: int) -> _Raw:
        """Send and read the whole answer, within bounds of time and size."""
        if self._client.is_closed:
            message = "The upstream's connections are closed."
            raise UpstreamError(message, blame=Blame.PROVIDER, sent=Sent.NO, code="unreachable")
        times = {"connect": CONNECT_TIMEOUT_S, "pool": CONNECT_TIMEOUT_S}
        times["write"] = times["read"] = wait_s
        try:
            async with (
                asyncio.timeout(wait_s + GRACE_S),
                self._client.opened(*request, times) as answer,
            ):
                content = await _read(answer, bytes_max)
                headers = _named(answer.raw_headers)
                if content is not None:
                    return _Raw(answer.status, headers, _decoded(content, headers, bytes_max))
            failure = unreadable(f"The upstream's answer is larger than {bytes_max} bytes.")
        except httpx.InvalidURL:
            failure = _unsendable()
        except (httpx.HTTPError, httpx.StreamError, OSError) as error:
            failure = self._lost(error)
        # Raised here, outside the handler: the cause would carry the request and its key along.
        raise failure

    # --- failures ------------------------------------------------------------------------

    def _lost(self, error: Exception) -> UpstreamError:
        """Translate a failure of the connection; an OSError is our own time-out."""
        kind = type(error).__name__
        if isinstance(error, _NEVER_SENT):
            message = f"The upstream cannot be reached ({kind})."
            return UpstreamError(message, blame=Blame.PROVIDER, sent=Sent.NO, code="unreachable")
        if isinstance(error, (TimeoutError, httpx.TimeoutException)):
            message, code = "The upstream did not answer in time.", "timeout"
        else:
            message, code = f"The connection was lost ({kind}).", "connection_lost"
        return UpstreamError(message, blame=Blame.PROVIDER, sent=Sent.UNKNOWN, code=code)

    def _refusal(
        self, raw: _Raw, parsed: dict[str, Any] | None, errors: ErrorTable
    ) -> UpstreamError:
        fault = read_fault(parsed, raw.status)
        error = self._error(fault, errors, self._retry_after_s(raw.headers), raw.headers)
        if parsed is None and raw.status >= 500 and raw.status != 503:
            # A page of some proxy: what is behind it may have taken the request. A 503 page is
            # a proxy with nothing behind it.
            error.sent = Sent.UNKNOWN
        return error

    def _error(
        self,
        fault: Fault,
        errors: ErrorTable,
        retry_after_s: float | None,
        headers: Mapping[str, str] | None = None,
    ) -> UpstreamError:
        verdict = errors.judge(fault)
        if retry_after_s is None and fault.reset_at_s is not None:
            retry_after_s = _bounded_wait(fault.reset_at_s - self.now_s())
        request_id = errors.request_id(fault) or _request_id(headers)
        word = fault.code or fault.type or f"http_{fault.status}"
        return UpstreamError(
            self.scrubbed(fault.message) or f"The upstream answered {word}.",
            blame=verdict.blame,
            sent=verdict.sent,
            code=self.scrubbed(word),
            scope=verdict.scope,
            retry_after_s=verdict.retry_after_s if retry_after_s is None else retry_after_s,
            upstream_request_id=self.scrubbed(request_id) if request_id else None,
            repeatable=verdict.repeatable,
        )

    def _retry_after_s(self, headers: Mapping[str, str]) -> float | None:
        return retry_after_s(headers, self.now_s())


def retry_after_s(headers: Mapping[str, str], now_s: int) -> float | None:
    """Read ``retry-after-ms``, or ``retry-after`` as seconds or date; None when there is neither.

    Never negative, and at most a day: a vendor's mistake must not bench it for ever.
    """
    wait_s: float | None = None
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            wait_s = float(headers[name]) / unit
        except (KeyError, ValueError):
            continue
        break
    if wait_s is None and "retry-after" in headers:
        try:
            moment = parsedate_to_datetime(headers["retry-after"])
        except ValueError:
            return None
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        wait_s = moment.timestamp() - now_s
    if wait_s is None or math.isnan(wait_s):
        return None
    return _bounded_wait(wait_s)


def _bounded_wait(wait_s: float) -> float:
    return min(max(float(wait_s), 0.0), RETRY_AFTER_S_MAX)


async def _read(answer: HttpAnswer, bytes_max: int) -> bytes | None:
    """Read the body, None when it is longer than allowed."""
    parts: list[bytes] = []
    size = 0
    while part := await answer.read():
        size += len(part)
        if size > bytes_max:
            return None
        parts.append(part)
    return b"".join(parts)


def _named(raw: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in raw}


def _decoded(content: bytes, headers: Mapping[str, str], bytes_max: int) -> bytes:
    """Undo a compression that was not asked for, up to a size. Raises httpx.DecodingError.

    What is cut off there is no JSON any more.
    """
    if headers.get("content-encoding", "").strip().lower() not in ("gzip", "x-gzip", "deflate"):
        return content
    try:
        return zlib.decompressobj(_ZLIB_OR_GZIP).decompress(content, bytes_max)
    except zlib.error:
        raise httpx.DecodingError("the answer is not what it says") from None


def _multipart(form: Form) -> tuple[bytes, str]:
    """Give a form's bytes and its media type."""
    files = [(part.field, part[1:]) for part in form.files]
    request = httpx.Request("POST", "https://unused.invalid", data=form.fields, files=files)
    return request.read(), request.headers["content-type"]


def _unsendable() -> UpstreamError:
    message = "The request cannot be built; check the upstream's base_url and api_key."
    return UpstreamError(message, blame=Blame.PROVIDER, sent=Sent.NO, code="unsendable")


def _json_object(content: bytes) -> dict[str, Any] | None:
    try:
        parsed = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    return parsed if isinstance(parsed, dict) else None


def _request_id(headers: Mapping[str, str] | None) -> str | None:
    if headers is None:
        return None
    return next((headers[name] for name in REQUEST_ID_HEADERS if name in headers), None)
