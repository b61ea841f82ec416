"""Reading a vendor's invoice, and telling what differs from the books."""

from __future__ import annotations

import asyncio
import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Any

from gateway.app.ports import Clock
from gateway.app.ports.admin import BookedAttempts
from gateway.domain.errors import InvalidRequest, Problem
from gateway.domain.invoice import Comparison, Finding, compare
from gateway.domain.money import MICRO_MAX, MicroUsd, format_micro
from gateway.domain.statement import month_named

ID_COLUMNS = ("task_id", "id", "request_id", "job_id", "prediction_id")
AMOUNT_COLUMNS = ("cost_usd", "cost", "amount", "total", "price")
PROBLEMS_MAX = 20
FINDING_COLUMNS = ("kind", "upstream_task_id", "billed_usd", "booked_usd", "task_id", "attempt_id")


@dataclass(frozen=True, slots=True)
class Terms:
    """How an invoice is to be read, and what it is for.

    ``per_usd`` and ``tolerance`` are in millionths: of units of its currency to the dollar, and of
    dollars. Columns that are None are found by their usual names.
    """

    upstream: str
    month: str
    per_usd: int = 1_000_000
    tolerance: MicroUsd = 1
    id_column: str | None = None
    amount_column: str | None = None

    def problems(self) -> Iterator[Problem]:
        """Give what is wrong with the amounts, by field."""
        if self.per_usd <= 0:
            yield Problem("per_usd", "per_usd is not valid.", legal="more than 0")
        if self.tolerance < 0:
            yield Problem("tolerance_usd", "tolerance_usd is not valid.", legal="0 or more")


@dataclass(frozen=True, slots=True)
class CheckInvoice:
    """Compares a vendor's invoice with what was booked for its upstream."""

    booked: BookedAttempts
    clock: Clock

    async def run(self, lines: Iterable[str], terms: Terms) -> Comparison:
        """Compare the lines of a CSV file with a header.

        Raises InvalidRequest for a month, terms or a file that are not valid, StoreUnavailable.
        """
        month = month_named(terms.month, self.clock.now_ms())
        if problems := list(terms.problems()):
            raise InvalidRequest(*problems)
        try:
            # A month's file is large: others are not to wait while it is read.
            billed = await asyncio.to_thread(lambda: list(read_invoice(lines, terms)))
        except (UnicodeDecodeError, csv.Error) as error:
            message = f"The file cannot be read: {error}"
            raise InvalidRequest(Problem("", message, legal="CSV in UTF-8")) from None
        names = [task_id for task_id, _ in billed]
        booked = await self.booked.booked(terms.upstream, month.since_ms, month.until_ms, names)
        if not booked:
            await self._known(terms.upstream)
        return await asyncio.to_thread(compare, billed, booked, tolerance=terms.tolerance)

    async def _known(self, upstream: str) -> None:
        """Raise InvalidRequest for a name under which nothing was ever booked: a typing error."""
        known = await self.booked.upstreams()
        if upstream not in known:
            message = f"Nothing was ever booked for an upstream {upstream[:80]!r}."
            legal = ", ".join(known) or "none yet"
            raise InvalidRequest(Problem("upstream", message, legal=legal))


def read_invoice(lines: Iterable[str], terms: Terms) -> Iterator[tuple[str, MicroUsd]]:
    """Read a CSV file with a header; gives the vendor's task id and the micro-USD of each line.

    Raises InvalidRequest naming the first column that is missing or, at the end, the first lines
    that are wrong.
    """
    rows = csv.DictReader(lines)
    known = list(rows.fieldnames or ())
    task_id_of = _column(known, terms.id_column, ID_COLUMNS, "id_column")
    amount_of = _column(known, terms.amount_column, AMOUNT_COLUMNS, "amount_column")
    per_usd = Decimal(terms.per_usd).scaleb(-6)
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
    message = f"The file has no column {wanted or ' or '.join(usual)}; name it with {option}."
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
