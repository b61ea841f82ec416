"""Domain records as bytes (JSON by msgspec) and as text that PostgreSQL can keep.

A field with its default is left out: a task's row is a little over half as long, and every reader,
older ones too, puts the default in its place. So a default, once stored, is not to be changed
(`tests/stores/postgres/test_codec.py` has them all).
"""

from __future__ import annotations

import re
from dataclasses import MISSING, fields
from operator import attrgetter
from typing import Any

import msgspec

from gateway.domain.records import changed
from gateway.domain.request import GenerationRequest, InputImage, PaletteColor, RouteRules, Size
from gateway.domain.submission import Draft
from gateway.domain.task import Attempt, Ending, Image, Task, TaskError

KINDS = (
    *(Task, Attempt, Ending, Image, TaskError),
    *(GenerationRequest, Size, InputImage, PaletteColor, RouteRules, Draft),
)

_encoder = msgspec.json.Encoder()
_task_decoder = msgspec.json.Decoder(Task)
_request_decoder = msgspec.json.Decoder(GenerationRequest)
_draft_decoder = msgspec.json.Decoder(Draft)
_KIND_NAMED = re.compile(rf"\b({'|'.join(kind.__name__ for kind in KINDS)})\b")


def _twin(kind: Any) -> tuple[type[msgspec.Struct], attrgetter[Any], dict[str, object]]:
    """Give a record's twin that leaves out defaults, and what reads its fields.

    The fields that hold records come with their defaults.

    msgspec leaves out what *is* the default; a text that merely equals it may be written.
    """
    described: list[Any] = []
    for field in fields(kind):
        if field.default is not MISSING:
            described.append((field.name, object, field.default))
        elif field.default_factory is not MISSING:
            factory = msgspec.field(default_factory=field.default_factory)
            described.append((field.name, object, factory))
        else:
            described.append((field.name, object))
    twin = msgspec.defstruct(kind.__name__, described, omit_defaults=True)
    inner = {
        field.name: field.default for field in fields(kind) if _KIND_NAMED.search(str(field.type))
    }
    return twin, attrgetter(*(field.name for field in fields(kind))), inner


_TWINS = {kind: _twin(kind) for kind in KINDS}


def encode(record: object) -> bytes:
    """Give a record's JSON, without what has its default.

    Half a surrogate pair, which a vendor's JSON may hold and UTF-8 cannot, becomes ``?``: it
    must not keep a paid task from being written.
    """
    lean = _lean(record)
    try:
        return _encoder.encode(lean)
    except UnicodeEncodeError:
        return _encoder.encode(_scrubbed(msgspec.to_builtins(lean)))


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


def _lean(value: Any) -> Any:
    """Give a record as its twin, which leaves out what has its default, and so inner ones."""
    if (known := _TWINS.get(type(value))) is not None:
        twin, read, inner = known
        lean = twin(*read(value))
        for name, default in inner.items():
            if (item := getattr(lean, name)) is not default:
                setattr(lean, name, default if item == default else _lean(item))
        return lean
    if isinstance(value, tuple):
        return [_lean(item) for item in value]
    return value


def _scrubbed(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_scrubbed(name): _scrubbed(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_scrubbed(item) for item in value]
    return value
