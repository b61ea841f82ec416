"""Reading a vendor's invoice, and telling what differs from the books."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Any

from gateway.domain.errors import InvalidRequest, Problem
from gateway.domain.invoice import Comparison, Finding
from gateway.domain.money import MICRO_MAX, MicroUsd, format_micro

ID_COLUMNS = ("task_id", "id", "request_id", "job_id", "prediction_id")
AMOUNT_COLUMNS = ("cost_usd", "cost", "amount", "total", "price")
PROBLEMS_MAX = 20
FINDING_COLUMNS = ("kind", "upstream_task_id", "billed_usd", "booked_usd", "task_id", "attempt_id")


def read_invoice(
    lines: Iterable[str],
    *,
    per_usd: Decimal = Decimal(1),
    id_column: str | None = None,
    amount_column: str | None = None,
) -> Iterator[tuple[str, MicroUsd]]:
    """Read a CSV file with a header; gives the vendor's task id and the micro-USD of each line.

    ``per_usd`` is how many units of the invoice's currency one dollar is. Raises InvalidRequest
    naming every column that is missing or, at the end, the first lines that are wrong.
    """
    rows = csv.DictReader(lines)
    known = list(rows.fieldnames or ())
    task_id_of = _column(known, id_column, ID_COLUMNS, "id-column")
    amount_of = _column(known, amount_column, AMOUNT_COLUMNS, "amount-column")
    problems: list[Problem] = []
    for row in rows:
        task_id, text = (row.get(task_id_of) or "").strip(), (row.get(amount_of) or "").strip()
        amount = _micro_usd(text, per_usd)
        if task_id and amount is not None:
            yield task_id, amount
        elif len(problems) < PROBLEMS_MAX:
            wrong = f"{amount_of} is {text[:40]!r}" if task_id else f"{task_id_of} is empty"
            message = f"Line {rows.line_num}: {wrong}."
            problems.append(Problem(f"line {rows.line_num}", message, legal="0.022"))
    if problems:
        raise InvalidRequest(*problems)


def comparison_view(found: Comparison) -> dict[str, Any]:
    """Give a comparison as operators read it; amounts are decimal texts of US dollars."""
    return {
        "billed_usd": format_micro(found.billed),
        "booked_usd": format_micro(found.booked),
        "difference_usd": format_micro(found.billed - found.booked),
        "agreeing": found.agreeing,
        "differing": len(found.findings),
        "lost_submits": found.unnamed,
        "lost_submits_usd": format_micro(found.unnamed_exposure),
        "differences": [finding_view(one) for one in found.findings],
    }


def finding_view(one: Finding) -> dict[str, Any]:
    """Give one difference."""
    return {
        "kind": one.kind.value,
        "upstream_task_id": one.upstream_task_id,
        "billed_usd": None if one.billed is None else format_micro(one.billed),
        "booked_usd": None if one.booked is None else format_micro(one.booked),
        "task_id": one.task_id,
        "attempt_id": one.attempt_id,
    }


def _column(known: list[str], wanted: str | None, usual: tuple[str, ...], option: str) -> str:
    """Give the header's name of a column, whatever its case."""
    by_name = {name.strip().lower(): name for name in known}
    for name in (wanted,) if wanted is not None else usual:
        if name.lower() in by_name:
            return by_name[name.lower()]
    legal = ", ".join(known) or "a header line with names of columns"
    message = f"The file has no column {wanted or ' or '.join(usual)}; name it with --{option}."
    raise InvalidRequest(Problem(option, message, legal=legal))


def _micro_usd(text: str, per_usd: Decimal) -> MicroUsd | None:
    """Give an amount in micro-USD, rounded half to even; None for what is no amount."""
    try:
        amount = Decimal(text) / per_usd
    except InvalidOperation:
        return None
    if not amount.is_finite() or abs(amount) > MICRO_MAX // 1_000_000:
        return None
    return int(amount.scaleb(6).to_integral_value(rounding=ROUND_HALF_EVEN))
