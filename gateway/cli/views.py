"""Records as `--json` shows them; amounts are decimal strings (⚑ §6)."""

from __future__ import annotations

from typing import Any

from gateway.app.views import callback_view, time_text
from gateway.domain.callback import CallbackLog
from gateway.domain.ledger import LedgerReport, Transfer
from gateway.domain.money import format_micro
from gateway.domain.task import Attempt, Task


def task_view(
    task: Task, transfers: tuple[Transfer, ...], callbacks: tuple[CallbackLog, ...]
) -> dict[str, Any]:
    """Give a task with everything that happened to it."""
    return {
        "id": task.id,
        "status": task.status.value,
        "progress": task.progress,
        "team_id": task.team_id,
        "key_id": task.key_id,
        "dialect": task.dialect,
        "model": task.model,
        "requested_model": task.requested_model,
        "n": task.n,
        "tier": task.tier,
        "images": [image.url for image in task.images],
        "error": {"code": task.error.code, "message": task.error.message} if task.error else None,
        "credits_reserved": format_micro(task.hold),
        "credits_charged": format_micro(task.charged),
        "cost_usd": format_micro(task.cost),
        "exposure_usd": format_micro(task.exposure),
        "created_at": time_text(task.created_ms),
        "deadline_at": time_text(task.deadline_ms),
        "finished_at": time_text(task.finished_ms),
        "ignored_params": list(task.ignored),
        "route": list(task.route),
        "attempts": [attempt_view(attempt) for attempt in task.attempts],
        "transfers": [_transfer_view(transfer) for transfer in transfers],
        "callbacks": [callback_view(callback) for callback in callbacks],
    }


def attempt_view(attempt: Attempt) -> dict[str, Any]:
    """Give one attempt."""
    return {
        "upstream": attempt.upstream,
        "upstream_task_id": attempt.upstream_task_id,
        "outcome": attempt.outcome.value,
        "reason": attempt.reason,
        "code": attempt.code,
        "delivered": attempt.delivered,
        "polls": attempt.polls,
        "cost_usd": format_micro(attempt.cost),
        "exposure_usd": format_micro(attempt.exposure),
        "resolution": attempt.resolution,
        "started_at": time_text(attempt.started_ms),
        "finished_at": time_text(attempt.finished_ms),
    }


def _transfer_view(transfer: Transfer) -> dict[str, Any]:
    return {
        "id": str(transfer.id),
        "kind": transfer.kind.value,
        "credits": format_micro(transfer.amount),
        "returned": format_micro(transfer.returned),
        "created_at": time_text(transfer.created_ms),
    }


def report_view(report: LedgerReport) -> dict[str, Any]:
    """Give what `gateway ledger verify` found."""
    return {
        "ok": report.is_sound,
        "teams": report.teams,
        "tasks": report.tasks,
        "transfers": report.transfers,
        "violations": [
            {"rule": found.rule, "subject": found.subject, "detail": found.detail}
            for found in report.violations
        ],
    }
