"""One HTTP/1.1 connection: a request goes out, then its answer comes in, one at a time.

A client of our own on the parser that the server uses too (`httptools`): a poll through a general
client costs several times what the exchange itself does (decision 16). What it must never do
is call something unsent that may have been sent, so everything that fails here, after a connection
stands, is an error that does not say "unsent".
"""

from __future__ import annotations

import asyncio
import errno
import os
from typing import cast

import httptools
import httpx

HEAD_BYTES_MAX = 64 * 1024
"""Of an answer's status line and headers, when they arrive in several pieces."""
HELD_BYTES_MAX = 256 * 1024
"""Of a body that nobody has read yet; then the sender is made to wait."""
ONE_WRITE_BYTES_MAX = 64 * 1024
_UNLIMITED_S = 86_400.0


class Wire(asyncio.Protocol):
    """A connection and the one exchange that it carries now.

    ``status`` and ``headers`` (as sent) are those of the newest answer once `ask` has returned.
    ``is_stale``: it ended before a byte of the answer came, as an idle one does that the server
    closes just when it is used again.
    """

    def __init__(self) -> None:
        """Make it inside the running loop; the loop connects it."""
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        # What servers are known to send, and other clients put up with.
        self._parser.set_dangerous_leniencies(
            lenient_headers=True,
            lenient_optional_cr_before_lf=True,
            lenient_spaces_after_chunk_size=True,
        )
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._is_busy = False
        self._is_blocked = False
        self.exchanges = 0
        self.idle_since_s = 0.0
        self._reset()

    def _reset(self) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.is_stale = False
        self._parts: list[bytes] = []
        self._held_bytes = 0
        self._head_bytes = 0
        self._error: httpx.TransportError | None = None
        self._has_head = self._is_done = self._is_interim = False
        self._lasts = self._ends_with_connection = self._has_more = self._is_paused = False

    # --- an exchange -------------------------------------------------------------------------

    async def ask(
        self, head: bytes, body: bytes, *, write_s: float | None, read_s: float | None
    ) -> None:
        """Send a request, and return when the head of its answer is there.

        ``write_s`` and ``read_s`` bound the time without progress. Raises httpx.TransportError,
        none of those that say that nothing was sent. `end` has to follow, whatever happened.
        """
        self._reset()
        self._is_busy = True
        self.exchanges += 1
        self._write_s = _UNLIMITED_S if write_s is None else write_s
        self._read_s = _UNLIMITED_S if read_s is None else read_s
        self._moved_s = self._loop.time()
        transport = self._live()
        if len(body) > ONE_WRITE_BYTES_MAX:
            transport.write(head)
            transport.write(body)
        else:
            transport.write(head + body)
        self._timer = self._loop.call_later(self._limit_s(), self._check_time)
        while not self._has_head:
            if self._error is not None:
                raise self._error from None
            await self._news()

    async def read(self) -> bytes:
        """Give the next part of the body, empty at its end. Raises httpx.TransportError."""
        while not self._parts:
            if self._error is not None:
                raise self._error from None
            if self._is_done:
                return b""
            await self._news()
        part = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self._held_bytes = 0
        if self._is_paused:
            self._is_paused = False
            self._moved_s = self._loop.time()
            self._live().resume_reading()
        return part

    def end(self) -> bool:
        """End the exchange; gives whether the connection may serve another. Otherwise it is cut."""
        self._is_busy = False
        self._drop_timer()
        self._parts.clear()
        transport = self._live()
        whole = self._is_done and self._lasts and not self._has_more and self._error is None
        sent = not self._is_blocked and not transport.get_write_buffer_size()
        if whole and sent and self.is_open:
            return True
        transport.abort()
        return False

    @property
    def is_open(self) -> bool:
        """Whether the connection stands, as far as is known."""
        return self._transport is not None and not self._transport.is_closing()

    def cut(self) -> None:
        """Close the connection at once."""
        self._live().abort()

    def _live(self) -> asyncio.Transport:
        if self._transport is None:
            raise RuntimeError("the loop has not connected this")
        return self._transport

    async def _news(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _tell(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, error: httpx.TransportError) -> None:
        """Keep the first error, for whoever waits, and cut the connection."""
        if self._is_done or self._error is not None:
            return
        self._error = error
        self._drop_timer()
        self._live().abort()
        self._tell()

    # --- time --------------------------------------------------------------------------------

    def _limit_s(self) -> float:
        return self._write_s if self._is_blocked else self._read_s

    def _check_time(self) -> None:
        """Fail when nothing moved for too long; a pause that we made ourselves does not count."""
        now_s = self._loop.time()
        if self._is_paused:
            self._moved_s = now_s
        left_s = self._moved_s + self._limit_s() - now_s
        if left_s > 0:
            self._timer = self._loop.call_later(left_s, self._check_time)
        elif self._is_blocked:
            self._fail(httpx.WriteTimeout("the request was not taken in time"))
        else:
            self._fail(httpx.ReadTimeout("no answer in time"))

    def _drop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- called by the loop ------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        # uvloop's own are asyncio's by behaviour, not by class.
        self._transport = cast("asyncio.Transport", transport)

    def pause_writing(self) -> None:
        """Note that the other side does not take what we send."""
        self._is_blocked = True

    def resume_writing(self) -> None:
        """Note that it does again."""
        self._is_blocked = False
        self._moved_s = self._loop.time()

    def data_received(self, data: bytes) -> None:
        """Parse what came. An answer that nobody asked for ends the connection."""
        if not self._is_busy:
            self.cut()
            return
        self._moved_s = self._loop.time()
        if not self._has_head:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._has_more = True
            self._fail(httpx.RemoteProtocolError("the answer is not HTTP"))
            return
        if not self._has_head and self._head_bytes > HEAD_BYTES_MAX:
            self._fail(httpx.RemoteProtocolError("the answer is not HTTP"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Say what that means for the answer: some end with their connection, others are cut."""
        if not self._is_busy or self._is_done or self._error is not None:
            return
        self._drop_timer()
        if self._has_head and self._ends_with_connection and exc is None:
            self._is_done = True
        elif exc is not None:
            self._error = httpx.ReadError("the connection broke" + system_words(exc))
        elif self._has_head:
            self._error = httpx.RemoteProtocolError("the answer is incomplete")
        else:
            self._error = httpx.RemoteProtocolError("the connection was closed without an answer")
        self.is_stale = not self._head_bytes
        self._tell()

    # --- called by the parser ----------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Note a second answer, which nobody asked for."""
        self._has_more = self._is_done

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; those behind a body are dropped."""
        if not self._has_head:
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Tell the head, unless it is an interim one ("continue"), which another follows."""
        if self._is_done:
            return
        status = self._parser.get_status_code()
        if status < 200:
            self._is_interim = True
            self.headers = []
            return
        self.status, self._has_head = status, True
        self._lasts = self._parser.should_keep_alive()
        self._ends_with_connection = _ends_with_connection(self.headers)
        self._tell()

    def on_body(self, data: bytes) -> None:
        """Keep a part of the body, and make the sender wait when nobody reads it."""
        if self._is_done:
            return
        self._parts.append(data)
        self._held_bytes += len(data)
        if self._held_bytes > HELD_BYTES_MAX and not self._is_paused:
            self._is_paused = True
            self._live().pause_reading()
        self._tell()

    def on_message_complete(self) -> None:
        """Note the end of the answer."""
        if self._is_interim:
            self._is_interim = False
            return
        self._is_done = True
        self._drop_timer()
        self._tell()


def _ends_with_connection(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether a body ends only where its connection does: nothing says how long it is."""
    for name, value in headers:
        lowered = name.lower()
        if lowered == b"content-length":
            return False
        if lowered == b"transfer-encoding" and value.lower().rstrip().endswith(b"chunked"):
            return False
    return True


def system_words(error: Exception) -> str:
    """Give the part of an error that is safe to show: the system's own words, no address."""
    code = (error.errno or 0) if isinstance(error, OSError) else 0
    return f": {os.strerror(code)}" if code in errno.errorcode else ""
