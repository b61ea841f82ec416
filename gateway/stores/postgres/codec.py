"""Domain records as bytes (JSON by msgspec) and as text that PostgreSQL can keep."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.domain.records import changed
from gateway.domain.request import GenerationRequest
from gateway.domain.submission import Draft
from gateway.domain.task import Attempt, Task

_encoder = msgspec.json.Encoder()
_task_decoder = msgspec.json.Decoder(Task)
_request_decoder = msgspec.json.Decoder(GenerationRequest)
_draft_decoder = msgspec.json.Decoder(Draft)


def encode(record: object) -> bytes:
    """Give a record's JSON.

    Half a surrogate pair, which a vendor's JSON may hold and UTF-8 cannot, becomes ``?``: it
    must not keep a paid task from being written.
    """
    try:
        return _encoder.encode(record)
    except UnicodeEncodeError:
        return _encoder.encode(_scrubbed(msgspec.to_builtins(record)))


def decode_task(doc: bytes) -> Task:
    """Give the task of a ``doc`` column."""
    return _task_decoder.decode(doc)


def decode_request(request: bytes) -> GenerationRequest:
    """Give the request of a ``request`` column."""
    return _request_decoder.decode(request)


def decode_draft(draft: bytes) -> Draft:
    """Give the draft of a line of a batch."""
    return _draft_decoder.decode(draft)


def advanced(task: Task) -> tuple[Task, bytes]:
    """Give the task as the next durable write leaves it, and its doc."""
    written = changed(task, fence=task.fence + 1)
    return written, encode(written)


def attempt_rows(pairs: list[tuple[str, Attempt]]) -> str:
    """Give (task id, attempt) pairs as a JSON array of ``attempts`` rows."""
    rows = [{"task_id": task_id, **msgspec.to_builtins(attempt)} for task_id, attempt in pairs]
    return encode(rows).decode().replace("\\u0000", "\ufffd")


def plain(text: str) -> str:
    """Give a text without what a ``text`` column refuses: NUL and halves of surrogate pairs."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def _scrubbed(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_scrubbed(name): _scrubbed(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_scrubbed(item) for item in value]
    return value
