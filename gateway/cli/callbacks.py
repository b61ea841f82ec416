"""`gateway callback …`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gateway.cli.output import AsJson, fail, group, run, show, show_table

callback = group("Callbacks to teams.")

CallbackId = Annotated[
    str, typer.Argument(metavar="ID", help="The callback's id, as `callback list` shows it.")
]


@callback.command("list")
def list_callbacks(
    state: Annotated[
        str | None, typer.Option("--state", help="pending, delivered or dead (dead letters).")
    ] = None,
    team: Annotated[str | None, typer.Option("--team", help="Only this team's.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List callbacks, newest first."""
    from gateway.domain.callback import STATES

    if state is not None and state not in STATES:
        fail(f"--state must be one of {', '.join(STATES)}", as_json=as_json)
    rows = run(_list(state, team, limit), as_json=as_json)
    if rows is None:
        fail(f"there is no team {team!r}", as_json=as_json)
    if not as_json:
        rows = [{**row, "tries": len(row["tries"]), "last": _last(row)} for row in rows]
    columns = ("id", "task_id", "event", "state", "tries", "last", "next_try_at", "url")
    show_table(rows, columns, as_json=as_json)


async def _list(state: str | None, team: str | None, limit: int) -> list[dict[str, Any]] | None:
    from gateway.app.views import callback_view
    from gateway.cli.database import books

    async with books() as opened:
        team_id = None
        if team is not None:
            found = await opened.ledger.team_named(team)
            if found is None:
                return None
            team_id = found.id
        page = await opened.outbox.callback_page(limit, None, state=state, team_id=team_id)
        return [callback_view(one) for one in page.items]


def _last(row: dict[str, Any]) -> str | None:
    """Give what the last try came to."""
    if not row["tries"]:
        return None
    tried = row["tries"][-1]
    return str(tried["status"] or tried["error"])


@callback.command("show")
def show_callback(callback_id: CallbackId, as_json: AsJson = False) -> None:
    """Show a callback with every try."""
    found = run(_one(callback_id), as_json=as_json)
    if as_json:
        show(found, as_json=True)
        return
    show({name: value for name, value in found.items() if name != "tries"}, as_json=False)
    if found["tries"]:
        show({}, as_json=False, text="\ntries")
        show_table(found["tries"], tuple(found["tries"][0]), as_json=False)


async def _one(callback_id: str) -> dict[str, Any]:
    from gateway.app.views import callback_view
    from gateway.cli.database import books

    async with books() as opened:
        return callback_view(await opened.outbox.callback(callback_id))


@callback.command("replay")
def replay(callback_id: CallbackId, as_json: AsJson = False) -> None:
    """Send a callback again, with its usual retries and the same webhook-id."""
    run(_replay(callback_id), as_json=as_json)
    show({"id": callback_id, "state": "pending"}, as_json=as_json)


async def _replay(callback_id: str) -> None:
    from gateway.cli.database import books

    async with books() as opened:
        await opened.outbox.replay(callback_id)
