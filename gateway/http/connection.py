"""One connection of a caller, with bounds on all that comes before a request is known or after it.

uvicorn's protocol on its own reads headers without end and waits for them for ever, and goes on
reading a body whose request was answered long ago.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from gateway.app.gates import Gate
from gateway.http.calls import BODY_LATE

HEAD_BYTES_MAX = 64 * 1024
"""The longest request line and headers together, trailers included."""
HEAD_WITHIN_S = 10.0
"""How long a caller may take from the first byte of a request to the end of its headers."""
BODY_WITHIN_S = 60.0
"""How long a caller may take to send its body: 45 MiB at 6 Mbit/s."""
LINGER_S = 5.0
"""How long the rest of a body is read and dropped after its request was answered.

To close at once would take the answer away from callers that send all before they read.
"""


class HeadTooLong(Exception):
    """The request line and headers are longer than they may be."""


class _Pipeline(list[Any]):
    """Requests that wait for their turn: none nearly always, for which a deque takes 700 bytes."""

    def appendleft(self, item: object) -> None:
        self.insert(0, item)


class BoundedConnection(HttpToolsProtocol):
    """uvicorn's protocol; says what it refuses in the native dialect's shape, and hangs up."""

    # With two attributes more than uvicorn's thirty, Python keeps a dictionary of 1.6 KiB for each.
    __slots__ = ("_deadline", "_head_bytes", "_in_body", "_in_head", "_unseen_bytes")

    # --- the connection --------------------------------------------------------------------

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Take what uvicorn gives its protocol; of what that makes, thousands wait at once."""
        super().__init__(*arguments, **options)
        self._in_head = self._in_body = False
        self._head_bytes = self._unseen_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None
        self.pipeline = _Pipeline()  # type: ignore[assignment]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin; a caller that says nothing is waited for as long as one between two requests."""
        super().connection_made(transport)
        self.flow._is_writable_event = Gate(is_open=True)  # type: ignore[assignment]  # noqa: SLF001
        self._arm_keep_alive()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._end_deadline()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take some bytes; nothing that the parser keeps to itself grows without end."""
        self._unseen_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._unseen_bytes > HEAD_BYTES_MAX:
            self._refuse_head()
        elif self._deadline is None:
            if self._in_head:
                self._deadline = self.loop.call_later(HEAD_WITHIN_S, self._late)
            elif self._in_body:
                self._deadline = self.loop.call_later(BODY_WITHIN_S, self._late_body)

    # --- what the parser found -------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._in_head = True
        self._head_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Take a part of the request line."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header or a trailer."""
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start the application."""
        self._in_head, self._in_body = False, True
        self._unseen_bytes = 0
        self._end_deadline()
        super().on_headers_complete()
        # Its task has not begun yet.
        self.cycle.message_event = Gate()  # type: ignore[assignment]

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._unseen_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request; one that was answered before leaves the connection for the next."""
        self._in_body = False
        self._unseen_bytes = 0
        if self._deadline is not None:
            self._end_deadline()
            if self.cycle.response_complete:
                self._arm_keep_alive()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """End an answer, and soon after it what is still coming of its request."""
        super().on_response_complete()
        if self._in_body and not self.transport.is_closing():
            self._unset_keepalive_if_required()
            self._end_deadline()
            self._deadline = self.loop.call_later(LINGER_S, self.transport.close)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, or too much of it."""
        if self._head_bytes > HEAD_BYTES_MAX:
            self._refuse_head()
        else:
            self._refuse(400, "invalid_http", msg)

    # --- bounds ----------------------------------------------------------------------------

    def _count(self, count: int) -> None:
        self._unseen_bytes = 0
        self._head_bytes += count
        if self._head_bytes > HEAD_BYTES_MAX:
            raise HeadTooLong

    def _arm_keep_alive(self) -> None:
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def _end_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _late(self) -> None:
        message = f"The headers were not complete within {HEAD_WITHIN_S:g} s."
        self._refuse(408, "request_timeout", message)

    def _late_body(self) -> None:
        """Wake whoever reads the body, to refuse it in the dialect's shape."""
        self._deadline = None
        self.scope["state"][BODY_LATE] = BODY_WITHIN_S
        self.cycle.message_event.set()

    def _refuse_head(self) -> None:
        message = f"The request line and headers are longer than {HEAD_BYTES_MAX // 1024} KiB."
        self._refuse(431, "headers_too_large", message)

    def _refuse(self, status: int, code: str, message: str) -> None:
        """Answer, unless an earlier request is being answered, and hang up."""
        # Before the first request there is no cycle yet.
        if getattr(self.cycle, "response_complete", True):
            error = {"message": message, "type": "invalid_request_error", "code": code}
            body = json.dumps({"error": {**error, "param": None}}).encode()
            head = (
                b"content-type: application/json\r\n"
                b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body)
            )
            self.transport.write(STATUS_LINE[status] + head + body)
        self.transport.close()
