"""JSON Schema of the answers of `/admin/v1`, view by view."""

from __future__ import annotations

from gateway.app.dialect import Answers
from gateway.app.schemas import (
    DECIMAL,
    DECIMAL_OR_NULL,
    FLAG,
    TEXT,
    TEXT_OR_NULL,
    TIME,
    TIME_OR_NULL,
    WHOLE,
    WHOLE_OR_NULL,
    Schema,
    answer,
    listed,
    word,
)
from gateway.domain.access import SCOPES
from gateway.domain.administration import Permission, Role
from gateway.domain.batch import BatchStatus, LineState
from gateway.domain.budgets import MODES as BUDGET_MODES
from gateway.domain.callback import RETRIES, STATES
from gateway.domain.exposure import RESOLUTIONS
from gateway.domain.health import CircuitState
from gateway.domain.invoice import Difference
from gateway.domain.login import ADMIN_KEY_METHOD, PASSWORD_METHOD
from gateway.domain.oidc import OIDC_METHOD
from gateway.domain.statement import KINDS

_FACTS: Schema = {"type": ["object", "null"], "description": "The fields that changed."}


def page(item: Schema) -> Schema:
    """Give the schema of a page of a list."""
    return answer(
        {
            "object": word("list"),
            "data": listed(item),
            "has_more": FLAG,
            "next_cursor": TEXT_OR_NULL,
        },
        title=f"{item['title']}List",
    )


def _or_null(item: Schema) -> Schema:
    return {"type": ["array", "null"], "items": item}


_SECRET = {"webhook_secret": TEXT}
TEAM = answer(
    {
        "id": TEXT,
        "name": TEXT,
        "user_group": TEXT,
        "balance": DECIMAL,
        "held": DECIMAL,
        "available": DECIMAL,
        "created_at": TIME,
        "suspended_at": TIME_OR_NULL,
        "callback_retries": word(*RETRIES),
        "monthly_budget": DECIMAL_OR_NULL,
        "budget_mode": word(*BUDGET_MODES),
        "budget_alerts": listed(WHOLE),
        "spent_this_month": DECIMAL,
        "low_balance": DECIMAL_OR_NULL,
        "alert_url": TEXT_OR_NULL,
        "version": WHOLE,
    },
    title="Team",
)
TEAM_MADE = answer({**TEAM["properties"], **_SECRET}, title="TeamMade")
SECRET = answer({"id": TEXT, **_SECRET}, title="WebhookSecret")
ERASED = answer({"id": TEXT, "tasks_erased": WHOLE, "pictures_deleted": WHOLE}, title="Erased")

KEY = answer(
    {
        "id": TEXT,
        "team_id": TEXT,
        "team": TEXT,
        "name": TEXT,
        "ends_with": TEXT,
        "mode": word("auto", "sync", "async"),
        "created_at": TIME,
        "expires_at": TIME_OR_NULL,
        "revoked_at": TIME_OR_NULL,
        "scopes": _or_null(word(*SCOPES)),
        "models": _or_null(TEXT),
        "upstreams": _or_null(TEXT),
        "networks": _or_null(TEXT),
        "requests_per_minute": WHOLE_OR_NULL,
        "images_per_minute": WHOLE_OR_NULL,
        "concurrent_tasks": WHOLE_OR_NULL,
        "credit_cap": DECIMAL_OR_NULL,
        "monthly_credit_cap": DECIMAL_OR_NULL,
        "tasks_running": WHOLE,
        "credits_held": DECIMAL,
        "credits_spent": DECIMAL,
        "credits_spent_this_month": DECIMAL,
        "version": WHOLE,
    },
    title="Key",
)
KEY_MADE = answer({**KEY["properties"], "key": TEXT}, title="KeyMade")
KEY_ROTATED = answer({**KEY_MADE["properties"], "replaces": TEXT}, title="KeyRotated")

OPERATOR = answer(
    {
        "id": TEXT,
        "name": TEXT,
        "role": word(*Role),
        "team_id": TEXT_OR_NULL,
        "ends_with": TEXT,
        "created_at": TIME,
        "revoked_at": TIME_OR_NULL,
        "version": WHOLE,
    },
    title="Operator",
)
OPERATOR_MADE = answer({**OPERATOR["properties"], "token": TEXT}, title="OperatorMade")
_ACTOR = {
    "id": TEXT,
    "name": TEXT,
    "role": word(*Role),
    "team_id": TEXT_OR_NULL,
    "permissions": listed(word(*Permission)),
}
ME = answer(_ACTOR, title="Me")
_METHOD = word(PASSWORD_METHOD, ADMIN_KEY_METHOD, OIDC_METHOD)
SESSION = answer(
    {
        **_ACTOR,
        "method": _METHOD,
        "csrf_token": TEXT,
        "created_at": TIME,
        "expires_at": TIME,
    },
    title="Session",
)
OPEN_SESSION = answer(
    {
        "id": TEXT,
        "operator_id": TEXT,
        "method": _METHOD,
        "current": FLAG,
        "created_at": TIME,
        "last_used_at": TIME,
        "expires_at": TIME,
    },
    title="OpenSession",
)
SESSIONS_ENDED = answer({"id": TEXT, "sessions_ended": WHOLE}, title="SessionsEnded")

PRICE = answer(
    {
        "id": TEXT,
        "team_id": TEXT,
        "key_id": TEXT_OR_NULL,
        "model": TEXT,
        "credits": {"anyOf": [DECIMAL, {"type": "object", "additionalProperties": DECIMAL}]},
        "edit_surcharge": DECIMAL,
        "from": TIME_OR_NULL,
        "until": TIME_OR_NULL,
        "created_at": TIME,
    },
    title="Price",
)

_TRY = answer(
    {"status": WHOLE_OR_NULL, "error": TEXT_OR_NULL, "started_at": TIME, "ms": WHOLE_OR_NULL}
)
CALLBACK = answer(
    {
        "id": TEXT,
        "task_id": TEXT_OR_NULL,
        "team_id": TEXT,
        "url": TEXT,
        "event": TEXT,
        "state": word(*STATES),
        "created_at": TIME,
        "next_try_at": TIME_OR_NULL,
        "tries": listed(_TRY),
    },
    title="Callback",
)

BATCH = answer(
    {
        "id": TEXT,
        "team_id": TEXT,
        "key_id": TEXT,
        "name": TEXT,
        "status": word(*BatchStatus),
        "reason": {"anyOf": [answer({"code": TEXT, "message": TEXT}), {"type": "null"}]},
        "concurrency": WHOLE,
        "lines": answer(dict.fromkeys(("total", *LineState), WHOLE)),
        "images": WHOLE,
        "credits_charged": DECIMAL,
        "created_at": TIME,
        "ended_at": TIME_OR_NULL,
    },
    title="BatchOfTeam",
)


def task_of_team(native: Answers) -> Schema:
    """Give the schema of a task with its team and its key."""
    task = native.task
    required = {name: task["properties"][name] for name in task["required"]}
    optional = {name: one for name, one in task["properties"].items() if name not in required}
    return answer({**required, "team_id": TEXT, "key_id": TEXT}, optional, title="TaskOfTeam")


EXPOSURE = answer(
    {
        "id": TEXT,
        "task_id": TEXT,
        "team_id": TEXT,
        "upstream": TEXT,
        "upstream_model": TEXT,
        "upstream_task_id": TEXT_OR_NULL,
        "outcome": TEXT,
        "reason": TEXT_OR_NULL,
        "exposure_usd": DECIMAL,
        "started_at": TIME,
    },
    title="Exposure",
)
RESOLUTION = answer(
    {
        "id": TEXT,
        "upstream": TEXT,
        "resolution": {"enum": [*RESOLUTIONS, None]},
        "cost_usd": DECIMAL,
        "exposure_usd": DECIMAL,
    },
    title="Resolution",
)

CREDIT = answer(
    {
        "id": TEXT,
        "team_id": TEXT,
        "kind": word("grant", "adjustment", "refund", "expiration"),
        "credits": DECIMAL,
        "task_id": TEXT_OR_NULL,
        "reference": TEXT_OR_NULL,
        "expires_at": TIME_OR_NULL,
        "created_at": TIME,
    },
    title="Credit",
)
STATEMENT = answer(
    {
        "object": word("statement"),
        "team": TEXT,
        "team_id": TEXT,
        "month": TEXT,
        "open": FLAG,
        "opening": DECIMAL,
        **{f"{kind}s": DECIMAL for kind in KINDS},
        "closing": DECIMAL,
        "lines": listed(
            answer(
                {
                    "at": TIME,
                    "kind": word(*KINDS),
                    "credits": DECIMAL,
                    "model": TEXT_OR_NULL,
                    "tasks": WHOLE_OR_NULL,
                    "images": WHOLE_OR_NULL,
                    "task_id": TEXT_OR_NULL,
                    "reference": TEXT_OR_NULL,
                }
            )
        ),
    },
    title="Statement",
)

UPSTREAM = answer(
    {
        "name": TEXT,
        "adapter": TEXT,
        "base_url": TEXT,
        "models": listed(TEXT),
        "drained_at": TIME_OR_NULL,
        "state": word(*CircuitState),
        "circuits": listed(
            answer(
                {
                    "model": TEXT,
                    "state": word(*CircuitState),
                    "reason": TEXT_OR_NULL,
                    "until": TIME_OR_NULL,
                }
            )
        ),
        "in_flight": WHOLE_OR_NULL,
        "max_in_flight": WHOLE_OR_NULL,
        "spent_today_usd": DECIMAL_OR_NULL,
        "daily_cost_usd": DECIMAL_OR_NULL,
        "polls_waiting": WHOLE_OR_NULL,
        "poll_lag_ms": WHOLE_OR_NULL,
    },
    title="Upstream",
)

AUDIT_ENTRY = answer(
    {
        "id": WHOLE,
        "at": TIME,
        "actor": TEXT,
        "actor_name": TEXT,
        "session": TEXT_OR_NULL,
        "action": TEXT,
        "subject": TEXT,
        "request_id": TEXT,
        "before": _FACTS,
        "after": _FACTS,
    },
    title="AuditEntry",
)

COMPARISON = answer(
    {
        "billed_usd": DECIMAL,
        "booked_usd": DECIMAL,
        "difference_usd": DECIMAL,
        "agreeing": WHOLE,
        "differing": WHOLE,
        "lost_submits": WHOLE,
        "lost_submits_usd": DECIMAL,
        "differences": listed(
            answer(
                {
                    "kind": word(*Difference),
                    "upstream_task_id": TEXT,
                    "billed_usd": DECIMAL_OR_NULL,
                    "booked_usd": DECIMAL_OR_NULL,
                    "task_id": TEXT_OR_NULL,
                    "attempt_id": TEXT_OR_NULL,
                }
            )
        ),
    },
    title="InvoiceComparison",
)
