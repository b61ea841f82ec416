"""`gateway invoice …`."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.output import AsJson, group, run, show, show_table
from gateway.cli.usage import AsCsv
from gateway.cli.values import micro_of

if TYPE_CHECKING:
    from gateway.domain.invoice import Comparison

invoice = group("Vendors' invoices against the books.")

SHOWN_MAX = 100


@invoice.command("check")
def check(  # noqa: PLR0913, PLR0917 - typer makes an option of every parameter
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The invoice's lines: CSV with a header.")
    ],
    upstream: Annotated[str, typer.Option("--upstream", help="The account it is for.")],
    month: Annotated[str, typer.Option("--month", help="The UTC month, such as 2026-11.")],
    id_column: Annotated[
        str | None, typer.Option("--id-column", help="The column with the vendor's task id.")
    ] = None,
    amount_column: Annotated[
        str | None, typer.Option("--amount-column", help="The column with the amount.")
    ] = None,
    per_usd: Annotated[
        str, typer.Option("--per-usd", help="How many units of its currency one US dollar is.")
    ] = "1",
    tolerance: Annotated[
        str, typer.Option("--tolerance-usd", help="Amounts that differ by no more agree.")
    ] = "0.000001",
    as_csv: AsCsv = False,
    as_json: AsJson = False,
) -> None:
    """Compare an invoice with what was booked; exit code 1 when anything differs."""
    if as_csv and as_json:
        raise typer.BadParameter("--csv and --json exclude each other")
    rate = micro_of(per_usd, "--per-usd", as_json=as_json)
    most = micro_of(tolerance, "--tolerance-usd", as_json=as_json)
    found = run(
        _check(file, (upstream, month, rate, most, id_column, amount_column)), as_json=as_json
    )
    _show(found, as_csv=as_csv, as_json=as_json)
    if found.findings:
        raise typer.Exit(1)


async def _check(
    file: Path, terms: tuple[str, str, int, int, str | None, str | None]
) -> Comparison:
    from gateway.app.invoices import CheckInvoice, Terms
    from gateway.cli.database import books
    from gateway.domain.errors import NotFound
    from gateway.stores.postgres.costs import PostgresCosts
    from gateway.wiring.books import SystemClock

    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            async with books() as opened:
                costs = PostgresCosts(opened.database)
                return await CheckInvoice(costs, SystemClock()).run(lines, Terms(*terms))
    except OSError as error:
        raise NotFound(f"{file} cannot be read: {error}") from None


def _show(found: Comparison, *, as_csv: bool, as_json: bool) -> None:
    from gateway.app.invoices import FINDING_COLUMNS, comparison_view

    view: dict[str, Any] = comparison_view(found)
    if as_json:
        show(view, as_json=True)
        return
    differences = view.pop("differences")
    if as_csv:
        table = csv.DictWriter(sys.stdout, FINDING_COLUMNS)
        table.writeheader()
        table.writerows(differences)
        return
    show(view, as_json=False)
    if differences:
        show({}, as_json=False, text="")
        show_table(differences[:SHOWN_MAX], FINDING_COLUMNS, as_json=False)
        if len(differences) > SHOWN_MAX:
            rest = len(differences) - SHOWN_MAX
            show({}, as_json=False, text=f"... and {rest} more: --csv or --json has them all")
