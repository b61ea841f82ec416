"""`gateway team …`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gateway.cli.output import AsJson, fail, group, run, show, show_table
from gateway.cli.values import micro_of

team = group("Teams: who pays.")
CLEARABLE = ("monthly_budget", "low_balance", "alert_url")


@team.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Unique name of the team.")], as_json: AsJson = False
) -> None:
    """Create a team without credits."""
    show(run(_create(name), as_json=as_json), as_json=as_json)


async def _create(name: str) -> dict[str, Any]:
    from gateway.app.views import team_view
    from gateway.cli.database import books

    async with books() as opened:
        return team_view(await opened.ledger.create_team(name))


@team.command("show")
def show_team(
    name: Annotated[str, typer.Argument(help="The team's name.")], as_json: AsJson = False
) -> None:
    """Show a team with its balance and its webhook secret."""
    found = run(_team(name), as_json=as_json)
    if found is None:
        fail(f"there is no team {name!r}", as_json=as_json)
    show(found, as_json=as_json)


async def _team(name: str) -> dict[str, Any] | None:
    from gateway.app.views import team_view
    from gateway.cli.database import books

    async with books() as opened:
        found = await opened.ledger.team_named(name)
        return None if found is None else team_view(found)


@team.command("list")
def list_teams(as_json: AsJson = False) -> None:
    """List all teams."""
    rows = run(_teams(), as_json=as_json)
    columns = ("name", "balance", "held", "available", "id")
    show_table(rows, columns, as_json=as_json)


async def _teams() -> list[dict[str, Any]]:
    from gateway.app.views import team_view
    from gateway.cli.database import books

    async with books() as opened:
        return [team_view(found, secret=False) for found in await opened.ledger.teams()]


@team.command("suspend")
def suspend(
    name: Annotated[str, typer.Argument(help="The team's name.")], as_json: AsJson = False
) -> None:
    """Stop a team's keys from working within a second; accepted tasks go on."""
    _show_changed(name, run(_suspend(name, suspended=True), as_json=as_json), as_json=as_json)


@team.command("resume")
def resume(
    name: Annotated[str, typer.Argument(help="The team's name.")], as_json: AsJson = False
) -> None:
    """Let a suspended team's keys work again."""
    _show_changed(name, run(_suspend(name, suspended=False), as_json=as_json), as_json=as_json)


async def _suspend(name: str, *, suspended: bool) -> dict[str, Any] | None:
    from gateway.app.views import team_view
    from gateway.cli.database import books

    async with books() as opened:
        found = await opened.ledger.team_named(name)
        if found is None:
            return None
        changed = await opened.ledger.suspend_team(found.id, suspended=suspended)
        return team_view(changed, secret=False)


@team.command("delete")
def delete(
    name: Annotated[str, typer.Argument(help="The team's name.")], as_json: AsJson = False
) -> None:
    """Delete a team for which no money ever moved, with its keys."""
    _show_changed(name, run(_delete(name), as_json=as_json), as_json=as_json)


async def _delete(name: str) -> dict[str, Any] | None:
    from gateway.cli.database import books

    async with books() as opened:
        found = await opened.ledger.team_named(name)
        if found is None:
            return None
        await opened.ledger.delete_team(found.id)
        return {"deleted": found.id, "name": found.name}


@team.command("rotate-secret")
def rotate_secret(
    name: Annotated[str, typer.Argument(help="The team's name.")],
    overlap_hours: Annotated[
        float, typer.Option("--overlap-hours", min=0, help="How long the old secret signs too.")
    ] = 24.0,
    as_json: AsJson = False,
) -> None:
    """Make a new signing secret; callbacks carry both signatures until the overlap ends."""
    made = run(_rotate_secret(name, int(overlap_hours * 3_600_000)), as_json=as_json)
    _show_changed(name, made, as_json=as_json)


async def _rotate_secret(name: str, overlap_ms: int) -> dict[str, Any] | None:
    from gateway.cli.database import books

    async with books() as opened:
        found = await opened.ledger.team_named(name)
        if found is None:
            return None
        secret = await opened.ledger.rotate_webhook_secret(found.id, overlap_ms)
        return {"id": found.id, "name": found.name, "webhook_secret": secret}


@team.command("retries")
def retries(
    name: Annotated[str, typer.Argument(help="The team's name.")],
    schedule: Annotated[
        str, typer.Argument(help="quick: 3 retries in seconds; days: then slow ones for days.")
    ],
    as_json: AsJson = False,
) -> None:
    """Say how long callbacks to a team are tried."""
    from gateway.domain.callback import RETRIES

    if schedule not in RETRIES:
        fail(f"SCHEDULE must be one of {', '.join(RETRIES)}", as_json=as_json)
    changing = _update(name, {"callback_retries": schedule})
    _show_changed(name, run(changing, as_json=as_json), as_json=as_json)


@team.command("budget")
def budget(
    name: Annotated[str, typer.Argument(help="The team's name.")],
    monthly: Annotated[
        str | None, typer.Option("--monthly", help="Credits it may spend in a UTC month.")
    ] = None,
    mode: Annotated[
        str | None, typer.Option("--mode", help="refuse: take nothing beyond; alert: only tell.")
    ] = None,
    alert: Annotated[
        list[int] | None, typer.Option("--alert", help="Percent to be told at; repeatable.")
    ] = None,
    low_balance: Annotated[
        str | None, typer.Option("--low-balance", help="Credits below which to be told.")
    ] = None,
    alert_url: Annotated[
        str | None, typer.Option("--alert-url", help="https address that is told.")
    ] = None,
    clear: Annotated[
        list[str] | None,
        typer.Option("--clear", help="monthly_budget, low_balance or alert_url; repeatable."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what a team may spend in a month, and who is told when credits run low."""
    fields: dict[str, Any] = {}
    if monthly is not None:
        fields["monthly_budget"] = micro_of(monthly, "--monthly", as_json=as_json)
    if mode is not None:
        fields["budget_mode"] = mode
    if alert:
        fields["budget_alerts"] = tuple(alert)
    if low_balance is not None:
        fields["low_balance"] = micro_of(low_balance, "--low-balance", as_json=as_json)
    if alert_url is not None:
        fields["alert_url"] = _callable(alert_url, as_json=as_json)
    for field in clear or ():
        if field not in CLEARABLE or field in fields:
            legal = ", ".join(one for one in CLEARABLE if one not in fields)
            fail(f"--clear: not {field!r} (legal: {legal})", as_json=as_json)
        fields[field] = None
    if not fields:
        fail("nothing to change; see `gateway team budget --help`", as_json=as_json)
    _show_changed(name, run(_update(name, fields), as_json=as_json), as_json=as_json)


def _callable(url: str, *, as_json: bool) -> str:
    """Give a URL that callbacks may go to; ends the command at another one."""
    from gateway.domain.address import AllowedHosts, check_callback_url
    from gateway.settings import load_settings

    allowed = AllowedHosts.of(load_settings().callback_allowed_hosts)
    if refusal := check_callback_url(url, allowed):
        fail(f"--alert-url: {refusal}", as_json=as_json)
    return url


async def _update(name: str, fields: dict[str, Any]) -> dict[str, Any] | None:
    from gateway.app.views import team_view
    from gateway.cli.database import books
    from gateway.domain.administration import COMMAND_LINE

    async with books() as opened:
        found = await opened.ledger.team_named(name)
        if found is None:
            return None
        changed = await opened.ledger.update_team(found.id, fields, COMMAND_LINE)
        return team_view(changed, secret=False)


def _show_changed(name: str, view: dict[str, Any] | None, *, as_json: bool) -> None:
    if view is None:
        fail(f"there is no team {name!r}", as_json=as_json)
    show(view, as_json=as_json)
