"""How a create call is recognised when it is sent again, so that it buys nothing twice."""

from __future__ import annotations

from dataclasses import dataclass

KEY_CHARS_MAX = 255
KEY_TTL_MS = 24 * 3_600_000


@dataclass(frozen=True, slots=True)
class CallMark:
    """What a create call can be recognised by.

    ``scope`` names the operation that was called: an Idempotency-Key means something within its
    team and that operation only. ``fingerprint`` is the SHA-256 of what was asked for, in
    canonical words, so that spelling and order of the body do not matter. ``key`` is the
    caller's Idempotency-Key.
    """

    scope: str
    fingerprint: bytes
    key: str | None = None


@dataclass(frozen=True, slots=True)
class EarlierCall:
    """The first call under an Idempotency-Key: what it asked for and the task it made."""

    task_id: str
    fingerprint: bytes
