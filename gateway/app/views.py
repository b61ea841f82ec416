"""Records as the API of operators and ``--json`` show them; amounts are decimal strings (⚑ §6)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from gateway.domain.access import CAPS, RULES, ApiKey, Team
from gateway.domain.administration import Operator
from gateway.domain.batch import Batch
from gateway.domain.callback import CallbackLog
from gateway.domain.exposure import Exposure
from gateway.domain.ledger import Transfer, TransferKind
from gateway.domain.money import format_micro
from gateway.domain.price_overrides import PriceOverride, written
from gateway.domain.task import Attempt


def time_text(ms: int | None) -> str | None:
    """Give a UTC time as ISO 8601 text."""
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC).isoformat()


def _credits(micro: int | None) -> str | None:
    return None if micro is None else format_micro(micro)


def team_view(team: Team, *, secret: bool = True) -> dict[str, Any]:
    """Give a team; its webhook secret only where it is asked for."""
    budget = team.budget
    view = {
        "id": team.id,
        "name": team.name,
        "user_group": team.user_group,
        "balance": format_micro(team.balance),
        "held": format_micro(team.held),
        "available": format_micro(team.available),
        "created_at": time_text(team.created_ms),
        "suspended_at": time_text(team.suspended_ms),
        "callback_retries": team.callback_retries,
        "monthly_budget": _credits(budget.monthly_budget),
        "budget_mode": budget.budget_mode,
        "budget_alerts": list(budget.budget_alerts),
        "spent_this_month": format_micro(team.month_spent),
        "low_balance": _credits(budget.low_balance),
        "alert_url": budget.alert_url,
        "version": team.version,
    }
    return {**view, "webhook_secret": team.webhook_secret} if secret else view


def key_view(key: ApiKey) -> dict[str, Any]:
    """Give a key without its text; a rule that is null allows everything.

    What counts against its caps is what all keys that share them used.
    """
    rules = {name: getattr(key.rules, name) for name in RULES}
    rules |= {name: _credits(rules[name]) for name in CAPS}
    counts = key.counts
    return {
        "id": key.id,
        "team_id": key.team_id,
        "team": key.team_name,
        "name": key.name,
        "ends_with": key.last4,
        "mode": key.default_mode,
        "created_at": time_text(key.created_ms),
        "expires_at": time_text(key.expires_ms),
        "revoked_at": time_text(key.revoked_ms),
        **{name: list(rule) if isinstance(rule, tuple) else rule for name, rule in rules.items()},
        "tasks_running": counts.running,
        "credits_held": format_micro(counts.held),
        "credits_spent": format_micro(counts.spent),
        "credits_spent_this_month": format_micro(counts.month_spent),
        "version": key.version,
    }


def operator_view(one: Operator) -> dict[str, Any]:
    """Give an operator without its token."""
    return {
        "id": one.id,
        "name": one.name,
        "role": one.role.value,
        "team_id": one.team_id,
        "ends_with": one.last4,
        "created_at": time_text(one.created_ms),
        "revoked_at": time_text(one.revoked_ms),
        "version": one.version,
    }


def price_view(one: PriceOverride) -> dict[str, Any]:
    """Give an agreed price; times that are null are no bounds, a null key is every key."""
    return {
        "id": str(one.id),
        "team_id": one.team_id,
        "key_id": one.key_id,
        "model": one.model,
        "credits": written(one.table),
        "edit_surcharge": format_micro(one.table.edit),
        "from": time_text(one.from_ms),
        "until": time_text(one.until_ms),
        "created_at": time_text(one.created_ms),
    }


def batch_view(batch: Batch) -> dict[str, Any]:
    """Give a batch; ``reason`` says why it is paused, null otherwise."""
    reason = None
    if batch.reason_code is not None:
        reason = {"code": batch.reason_code, "message": batch.reason}
    states = ("total", "waiting", "running", "completed", "failed", "cancelled")
    return {
        "id": batch.id,
        "team_id": batch.team_id,
        "key_id": batch.key_id,
        "name": batch.name,
        "status": batch.status.value,
        "reason": reason,
        "concurrency": batch.concurrency,
        "lines": {name: getattr(batch, name) for name in states},
        "images": batch.images,
        "credits_charged": format_micro(batch.charged),
        "created_at": time_text(batch.created_ms),
        "ended_at": time_text(batch.ended_ms),
    }


def callback_view(callback: CallbackLog) -> dict[str, Any]:
    """Give a callback with every try; ``next_try_at`` is null once it has ended."""
    next_ms = callback.next_at_ms if callback.state == "pending" else None
    return {
        "id": callback.id,
        "task_id": callback.task_id,
        "team_id": callback.team_id,
        "url": callback.url,
        "event": callback.event,
        "state": callback.state,
        "created_at": time_text(callback.created_ms),
        "next_try_at": time_text(next_ms),
        "tries": [
            {
                "status": tried.status,
                "error": tried.error,
                "started_at": time_text(tried.started_ms),
                "ms": tried.duration_ms,
            }
            for tried in callback.tries
        ],
    }


def exposure_view(one: Exposure) -> dict[str, Any]:
    """Give an attempt that may have been billed."""
    return {
        "id": one.id,
        "task_id": one.task_id,
        "team_id": one.team_id,
        "upstream": one.upstream,
        "upstream_model": one.upstream_model,
        "upstream_task_id": one.upstream_task_id,
        "outcome": one.outcome,
        "reason": one.reason,
        "exposure_usd": format_micro(one.exposure),
        "started_at": time_text(one.started_ms),
    }


def resolution_view(attempt: Attempt) -> dict[str, Any]:
    """Give what an exposure came to."""
    return {
        "id": attempt.id,
        "upstream": attempt.upstream,
        "resolution": attempt.resolution,
        "cost_usd": format_micro(attempt.cost),
        "exposure_usd": format_micro(attempt.exposure),
    }


def credit_view(transfer: Transfer) -> dict[str, Any]:
    """Give a grant, an adjustment (its sign says which way), a refund or an expiration."""
    adjusts = transfer.kind in (TransferKind.CREDIT, TransferKind.DEBIT)
    return {
        "id": str(transfer.id),
        "team_id": transfer.team_id,
        "kind": "adjustment" if adjusts else transfer.kind.value,
        "credits": format_micro(transfer.gain),
        "task_id": transfer.task_id,
        "reference": transfer.reference,
        "expires_at": time_text(transfer.expires_ms),
        "created_at": time_text(transfer.created_ms),
    }
