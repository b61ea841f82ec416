"""`gateway secrets …`."""

from __future__ import annotations

from typing import Any

import typer

from gateway.cli.output import AsJson, group, run, show

secrets = group("What protects secrets at rest.")


@secrets.command("rotate")
def rotate(as_json: AsJson = False) -> None:
    """Seal every secret anew under GATEWAY_SECRET_KEY. Exit code 1 if one cannot be opened."""
    found = run(_rotate(quiet=as_json), as_json=as_json)
    show(found, as_json=as_json)
    if found["unopenable"]:
        raise typer.Exit(1)


async def _rotate(*, quiet: bool) -> dict[str, Any]:
    from gateway.cli.database import books
    from gateway.domain.administration import COMMAND_LINE

    async with books() as opened:
        rotation = opened.rotation
        length = await rotation.pending()
        with typer.progressbar(length=length, label="Sealing", hidden=quiet) as bar:
            done = await rotation.rotate(COMMAND_LINE, bar.update)
    return {"resealed": done.resealed, "unopenable": list(done.unopenable)}
