"""`gateway team export` and `gateway team erase`: all that is kept of a team."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.output import AsJson, fail, run, show
from gateway.cli.whole import whole_file

if TYPE_CHECKING:
    from gateway.app.team_data import ExportTeam
    from gateway.domain.access import Team
    from gateway.wiring.books import Books

Name = Annotated[str, typer.Argument(help="The team's name, or its id.")]


def export(
    name: Name,
    output: Annotated[
        Path | None,
        typer.Option("--output", help="File, or directory to make ID.ndjson in; else printed."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Give all that is kept of a team, as NDJSON: a line for each thing, the last one an end."""
    try:
        done = run(_export(name, output, quiet=as_json), as_json=as_json)
    except OSError as error:
        fail(f"--output: {error}", as_json=as_json)
    if done is not None:
        show(done, as_json=as_json)


async def _export(name: str, output: Path | None, *, quiet: bool) -> dict[str, Any] | None:
    from gateway.app.team_data import ExportTeam
    from gateway.cli.database import books

    async with books() as opened:
        found = await _known(opened, name)
        exporting = ExportTeam(opened.ledger, opened.keys, opened.prices, opened.team_rows)
        if output is None:
            await _write(exporting, found.id, sys.stdout, 0, quiet=True)
            return None
        length = await opened.team_rows.count(found.id)
        path = _path(output, found.id)
        with whole_file(path) as file:
            lines = await _write(exporting, found.id, file, length, quiet=quiet)
        return {"team": found.name, "file": str(path), "lines": lines}


def _path(output: Path, team_id: str) -> Path:
    return output / f"{team_id}.ndjson" if output.is_dir() else output


async def _write(
    exporting: ExportTeam, team_id: str, file: IO[str], length: int, *, quiet: bool
) -> int:
    """Write an export; gives how many lines."""
    from contextlib import aclosing

    from gateway.app.team_data import as_ndjson

    count = 0
    hidden = quiet or not sys.stderr.isatty()
    bar = typer.progressbar(length=length, label="Exporting", hidden=hidden, file=sys.stderr)
    async with aclosing(exporting.lines(team_id)) as lines:
        with bar:
            async for text in as_ndjson(lines):
                file.write(text)
                bar.update(1)
                count += 1
    return count


def erase(
    name: Name,
    confirm: Annotated[
        str | None, typer.Option("--confirm", help="The team's name once more, for scripts.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Empty all that a team sent and got, and end its keys; what was paid stays. For good."""
    if confirm is None and sys.stdin.isatty():
        confirm = typer.prompt("This cannot be undone. The team's name once more", err=True)
    if confirm is None:
        fail("erasing cannot be undone; say --confirm with the team's name", as_json=as_json)
    show(run(_erase(name, confirm, quiet=as_json), as_json=as_json), as_json=as_json)


async def _erase(name: str, confirm: str, *, quiet: bool) -> dict[str, Any]:
    from gateway.cli.database import engines_of
    from gateway.domain.administration import COMMAND_LINE
    from gateway.settings import load_settings
    from gateway.wiring.books import open_books
    from gateway.wiring.erasure import open_erasure

    settings = load_settings()
    hidden = quiet or not sys.stderr.isatty()
    with engines_of(settings) as addresses:
        async with (
            open_books(settings, addresses.database) as opened,
            open_erasure(settings, opened, addresses.redis) as erasing,
        ):
            found = await _known(opened, name)
            length = await opened.erasure.count(found.id)
            with typer.progressbar(
                length=length, label="Erasing", hidden=hidden, file=sys.stderr
            ) as bar:
                done = await erasing.run(found.id, confirm, COMMAND_LINE, bar.update)
    return {"id": found.id, "tasks_erased": done.tasks, "pictures_deleted": done.pictures}


async def _known(opened: Books, name: str) -> Team:
    """Give the team of a name, or of an id. Raises NotFound."""
    from gateway.cli.database import team_named

    by_id = await opened.ledger.team(name)
    return by_id if by_id is not None else await team_named(opened, name)
