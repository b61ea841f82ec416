"""What a create call says about being a repetition, and what that makes of a failure."""

from __future__ import annotations

from gateway.app.repeats import fingerprint
from gateway.domain.errors import InvalidRequest, Problem
from gateway.domain.repeats import KEY_CHARS_MAX, CallMark
from gateway.domain.submission import Draft
from gateway.http.exchange import Exchange

KEY_HEADER = "Idempotency-Key"


def key_of(exchange: Exchange) -> str | None:
    """Give the Idempotency-Key of a call, None without one. Raises InvalidRequest."""
    key = exchange.call.headers.get(KEY_HEADER.lower())
    if key is not None and not 1 <= len(key) <= KEY_CHARS_MAX:
        message = f"{KEY_HEADER} has {len(key)} characters."
        legal = f"1 to {KEY_CHARS_MAX} characters"
        raise InvalidRequest(Problem(KEY_HEADER, message, "invalid_idempotency_key", legal))
    return key


def mark_of(exchange: Exchange, draft: Draft, key: str | None) -> CallMark | None:
    """Give what a repetition of this call would be recognised by; None when by nothing.

    The scope is the dialect's route: the same one with and without the dialect's prefix.
    """
    if key is None:
        return None
    scope = f"{exchange.dialect.name} {exchange.route.path}"
    return CallMark(scope, fingerprint(draft, scope), key)
