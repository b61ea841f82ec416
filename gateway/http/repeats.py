"""What a create call says about being a repetition, and what that makes of a failure."""

from __future__ import annotations

import re

from gateway.app.repeats import fingerprint
from gateway.domain.errors import InvalidRequest, Problem
from gateway.domain.repeats import KEY_CHARS_MAX, CallMark
from gateway.domain.submission import Draft
from gateway.domain.task import Task
from gateway.http.exchange import Exchange

KEY_HEADER = "Idempotency-Key"
COUNT_HEADER = "x-stainless-retry-count"
_COUNT = re.compile(r"[0-9]{1,4}\Z")


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

    The scope is the dialect's route: the same one with and without the dialect's prefix. With
    an Idempotency-Key an SDK's count means nothing.
    """
    count = exchange.call.headers.get(COUNT_HEADER, "")
    retries = int(count) if key is None and _COUNT.match(count) else None
    if key is None and retries is None:
        return None
    scope = f"{exchange.dialect.name} {exchange.route.path}"
    return CallMark(scope, fingerprint(draft, scope), key, retries)


def should_retry(mark: CallMark | None, task: Task, now_ms: int) -> dict[str, str]:
    """Give the header that tells an SDK whether sending the call again finds this task."""
    attaches = mark is not None and mark.attaches(task.created_ms, now_ms)
    return {"x-should-retry": "true" if attaches else "false"}
