"""JSON Schema of DashScope's answers (providers/dashscope.md §4 to §7)."""

from __future__ import annotations

from gateway.app.dialect import Answers
from gateway.app.schemas import COUNT, FLAG, TEXT, WHOLE, answer, listed, word
from gateway.dialects._dashscope_words import STATUSES, UNKNOWN

_STATUS = word(*STATUSES.values(), UNKNOWN)
_BEIJING = {"type": "string", "description": "Beijing time."}
_MS = {"type": "integer", "description": "Unix milliseconds."}
_TIMES = {"scheduled_time": _BEIJING, "end_time": _BEIJING}
_FAILURE = {"code": TEXT, "message": TEXT}
_USAGE = answer({"image_count": COUNT})
_PICTURE = answer({"type": word("image"), "image": TEXT})
_CHOICES = listed(
    answer(
        {
            "finish_reason": word("stop"),
            "message": answer({"role": word("assistant"), "content": listed(_PICTURE)}),
        }
    )
)
_RESULTS = listed(
    {
        "anyOf": [
            answer({"url": TEXT}, {"orig_prompt": TEXT, "actual_prompt": TEXT}),
            answer(_FAILURE),
        ]
    }
)
_OUTPUT = answer(
    {"task_id": TEXT, "task_status": _STATUS},
    {
        "finished": FLAG,
        "submit_time": _BEIJING,
        **_TIMES,
        "results": _RESULTS,
        "choices": _CHOICES,
        **_FAILURE,
        "task_metrics": answer({"TOTAL": COUNT, "SUCCEEDED": COUNT, "FAILED": COUNT}),
    },
)

CREATED = answer(
    {"output": answer({"task_id": TEXT, "task_status": _STATUS}), "request_id": TEXT},
    title="DashScopeCreated",
)
RESULT = answer(
    {
        "request_id": TEXT,
        "output": answer({"choices": _CHOICES, "finished": FLAG}),
        "usage": _USAGE,
    },
    title="DashScopeResult",
)
REQUEST = answer({"request_id": TEXT}, title="DashScopeDone")
_LIST = answer(
    {
        "request_id": TEXT,
        "total": COUNT,
        "total_page": COUNT,
        "page_no": WHOLE,
        "page_size": WHOLE,
        "data": listed(
            answer(
                {
                    "task_id": TEXT,
                    "status": _STATUS,
                    "model_name": TEXT,
                    "region": TEXT,
                    "api_key_id": TEXT,
                    "caller_parent_id": TEXT,
                    "caller_uid": TEXT,
                    "request_id": TEXT,
                    "gmt_create": _MS,
                },
                {"start_time": _MS, "end_time": _MS},
            )
        ),
        "tasks": listed(
            answer(
                {
                    "task_id": TEXT,
                    "task_status": _STATUS,
                    "model_name": TEXT,
                    "submit_time": _BEIJING,
                },
                {**_TIMES, **_FAILURE},
            )
        ),
    },
    title="DashScopeTaskList",
)
POLICY = answer(
    {
        "request_id": TEXT,
        "data": answer(
            {
                "policy": TEXT,
                "signature": TEXT,
                "upload_dir": TEXT,
                "upload_host": TEXT,
                "expire_in_seconds": COUNT,
                "max_file_size_mb": COUNT,
                "capacity_limit_mb": COUNT,
                "oss_access_key_id": TEXT,
                "x_oss_object_acl": TEXT,
                "x_oss_forbid_overwrite": TEXT,
            }
        ),
    },
    title="DashScopeUploadPolicy",
)
ANSWERS = Answers(
    task=answer({"request_id": TEXT, "output": _OUTPUT}, {"usage": _USAGE}, title="DashScopeTask"),
    cancelled=REQUEST,
    listed=_LIST,
    error=answer({**_FAILURE, "request_id": TEXT}, {"task_id": TEXT}, title="DashScopeError"),
)
