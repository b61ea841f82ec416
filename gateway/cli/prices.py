"""`gateway price …`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.key_rules import canonical
from gateway.cli.output import AsJson, fail, group, run, show, show_table
from gateway.cli.values import moment

if TYPE_CHECKING:
    from gateway.domain.price_table import PriceTable

price = group("Prices agreed with teams and keys, instead of the catalogue's.")

_COLUMNS = ("id", "team_id", "key_id", "model", "credits", "edit_surcharge", "from", "until")


@price.command("set")
def set_price(
    model: Annotated[str, typer.Argument(help="The model, by any of its names.")],
    amounts: Annotated[
        str, typer.Argument(metavar="CREDITS", help="Per picture: 1.2, or by tier 1K=1,2K=1.5.")
    ],
    team: Annotated[str, typer.Option("--team", help="The team that pays it.")],
    key_id: Annotated[
        str | None, typer.Option("--key", help="Only for this key of the team, by its id.")
    ] = None,
    edit_surcharge: Annotated[
        str, typer.Option("--edit-surcharge", help="On top, per picture made from pictures.")
    ] = "0",
    begins: Annotated[
        str | None, typer.Option("--from", help="When it begins, such as 2027-01-01T00:00:00Z.")
    ] = None,
    ends: Annotated[str | None, typer.Option("--until", help="When it ends.")] = None,
    as_json: AsJson = False,
) -> None:
    """Agree on a price; an earlier one for the same team, key and model is replaced."""
    table = _table(amounts, edit_surcharge, as_json=as_json)
    from_ms = begins and moment("--from", begins, as_json=as_json)
    until_ms = ends and moment("--until", ends, as_json=as_json)
    if from_ms and until_ms and until_ms <= from_ms:
        fail("--until must be later than --from", as_json=as_json)
    (name,) = canonical("MODEL", [model], as_json=as_json)
    times = (from_ms or None, until_ms or None)
    show(run(_set(team, key_id, name, table, times), as_json=as_json), as_json=as_json)


def _table(amounts: str, edit_surcharge: str, *, as_json: bool) -> PriceTable:
    from dataclasses import replace

    from gateway.domain.price_overrides import read_amounts

    pairs = [pair.partition("=") for pair in amounts.split(",")]
    by_tier = {tier.strip(): amount.strip() for tier, _, amount in pairs}
    try:
        table = read_amounts(by_tier if "=" in amounts else amounts)
    except ValueError as error:
        fail(f"CREDITS {error} (legal: 1.2, or by tier 1K=1,2K=1.5)", as_json=as_json)
    try:
        edit = read_amounts(edit_surcharge).flat or 0
    except ValueError as error:
        fail(f"--edit-surcharge: {error}", as_json=as_json)
    return replace(table, edit=edit)


async def _set(
    team: str,
    key_id: str | None,
    model: str,
    table: PriceTable,
    times: tuple[int | None, int | None],
) -> dict[str, Any]:
    from gateway.app.views import price_view
    from gateway.cli.database import books, team_named

    async with books() as opened:
        found = await team_named(opened, team)
        made = await opened.prices.set_price(
            found.id, key_id, model, table, from_ms=times[0], until_ms=times[1]
        )
        return price_view(made)


@price.command("list")
def list_prices(
    team: Annotated[str | None, typer.Option("--team", help="Only this team's.")] = None,
    as_json: AsJson = False,
) -> None:
    """List agreed prices, newest first."""
    show_table(run(_list(team), as_json=as_json), _COLUMNS, as_json=as_json)


async def _list(team: str | None) -> list[dict[str, Any]]:
    from gateway.app.views import price_view
    from gateway.cli.database import books, team_named

    found: list[dict[str, Any]] = []
    async with books() as opened:
        team_id = None if team is None else (await team_named(opened, team)).id
        cursor: int | None = None
        while True:
            page = await opened.prices.price_page(200, cursor, team_id)
            found += [price_view(one) for one in page.items]
            if page.cursor is None:
                return found
            cursor = int(page.cursor)


@price.command("remove")
def remove(
    override_id: Annotated[int, typer.Argument(metavar="ID", help="As `price list` shows it.")],
    as_json: AsJson = False,
) -> None:
    """End an agreed price: the team's, or the catalogue's, holds again."""
    show(run(_remove(override_id), as_json=as_json), as_json=as_json)


async def _remove(override_id: int) -> dict[str, Any]:
    from gateway.app.views import price_view
    from gateway.cli.database import books

    async with books() as opened:
        return {**price_view(await opened.prices.remove_price(override_id)), "removed": True}
