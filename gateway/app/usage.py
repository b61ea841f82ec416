"""Reading what a usage report is asked for, and writing its rows: for the API and the command."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from gateway.domain.errors import InvalidRequest, Problem
from gateway.domain.money import format_micro
from gateway.domain.usage import DAY_MS, GROUPS, STATUSES, UsageQuery, UsageSum

FIELDS = ("by", "from", "to", "team", "key", "model", "upstream", "status")
FORMATS = ("json", "csv", "ndjson")
AMOUNTS = (
    "tasks", "completed", "images", "credits_charged", "cost_usd", "exposure_usd", "margin_usd",
    "waste_usd", "latency_p50_ms", "latency_p95_ms",
)  # fmt: skip
# Rows of one JSON answer; CSV and NDJSON are streamed and have no such bound.
ROWS_MAX = 10_000
DEFAULT_DAYS = 30
# Sums that no day's rollup can give are read task by task.
FINE_DAYS_MAX = 31
TEXT_MAX = 500
_TIME = "a date such as 2026-11-16, or a time such as 2026-11-16T08:00:00Z"
_WITH_IDS = {"team": "team_id", "key": "key_id"}


def read_query(
    sent: Mapping[str, str | None],
    now_ms: int,
    *,
    by: str,
    aliases: Mapping[str, str],
    days: int = DEFAULT_DAYS,
) -> UsageQuery:
    """Give the query that texts ask for; ``by`` is the default grouping.

    Without ``from`` the range is the last ``days`` UTC days and today; a date in ``to`` is the
    last day that counts. Raises InvalidRequest with every problem.
    """
    problems: list[Problem] = []
    groups = _groups(sent.get("by") or by, problems)
    since_ms = _time_ms("from", sent.get("from"), problems)
    until_ms = _time_ms("to", sent.get("to"), problems)
    status = sent.get("status")
    if status is not None and status not in STATUSES:
        problems.append(Problem("status", "status is not valid.", legal=", ".join(STATUSES)))
    for name in ("team", "key", "model", "upstream"):
        text = sent.get(name)
        if text is not None and ("\x00" in text or not 0 < len(text) <= TEXT_MAX):
            legal = f"1 to {TEXT_MAX} characters"
            problems.append(Problem(name, f"{name} is not valid.", legal=legal))
    if until_ms is None:
        until_ms = now_ms + 1
    if since_ms is None:
        since_ms = until_ms - days * DAY_MS
        since_ms -= since_ms % DAY_MS
    whole_days = since_ms % DAY_MS == 0 and (until_ms % DAY_MS == 0 or until_ms > now_ms)
    _judge_range(since_ms, until_ms, problems, fine="hour" in groups or not whole_days)
    if problems:
        raise InvalidRequest(*problems)
    model = sent.get("model")
    return UsageQuery(
        groups,
        since_ms,
        until_ms,
        whole_days,
        team=sent.get("team"),
        key=sent.get("key"),
        model=None if model is None else aliases.get(model, model),
        upstream=sent.get("upstream"),
        status=status,
    )


def _groups(text: str, problems: list[Problem]) -> tuple[str, ...]:
    groups = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    unknown = [name[:80] for name in groups if name not in GROUPS]
    if unknown:
        legal = f"{', '.join(GROUPS)}, or several of them with commas"
        message = f"There is no grouping by {', '.join(map(repr, unknown))}."
        problems.append(Problem("by", message, legal=legal))
    return groups


def _time_ms(name: str, text: str | None, problems: list[Problem]) -> int | None:
    """Give the UTC milliseconds of a date or time; for a date in ``to``, the end of that day."""
    if text is None:
        return None
    try:
        if len(text) == len("2026-11-16"):
            day = datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
            return int(day.timestamp()) * 1000 + (DAY_MS if name == "to" else 0)
        at = datetime.fromisoformat(text)
        if at.tzinfo is not None:
            return int(at.timestamp() * 1000)
    except (ValueError, OverflowError):
        pass  # what it should have been is said below
    problems.append(Problem(name, f"{name} is not valid.", legal=_TIME))
    return None


def _judge_range(since_ms: int, until_ms: int, problems: list[Problem], *, fine: bool) -> None:
    if since_ms >= until_ms:
        problems.append(Problem("from", "from is not before to.", legal="a time before to"))
    elif fine and until_ms - since_ms > FINE_DAYS_MAX * DAY_MS + 1:
        message = f"Hours, and ranges that cut a day, go over at most {FINE_DAYS_MAX} days."
        problems.append(Problem("from", message, legal="whole UTC days by day, or a shorter range"))


def columns(by: tuple[str, ...]) -> list[str]:
    """Give the names of a report's columns, in order."""
    names = [part for name in by for part in (name, _WITH_IDS.get(name)) if part]
    return [*names, *AMOUNTS]


def row_view(row: UsageSum, credits_per_usd: Decimal) -> dict[str, Any]:
    """Give one row of a report; amounts of money are decimal texts."""
    return {
        **row.group,
        "tasks": row.tasks,
        "completed": row.completed,
        "images": row.images,
        "credits_charged": format_micro(row.charged),
        "cost_usd": format_micro(row.cost),
        "exposure_usd": format_micro(row.exposure),
        "margin_usd": format_micro(row.margin(credits_per_usd)),
        "waste_usd": format_micro(row.waste),
        "latency_p50_ms": row.p50_ms,
        "latency_p95_ms": row.p95_ms,
    }


async def as_csv(names: list[str], rows: AsyncIterator[dict[str, Any]]) -> AsyncIterator[str]:
    """Give the lines of a CSV document with a header (RFC 4180)."""
    yield csv_line(names)
    async for row in rows:
        yield csv_line([row.get(name) for name in names])


async def as_ndjson(rows: AsyncIterator[dict[str, Any]]) -> AsyncIterator[str]:
    """Give one JSON object a line."""
    async for row in rows:
        yield json.dumps(row, ensure_ascii=False) + "\n"


def csv_line(values: list[Any]) -> str:
    """Give one CSV line. A text that a spreadsheet would take for a formula gets an apostrophe."""
    out = io.StringIO()
    csv.writer(out).writerow([_harmless(value) for value in values])
    return out.getvalue()


def _harmless(value: Any) -> Any:
    if not isinstance(value, str) or not value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return value
    return value if value.removeprefix("-").replace(".", "", 1).isdigit() else f"'{value}"
