"""JSON Schema of what dialects answer alike: the native task, its lists and errors, pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.app.dialect import Answers
from gateway.app.schemas import (
    COUNT,
    FLAG,
    SECONDS,
    TEXT,
    TEXT_OR_NULL,
    WHOLE,
    Schema,
    answer,
    listed,
    word,
)
from gateway.dialects._bodies import CODES
from gateway.domain.task import TaskStatus

_AMOUNT: Schema = {"type": "number", "minimum": 0, "description": "Credits."}
_DESCRIBED = {"expires_at": SECONDS, "revised_prompt": TEXT}
_PICTURE = answer({"url": TEXT}, _DESCRIBED)
# A picture is a link or bytes, never neither.
RESULT_PICTURE: Schema = {
    "anyOf": [
        answer({"url": TEXT}, {"revised_prompt": TEXT}),
        answer({"b64_json": TEXT}, {"revised_prompt": TEXT}),
    ]
}


def _task(picture: Schema, more: Mapping[str, Schema] | None = None, **about: Any) -> Schema:
    return answer(
        {
            "created": SECONDS,
            "id": TEXT,
            "task_id": TEXT,
            "model": TEXT,
            "object": word("image.generation.task"),
            "progress": {"type": "integer", "minimum": 0, "maximum": 100},
            "status": word(*TaskStatus),
            "task_info": answer(
                {"can_cancel": FLAG}, {"estimated_time": {**COUNT, "description": "Seconds."}}
            ),
            "type": word("image"),
            "usage": answer(
                {
                    "billing_rule": word("per_call"),
                    "credits_reserved": _AMOUNT,
                    "credits_charged": _AMOUNT,
                    "user_group": TEXT,
                }
            ),
            **(more or {}),
        },
        {
            "results": listed(TEXT),
            "data": listed(picture),
            "error": answer({"code": word(*CODES.values()), "message": TEXT}),
        },
        **about,
    )


TASK = _task(_PICTURE, title="Task")
CREATED: Schema = {"anyOf": [TASK, _task(RESULT_PICTURE, title="TaskWithPictures")]}
_ENTRY = _task(
    _PICTURE,
    {"created_at": SECONDS, "has_results": FLAG, "has_error": FLAG, "credits_used": _AMOUNT},
    title="TaskListEntry",
)
TASK_LIST = answer(
    {
        "object": word("list"),
        "data": listed(_ENTRY),
        "has_more": FLAG,
        "next_cursor": TEXT_OR_NULL,
    },
    {"page": WHOLE, "page_size": WHOLE, "total": COUNT},
    title="TaskList",
)
ERROR = answer(
    {
        "error": answer(
            {
                "message": TEXT,
                "type": TEXT,
                "code": TEXT,
                "param": TEXT_OR_NULL,
                "request_id": TEXT,
            }
        )
    },
    # Of a task that goes on while its caller waited in vain.
    {"id": TEXT, "task_id": TEXT, "status": word("processing")},
    title="Error",
)
NATIVE = Answers(task=TASK, cancelled=TASK, listed=TASK_LIST, error=ERROR)

OPENAI_RESULT = answer({"created": SECONDS, "data": listed(RESULT_PICTURE)}, title="Pictures")


def openai_error(param: Schema, title: str) -> Schema:
    """Give the schema of OpenAI's error object, whose ``param`` other vendors use otherwise."""
    words = {"message": TEXT, "type": TEXT, "param": param, "code": TEXT}
    return answer({"error": answer(words)}, {"task_id": TEXT}, title=title)
