"""Documents leave out what has its default, and are read with or without it."""

from __future__ import annotations

from dataclasses import MISSING, fields, replace
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from gateway.domain.errors import Blame
from gateway.domain.model import OnAmbiguous
from gateway.domain.request import (
    NO_RULES,
    GenerationRequest,
    InputImage,
    PaletteColor,
    RouteRules,
    Size,
)
from gateway.domain.strategy import Strategy
from gateway.domain.submission import Draft
from gateway.domain.task import Attempt, Ending, Image, Outcome, Task, TaskError, TaskStatus
from gateway.stores.postgres.codec import (
    KINDS,
    decode_draft,
    decode_request,
    decode_task,
    encode,
)

TASK = Task(
    id="task-unified-1800000000-00000001",
    team_id="team_1",
    key_id="key_1",
    dialect="evolink",
    model="wan2.5-t2i-preview",
    requested_model="wan2.5-t2i-preview",
    n=1,
    tier="1K",
    unit_price=1_500_000,
    hold=1_500_000,
    created_ms=1_800_000_000_000,
    deadline_ms=1_800_000_600_000,
)
ATTEMPT = Attempt(
    id="attempt-1",
    no=1,
    upstream="first",
    adapter="dashscope",
    upstream_model="wan2.5-t2i-preview",
    started_ms=1_800_000_001_000,
    planned_cost=29_000,
)
FAILED = replace(
    ATTEMPT,
    outcome=Outcome.FAILED,
    finished_ms=1_800_000_002_000,
    upstream_task_id="v-1",
    code="busy",
    reason="Try later.",
    blame=Blame.PROVIDER,
    cost=1,
    exposure=2,
    polls=3,
    misses=4,
    idempotent=True,
    on_ambiguous=OnAmbiguous.FAIL,
    delivered=5,
    retry_after_ms=6,
    resolution="free",
)
IMAGE = Image("https://files.example.net/1.png", 1_800_000_000, "A lamp", "image/png")
ENDED = replace(
    TASK,
    typical_ms=10_000,
    status=TaskStatus.FAILED,
    progress=50,
    fence=7,
    attempts=(FAILED, replace(ATTEMPT, no=2)),
    ending=Ending(TaskStatus.FAILED, (IMAGE,), TaskError("busy", "Try later.", Blame.PROVIDER)),
    charged=1,
    finished_ms=1_800_000_003_000,
    cancel_requested=True,
    cancel_asked=True,
    not_before_ms=8,
    has_callback=True,
    user_group="vip",
    ignored=("style",),
    route=("1. first: $0.029",),
    echo={"kind": "", "images": [None, 0, False], "nested": {"size": None}},
    top_up=True,
    kept=(IMAGE, Image("https://files.example.net/2.png")),
)
PLAIN = GenerationRequest("wan2.5-t2i-preview", "A lighthouse")
FULL = GenerationRequest(
    model="wan2.5-t2i-preview",
    prompt="A lighthouse",
    negative_prompt="",
    images=(InputImage("https://example.net/a.png", "image/png", 1, 2, 3, False),),
    mask=InputImage("https://example.net/mask.png"),
    n=2,
    size=Size(1024, 1024),
    tier="1K",
    aspect_ratio="1:1",
    seed=0,
    watermark=False,
    rewrite_prompt=False,
    thinking=False,
    group=True,
    palette=(PaletteColor("#102030", Decimal("12.50")),),
    boxes=(((1, 2, 3, 4),), ()),
    interleave=True,
    options={"quality": "high", "n": 0, "raw": False},
    rules=RouteRules(("a",), ("b",), ("c",), False, 0, Strategy.FASTEST),
    snap_size=True,
)
DRAFT = Draft(FULL, snap_size=True, ignored=("user",), field_names={"size": "s"}, echo={"user": ""})


@pytest.mark.parametrize(
    ("record", "decode"),
    [
        (TASK, decode_task),
        (ENDED, decode_task),
        (PLAIN, decode_request),
        (FULL, decode_request),
        (replace(PLAIN, rules=RouteRules(max_price=0)), decode_request),
        (Draft(PLAIN), decode_draft),
        (DRAFT, decode_draft),
    ],
)
def test_a_record_is_read_as_it_was_written_in_short_and_with_all_its_fields(record, decode):
    assert decode(encode(record)) == record
    assert decode(msgspec.json.encode(record)) == record


def test_what_has_its_default_is_left_out_of_inner_records_too():
    task = replace(TASK, status=TaskStatus.PROCESSING, attempts=(ATTEMPT,), progress=0)
    doc = msgspec.json.decode(encode(task))
    assert set(doc) == {*required(Task), "status", "attempts"}
    assert set(doc["attempts"][0]) == required(Attempt)
    request = replace(PLAIN, images=(InputImage("https://example.net/a.png"),), seed=0)
    assert msgspec.json.decode(encode(request)) == {
        "model": "wan2.5-t2i-preview",
        "prompt": "A lighthouse",
        "images": [{"url": "https://example.net/a.png"}],
        "seed": 0,
    }


def test_half_a_surrogate_pair_becomes_a_question_mark():
    broken = replace(FAILED, reason="a\ud83d")
    (found,) = decode_task(encode(replace(TASK, attempts=(broken,)))).attempts
    assert found == replace(FAILED, reason="a?")


# A field may be added with its default; one that is here may not get another.
DEFAULTS: dict[type, dict[str, Any]] = {
    Task: {
        "typical_ms": 15_000,
        "status": "pending",
        "progress": 0,
        "fence": 0,
        "attempts": (),
        "ending": None,
        "charged": 0,
        "finished_ms": None,
        "cancel_requested": False,
        "cancel_asked": False,
        "not_before_ms": 0,
        "has_callback": False,
        "user_group": "default",
        "ignored": (),
        "route": (),
        "echo": {},
        "top_up": False,
        "kept": (),
    },
    Attempt: {
        "outcome": "intent",
        "finished_ms": None,
        "upstream_task_id": None,
        "code": None,
        "reason": None,
        "blame": None,
        "cost": 0,
        "exposure": 0,
        "polls": 0,
        "misses": 0,
        "idempotent": False,
        "on_ambiguous": "failover",
        "delivered": 0,
        "retry_after_ms": 0,
        "resolution": None,
    },
    Ending: {"images": (), "error": None},
    Image: {"expires_at": None, "revised_prompt": None, "media_type": None},
    TaskError: {},
    GenerationRequest: {
        "prompt": "",
        "negative_prompt": None,
        "images": (),
        "mask": None,
        "n": 1,
        "size": None,
        "tier": None,
        "aspect_ratio": None,
        "seed": None,
        "watermark": None,
        "rewrite_prompt": None,
        "thinking": None,
        "group": False,
        "palette": (),
        "boxes": (),
        "interleave": False,
        "options": {},
        "rules": NO_RULES,
        "snap_size": False,
    },
    InputImage: {
        "media_type": None,
        "width": None,
        "height": None,
        "byte_count": None,
        "has_alpha": None,
    },
    RouteRules: {
        "order": (),
        "only": (),
        "ignore": (),
        "allow_fallbacks": True,
        "max_price": None,
        "sort": None,
    },
    Size: {},
    PaletteColor: {},
    Draft: {
        "wait": None,
        "result_format": None,
        "callback": None,
        "stream": False,
        "snap_size": False,
        "ignored": (),
        "field_names": {},
        "echo": {},
    },
}


def test_defaults_are_those_that_stored_documents_were_written_with():
    assert {kind: defaults_of(kind) for kind in KINDS} == DEFAULTS


def required(kind: type) -> set[str]:
    return {field.name for field in fields(kind)} - set(defaults_of(kind))


def defaults_of(kind: type) -> dict[str, Any]:
    found = {}
    for field in fields(kind):
        if field.default is not MISSING:
            found[field.name] = field.default
        elif field.default_factory is not MISSING:
            found[field.name] = field.default_factory()
    return found
