"""`gateway key …`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.output import AsJson, fail, group, run, show, show_table

if TYPE_CHECKING:
    from gateway.domain.access import KeyRules

key = group("API keys: who calls.")

KeyId = Annotated[str, typer.Argument(help="The key's id, as `key list` shows it.")]


@key.command("create")
def create(  # noqa: PLR0913, PLR0917 - typer makes an option of every parameter
    team: Annotated[str, typer.Option("--team", help="The team that pays.")],
    name: Annotated[str, typer.Option("--name", help="What the key is for.")] = "",
    mode: Annotated[
        str, typer.Option("--mode", help="Default answer mode: auto, sync or async.")
    ] = "auto",
    scope: Annotated[
        list[str] | None, typer.Option("--scope", help="generate, read or usage; repeatable.")
    ] = None,
    network: Annotated[
        list[str] | None, typer.Option("--network", help="CIDR callers come from; repeatable.")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", help="A model it may use; repeatable.")
    ] = None,
    requests_per_minute: Annotated[
        int | None, typer.Option("--requests-per-minute", min=1, help="Calls within a minute.")
    ] = None,
    images_per_minute: Annotated[
        int | None, typer.Option("--images-per-minute", min=1, help="Pictures within a minute.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Create a key. Its text is shown once and never again."""
    from gateway.domain.access import KeyRules

    rules = KeyRules(
        scopes=tuple(scope) if scope else None,
        networks=tuple(network) if network else None,
        models=_canonical(model, as_json=as_json) if model else None,
        requests_per_minute=requests_per_minute,
        images_per_minute=images_per_minute,
    )
    made = run(_create(team, name, mode, rules), as_json=as_json)
    if made is None:
        fail(f"there is no team {team!r}", as_json=as_json)
    show(made, as_json=as_json)


def _canonical(names: list[str], *, as_json: bool) -> tuple[str, ...]:
    """Give the models behind names and aliases of the configured catalogue."""
    import os

    from gateway import catalog as catalogue
    from gateway.cli.files import config_in_use
    from gateway.domain.errors import ConfigError
    from gateway.settings import SettingsError, load_settings

    try:
        aliases = catalogue.load(config_in_use(load_settings()), os.environ).aliases
    except (ConfigError, SettingsError) as error:
        fail(str(error), as_json=as_json)
    for name in names:
        if name not in aliases:
            fail(f"--model: there is no model {name!r}; see `catalog check`", as_json=as_json)
    return tuple(dict.fromkeys(aliases[name] for name in names))


async def _create(team: str, name: str, mode: str, rules: KeyRules) -> dict[str, Any] | None:
    from gateway.cli.database import books

    async with books() as opened:
        found = await opened.ledger.team_named(team)
        if found is None:
            return None
        made, text = await opened.keys.create(found.id, name, default_mode=mode, rules=rules)
        return {"id": made.id, "key": text, "team": found.name, "name": made.name}


@key.command("list")
def list_keys(
    team: Annotated[str | None, typer.Option("--team", help="Only this team's keys.")] = None,
    as_json: AsJson = False,
) -> None:
    """List keys, revoked ones included."""
    rows = run(_list(team), as_json=as_json)
    if rows is None:
        fail(f"there is no team {team!r}", as_json=as_json)
    columns = ("id", "team", "name", "ends_with", "mode", "created_at", "expires_at", "revoked_at")
    show_table(rows, columns, as_json=as_json)


async def _list(team: str | None) -> list[dict[str, Any]] | None:
    from gateway.app.views import key_view
    from gateway.cli.database import books

    async with books() as opened:
        team_id = None
        if team is not None:
            found = await opened.ledger.team_named(team)
            if found is None:
                return None
            team_id = found.id
        return [key_view(one) for one in await opened.keys.keys(team_id)]


@key.command("revoke")
def revoke(key_id: KeyId, as_json: AsJson = False) -> None:
    """End a key at once."""
    show(run(_revoke(key_id), as_json=as_json), as_json=as_json)


async def _revoke(key_id: str) -> dict[str, Any]:
    from gateway.app.views import key_view
    from gateway.cli.database import books

    async with books() as opened:
        return key_view(await opened.keys.revoke(key_id))


@key.command("rotate")
def rotate(
    key_id: KeyId,
    overlap_hours: Annotated[
        float, typer.Option("--overlap-hours", min=0, help="How long the old key goes on working.")
    ] = 24.0,
    as_json: AsJson = False,
) -> None:
    """Make a new key like this one; the old one ends after the overlap."""
    show(run(_rotate(key_id, int(overlap_hours * 3_600_000)), as_json=as_json), as_json=as_json)


async def _rotate(key_id: str, overlap_ms: int) -> dict[str, Any]:
    from gateway.app.views import time_text
    from gateway.cli.database import books

    async with books() as opened:
        made, text = await opened.keys.rotate(key_id, overlap_ms)
        old = await opened.keys.key(key_id)
        view = {"id": made.id, "key": text, "team": made.team_name, "name": made.name}
        return {**view, "replaces": key_id, "old_key_ends_at": time_text(old.expires_ms)}
