"""From a dialect's `Reply` to bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil

import msgspec
from starlette.responses import Response

from gateway.app.dialect import Dialect, Reply, View
from gateway.domain.errors import GatewayError, RateLimited, StoreUnavailable
from gateway.domain.limits import Verdict
from gateway.http.calls import INCOMPLETE

HEADER_TEXT_MAX = 500


def _hook(value: object) -> object:
    raise TypeError(f"{type(value).__name__} is not JSON")


# Amounts are exact decimals; as JSON numbers they keep their digits.
_ENCODER = msgspec.json.Encoder(decimal_format="number", enc_hook=_hook)


def encode(body: object) -> bytes:
    """Give JSON bytes; Decimals become numbers with exactly their digits."""
    return _ENCODER.encode(body)


class _Answer(Response):
    """A whole body with headers whose names are in lower case; made without looking for more."""

    def __init__(self, content: bytes, status: int, headers: Mapping[str, str]) -> None:
        self.status_code = status
        self.background = None
        self.body = content
        self.raw_headers = [
            (name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()
        ]
        self.raw_headers.append((b"content-length", b"%d" % len(content)))


def to_response(reply: Reply, extra: Mapping[str, str] | None = None) -> Response:
    """Give the HTTP response of a reply."""
    headers = {**reply.headers, **(extra or {})}
    if isinstance(reply.body, bytes):
        content = reply.body
    else:
        content = encode(reply.body)
        headers.setdefault("content-type", "application/json")
    return _Answer(content, reply.status, headers)


def limit_headers(verdicts: Sequence[Verdict]) -> dict[str, str]:
    """Give the ``RateLimit-*`` headers: every limit, and the figures of the tightest one."""
    if not verdicts:
        return {}
    tightest = min(verdicts, key=lambda one: (one.retry_ms == 0, one.remaining / one.allowed))
    return {
        "ratelimit-policy": ", ".join(f'"{one.name}";q={one.allowed};w=60' for one in verdicts),
        "ratelimit-limit": str(tightest.allowed),
        "ratelimit-remaining": str(tightest.remaining),
        "ratelimit-reset": str(-(-(tightest.retry_ms or tightest.reset_ms) // 1000)),
    }


def header_text(words: str) -> str:
    """Give words, which may quote a vendor, as a header can carry them."""
    printable = "".join(c if c.isprintable() else " " for c in words)
    return printable.encode("ascii", "replace").decode()[:HEADER_TEXT_MAX]


def error_response(dialect: Dialect, error: GatewayError, view: View) -> Response:
    """Give an error in a dialect's shape, with the headers every client can rely on."""
    reply = dialect.render_error(error, view)
    headers: dict[str, str] = {}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(max(1, ceil(error.retry_after_s)))
    if error.code == INCOMPLETE:
        # What is still to come of the body would hold the connection.
        headers["connection"] = "close"
    if isinstance(error, RateLimited):
        headers |= limit_headers(error.verdicts)
    if isinstance(error, StoreUnavailable) and not error.outcome_known:
        # The task may have been accepted; a blind repeat could buy it twice.
        headers["x-should-retry"] = "false"
    return to_response(reply, headers)
