"""`gateway usage`."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from gateway.cli.output import AsJson, run, show_table

AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV with a header.")]


def usage(
    by: Annotated[
        str,
        typer.Option("--by", help="day, hour, team, key, model, upstream, status; with commas."),
    ] = "team",
    since: Annotated[
        str | None, typer.Option("--from", help="First UTC day, or a time; 30 days ago.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", help="Last UTC day, or a time to end before; now.")
    ] = None,
    team: Annotated[str | None, typer.Option("--team", help="Only this team's.")] = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help="key=…, model=…, upstream=… or status=…; repeatable."),
    ] = None,
    as_csv: AsCsv = False,
    as_json: AsJson = False,
) -> None:
    """Sum what was used, charged and paid."""
    if as_csv and as_json:
        raise typer.BadParameter("--csv and --json exclude each other")
    sent: dict[str, str | None] = {"by": by, "from": since, "to": until, "team": team}
    for pair in only or ():
        name, sign, value = pair.partition("=")
        if name not in ("key", "model", "upstream", "status") or not sign:
            legal = "key=…, model=…, upstream=… or status=…"
            raise typer.BadParameter(f"{pair!r} is not {legal}", param_hint="--only")
        sent[name] = value
    rows, names = run(_usage(sent, stream=as_csv), as_json=as_json)
    if not as_csv:
        show_table(rows, [name for name in names if not name.endswith("_id")], as_json=as_json)


async def _usage(
    sent: dict[str, str | None], *, stream: bool
) -> tuple[list[dict[str, Any]], list[str]]:
    """Give the rows and the names of their columns; or print them as they come, as CSV."""
    from contextlib import aclosing

    from gateway.app.usage import as_csv, columns, read_query, row_view
    from gateway.cli.database import reports

    async with reports() as (store, catalog, now_ms):
        query = read_query(sent, now_ms, by="team", aliases=catalog.aliases)
        async with aclosing(store.rows(query)) as rows:
            views = (row_view(row, catalog.credits_per_usd) async for row in rows)
            if stream:
                async for line in as_csv(columns(query.by), views):
                    sys.stdout.write(line)
                return [], []
            return [view async for view in views], columns(query.by)
