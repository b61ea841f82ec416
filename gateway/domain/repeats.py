"""How a create call is recognised when it is sent again, so that it buys nothing twice."""

from __future__ import annotations

from dataclasses import dataclass

KEY_CHARS_MAX = 255
KEY_TTL_MS = 24 * 3_600_000
# An SDK sends a call again after its own time-out, ten minutes unless told otherwise.
RETRY_TTL_MS = 11 * 60_000
# How long after an answer the next try may arrive.
RETRY_PAUSE_MS = 60_000


@dataclass(frozen=True, slots=True)
class CallMark:
    """What a create call can be recognised by.

    ``scope`` names the operation that was called: an Idempotency-Key means something within its
    team and that operation only. ``fingerprint`` is the SHA-256 of what was asked for, in
    canonical words, so that spelling and order of the body do not matter. ``key`` is the
    caller's Idempotency-Key. ``retries`` is how often the caller's SDK says it sent this call
    before, None for callers that do not count.
    """

    scope: str
    fingerprint: bytes
    key: str | None = None
    retries: int | None = None

    def attaches(self, created_ms: int, now_ms: int) -> bool:
        """Whether a repetition now would be answered with the task made at ``created_ms``."""
        ttl_ms = RETRY_TTL_MS if self.key is None else KEY_TTL_MS
        known = self.key is not None or self.retries is not None
        return known and now_ms + RETRY_PAUSE_MS < created_ms + ttl_ms


@dataclass(frozen=True, slots=True)
class EarlierCall:
    """The first call under an Idempotency-Key: what it asked for and the task it made."""

    task_id: str
    fingerprint: bytes
