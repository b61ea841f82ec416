"""Whether a create call is answered at once with a task, or later with pictures (⚑ §4)."""

from __future__ import annotations

from gateway.domain.access import Principal
from gateway.domain.submission import Draft, Wait


def wait_for(
    draft: Draft, principal: Principal, *, from_openai_sdk: bool, route_sync: bool | None
) -> Wait:
    """Give how this caller is answered; ``Wait(None)`` is asynchronous.

    What the call itself says (read by the dialect into ``draft.wait``) comes first, then the
    route's only mode, the key's default, and the OpenAI SDKs' header. A wait longer than the
    gateway's own limit is cut by the caller of this function.
    """
    if draft.wait is not None:
        return draft.wait
    if route_sync is not None:
        return Wait(float("inf") if route_sync else None)
    if principal.default_mode != "auto":
        return Wait(float("inf") if principal.default_mode == "sync" else None)
    return Wait(float("inf") if from_openai_sdk else None)
