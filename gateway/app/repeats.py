"""Repeated create calls: what they are recognised by, and the task they are answered with."""

from __future__ import annotations

import json
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from hashlib import sha256
from typing import Any

from gateway.app.ports import Repeats, TaskStore
from gateway.domain.access import Principal
from gateway.domain.errors import IdempotencyConflict, TaskNotFound
from gateway.domain.repeats import CallMark
from gateway.domain.submission import Draft
from gateway.domain.task import Task

# Longer texts (pictures) are hashed by themselves instead of being written out.
TEXT_MAX = 4_096


def fingerprint(draft: Draft, scope: str) -> bytes:
    """Give the SHA-256 of what a call asks for: its request, callback and result format.

    Fields that have their default are left out, so that a field added by a newer version does
    not make an older call look different.
    """
    said = {
        "scope": scope,
        "request": _said(draft.request),
        "callback": _said(draft.callback),
        "result_format": draft.result_format,
    }
    return sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).digest()


@dataclass(frozen=True, slots=True)
class Recall:
    """Finds the task that an earlier call made."""

    repeats: Repeats
    tasks: TaskStore

    async def earlier(self, principal: Principal, mark: CallMark) -> Task | None:
        """Give the task that an earlier call like this made; None when this is the first.

        Raises IdempotencyConflict when the earlier call under the key asked for something else,
        TaskNotFound when its task is not kept any more.
        """
        if mark.key is None:
            return await self._of_retry(principal, mark)
        earlier = await self.repeats.under_key(principal.team_id, mark.scope, mark.key)
        if earlier is None:
            return None
        if earlier.fingerprint != mark.fingerprint:
            raise IdempotencyConflict("This Idempotency-Key was used with another request.")
        task = await self.tasks.get(earlier.task_id)
        if task is None:
            raise TaskNotFound(f"Task {earlier.task_id} of this key is not kept any more.")
        return task

    async def _of_retry(self, principal: Principal, mark: CallMark) -> Task | None:
        """Give the task of an SDK's earlier try; a first try is a new call."""
        if not mark.retries:
            return None
        found = await self.repeats.of_retry(principal.key_id, mark.fingerprint, mark.retries)
        return None if found is None else await self.tasks.get(found)


def _said(value: Any) -> Any:
    """Give a record as JSON, without what has its default."""
    if is_dataclass(value):
        pairs = ((field, getattr(value, field.name)) for field in fields(value))
        return {field.name: _said(item) for field, item in pairs if item != _default(field)}
    if isinstance(value, dict):
        return {name: _said(item) for name, item in value.items()}
    if isinstance(value, tuple):
        return [_said(item) for item in value]
    if isinstance(value, str) and len(value) > TEXT_MAX:
        return {"sha256": sha256(value.encode("utf-8", "surrogatepass")).hexdigest()}
    return value if isinstance(value, str | int | None) else str(value)


def _default(field: Field[Any]) -> object:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return field.default
