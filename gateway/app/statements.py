"""Statements as JSON and as CSV: for the API and the command."""

from __future__ import annotations

from typing import Any

from gateway.app.usage import csv_line
from gateway.app.views import time_text
from gateway.domain.money import format_micro
from gateway.domain.statement import KINDS, Line, Statement

COLUMNS = ("at", "kind", "credits", "model", "tasks", "images", "task_id", "reference")


def statement_view(statement: Statement, now_ms: int) -> dict[str, Any]:
    """Give a statement; ``open`` says that its month is not over."""
    return {
        "object": "statement",
        "team": statement.team_name,
        "team_id": statement.team_id,
        "month": statement.month.name,
        "open": now_ms < statement.month.until_ms,
        "opening": format_micro(statement.opening),
        **{f"{kind}s": format_micro(statement.total(kind)) for kind in KINDS},
        "closing": format_micro(statement.closing),
        "lines": [line_view(line) for line in statement.lines],
    }


def line_view(line: Line) -> dict[str, Any]:
    """Give one line; what does not apply to its kind is null."""
    is_charge = line.model is not None
    return {
        "at": time_text(line.at_ms),
        "kind": line.kind,
        "credits": format_micro(line.credits),
        "model": line.model,
        "tasks": line.tasks if is_charge else None,
        "images": line.images if is_charge else None,
        "task_id": line.task_id,
        "reference": line.reference,
    }


def statement_csv(statement: Statement) -> str:
    """Give a CSV document whose ``credits`` add up to its last line, the closing balance."""
    opening = [time_text(statement.month.since_ms), "opening", format_micro(statement.opening)]
    closing = [time_text(statement.month.until_ms), "closing", format_micro(statement.closing)]
    rows = [[line_view(line)[name] for name in COLUMNS] for line in statement.lines]
    blank: list[Any] = [None] * (len(COLUMNS) - 3)
    return "".join(map(csv_line, [list(COLUMNS), opening + blank, *rows, closing + blank]))
