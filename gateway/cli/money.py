"""`gateway credits …` and `gateway statement`."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from gateway.cli.output import AsJson, fail, run, show, show_table
from gateway.cli.usage import AsCsv
from gateway.cli.values import micro_of, time_of

credits_group = typer.Typer(no_args_is_help=True, help="Credits: what teams pay with.")

TeamName = Annotated[str, typer.Option("--team", help="The team's name.")]
_COLUMNS = ("created_at", "kind", "credits", "expires_at", "reference", "task_id", "id")


@credits_group.command("grant")
def grant(
    amount: Annotated[str, typer.Argument(help="Credits, a decimal number such as 100 or 2.5.")],
    team: TeamName,
    reference: Annotated[
        str | None, typer.Option("--reference", help="Why, for finance: an invoice number.")
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option("--expires", help="When what is left ends, such as 2026-12-31T00:00:00Z."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Add credits to a team."""
    micro = micro_of(amount, "AMOUNT", as_json=as_json)
    if micro <= 0:
        fail("AMOUNT must be more than 0", as_json=as_json)
    expires_ms = None if expires is None else time_of(expires, as_json=as_json)
    show(run(_grant(team, micro, reference, expires_ms), as_json=as_json), as_json=as_json)


async def _grant(
    name: str, micro: int, reference: str | None, expires_ms: int | None
) -> dict[str, Any]:
    from gateway.app.views import team_view
    from gateway.cli.database import books, team_named
    from gateway.domain.money import format_micro

    async with books() as opened:
        found = await team_named(opened, name)
        transfer = await opened.ledger.grant(found.id, micro, reference, expires_ms=expires_ms)
        view = team_view(await team_named(opened, name), secret=False)
        return {"granted": format_micro(micro), "transfer": str(transfer.id), **view}


@credits_group.command("adjust")
def adjust(
    team: TeamName,
    by: Annotated[str, typer.Option("--by", help="Credits to add, or, below 0, to take away.")],
    reference: Annotated[str, typer.Option("--reference", help="Why, for finance.")],
    as_json: AsJson = False,
) -> None:
    """Correct a team's balance, never below what is held."""
    micro = micro_of(by, "--by", as_json=as_json)
    show(run(_adjust(team, micro, reference), as_json=as_json), as_json=as_json)


async def _adjust(name: str, micro: int, reference: str) -> dict[str, Any]:
    from gateway.app.views import credit_view
    from gateway.cli.database import books, team_named

    async with books() as opened:
        team = await team_named(opened, name)
        return credit_view(await opened.ledger.adjust(team.id, micro, reference))


@credits_group.command("refund")
def refund(
    task_id: Annotated[str, typer.Argument(metavar="TASK", help="The task's id.")],
    reference: Annotated[str, typer.Option("--reference", help="Why, for finance.")],
    amount: Annotated[
        str | None, typer.Option("--credits", help="How much, if not all that it was charged.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Give back what a task was charged, never more."""
    micro = None if amount is None else micro_of(amount, "--credits", as_json=as_json)
    show(run(_refund(task_id, micro, reference), as_json=as_json), as_json=as_json)


async def _refund(task_id: str, micro: int | None, reference: str) -> dict[str, Any]:
    from gateway.app.views import credit_view
    from gateway.cli.database import books

    async with books() as opened:
        return credit_view(await opened.ledger.refund(task_id, micro, reference))


@credits_group.command("list")
def list_credits(
    team: TeamName,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List a team's grants, adjustments, refunds and expirations, newest first."""
    show_table(run(_list(team, limit), as_json=as_json), _COLUMNS, as_json=as_json)


async def _list(name: str, limit: int) -> list[dict[str, Any]]:
    from gateway.app.views import credit_view
    from gateway.cli.database import books, team_named

    async with books() as opened:
        team = await team_named(opened, name)
        page = await opened.ledger.credit_page(team.id, limit, None)
        return [credit_view(one) for one in page.items]


def statement(
    team: Annotated[str, typer.Argument(help="The team's name.")],
    month: Annotated[str, typer.Argument(help="A UTC month such as 2026-11.")],
    as_csv: AsCsv = False,
    as_json: AsJson = False,
) -> None:
    """Show a team's month: opening and closing balance, and what moved it."""
    if as_csv and as_json:
        raise typer.BadParameter("--csv and --json exclude each other")
    view, text = run(_statement(team, month), as_json=as_json)
    if as_csv:
        sys.stdout.write(text)
    elif as_json:
        show(view, as_json=True)
    else:
        lines = view.pop("lines")
        show(view, as_json=False)
        if lines:
            show({}, as_json=False, text="")
            show_table(lines, tuple(lines[0]), as_json=False)


async def _statement(name: str, month: str) -> tuple[dict[str, Any], str]:
    from gateway.app.statements import statement_csv, statement_view
    from gateway.cli.database import books, team_named
    from gateway.domain.statement import month_named
    from gateway.wiring.books import SystemClock

    now_ms = SystemClock().now_ms()
    asked = month_named(month, now_ms)
    async with books() as opened:
        found = await opened.ledger.statement((await team_named(opened, name)).id, asked)
    return statement_view(found, now_ms), statement_csv(found)
