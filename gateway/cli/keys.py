"""`gateway key …`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import key_rules
from gateway.cli.output import AsJson, fail, group, run, show, show_table
from gateway.cli.values import time_of

if TYPE_CHECKING:
    from gateway.domain.access import KeyRules

key = group("API keys: who calls.")

KeyId = Annotated[str, typer.Argument(help="The key's id, as `key list` shows it.")]


@key.command("create")
def create(  # noqa: PLR0913, PLR0917 - typer makes an option of every parameter
    team: Annotated[str, typer.Option("--team", help="The team that pays.")],
    name: Annotated[str, typer.Option("--name", help="What the key is for.")] = "",
    mode: key_rules.Mode = None,
    scope: key_rules.Scopes = None,
    network: key_rules.Networks = None,
    model: key_rules.Models = None,
    upstream: key_rules.Upstreams = None,
    requests_per_minute: key_rules.Requests = None,
    images_per_minute: key_rules.Images = None,
    concurrent: key_rules.Concurrent = None,
    credit_cap: key_rules.Cap = None,
    monthly_credit_cap: key_rules.MonthlyCap = None,
    expires: key_rules.Expires = None,
    as_json: AsJson = False,
) -> None:
    """Create a key. Its text is shown once and never again."""
    from gateway.domain.access import KeyRules

    rules = key_rules.rules_of(
        {
            "scopes": scope,
            "networks": network,
            "models": model,
            "upstreams": upstream,
            "requests_per_minute": requests_per_minute,
            "images_per_minute": images_per_minute,
            "concurrent_tasks": concurrent,
            "credit_cap": credit_cap,
            "monthly_credit_cap": monthly_credit_cap,
        },
        as_json=as_json,
    )
    expires_ms = None if expires is None else time_of(expires, as_json=as_json)
    making = _create(team, name, mode or "auto", expires_ms, KeyRules(**rules))
    made = run(making, as_json=as_json)
    if made is None:
        fail(f"there is no team {team!r}", as_json=as_json)
    show(made, as_json=as_json)


async def _create(
    team: str, name: str, mode: str, expires_ms: int | None, rules: KeyRules
) -> dict[str, Any] | None:
    from gateway.cli.database import books

    async with books() as opened:
        found = await opened.ledger.team_named(team)
        if found is None:
            return None
        made, text = await opened.keys.create(
            found.id, name, default_mode=mode, expires_ms=expires_ms, rules=rules
        )
        return {"id": made.id, "key": text, "team": found.name, "name": made.name}


@key.command("update")
def update(  # noqa: PLR0913, PLR0917 - typer makes an option of every parameter
    key_id: KeyId,
    name: Annotated[str | None, typer.Option("--name", help="What the key is for.")] = None,
    mode: key_rules.Mode = None,
    scope: key_rules.Scopes = None,
    network: key_rules.Networks = None,
    model: key_rules.Models = None,
    upstream: key_rules.Upstreams = None,
    requests_per_minute: key_rules.Requests = None,
    images_per_minute: key_rules.Images = None,
    concurrent: key_rules.Concurrent = None,
    credit_cap: key_rules.Cap = None,
    monthly_credit_cap: key_rules.MonthlyCap = None,
    expires: key_rules.Expires = None,
    clear: Annotated[
        list[str] | None,
        typer.Option("--clear", help="A rule to take away, such as credit_cap; repeatable."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Change what is named of a key; the rest stays."""
    fields = key_rules.rules_of(
        {
            "scopes": scope,
            "networks": network,
            "models": model,
            "upstreams": upstream,
            "requests_per_minute": requests_per_minute,
            "images_per_minute": images_per_minute,
            "concurrent_tasks": concurrent,
            "credit_cap": credit_cap,
            "monthly_credit_cap": monthly_credit_cap,
        },
        as_json=as_json,
    )
    if name is not None:
        fields["name"] = name
    if mode is not None:
        fields["default_mode"] = mode
    if expires is not None:
        fields["expires_ms"] = time_of(expires, as_json=as_json)
    fields |= _cleared(clear or [], fields, as_json=as_json)
    if not fields:
        fail("nothing to change; see `gateway key update --help`", as_json=as_json)
    show(run(_update(key_id, fields), as_json=as_json), as_json=as_json)


def _cleared(names: list[str], given: dict[str, Any], *, as_json: bool) -> dict[str, None]:
    from gateway.domain.access import RULES

    fields = {"expires_at": "expires_ms", **{rule: rule for rule in RULES}}
    for name in names:
        if name not in fields:
            legal = ", ".join(fields)
            fail(f"--clear: there is no rule {name!r} (legal: {legal})", as_json=as_json)
        if fields[name] in given:
            fail(f"--clear {name}: it is set by the same command", as_json=as_json)
    return dict.fromkeys(fields[name] for name in names)


async def _update(key_id: str, fields: dict[str, Any]) -> dict[str, Any]:
    from gateway.app.views import key_view
    from gateway.cli.database import books

    async with books() as opened:
        return key_view(await opened.keys.update(key_id, fields))


@key.command("show")
def show_key(key_id: KeyId, as_json: AsJson = False) -> None:
    """Show a key's rules and what it used of them."""
    show(run(_key(key_id), as_json=as_json), as_json=as_json)


async def _key(key_id: str) -> dict[str, Any]:
    from gateway.app.views import key_view
    from gateway.cli.database import books

    async with books() as opened:
        return key_view(await opened.keys.key(key_id))


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
