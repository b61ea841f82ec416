"""What the options of `gateway key create` and `update` say about a key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from gateway.cli.output import fail
from gateway.cli.values import micro_of

Mode = Annotated[
    str | None, typer.Option("--mode", help="Default answer mode: auto, sync or async.")
]
Scopes = Annotated[
    list[str] | None, typer.Option("--scope", help="generate, read or usage; repeatable.")
]
Networks = Annotated[
    list[str] | None, typer.Option("--network", help="CIDR callers come from; repeatable.")
]
Models = Annotated[
    list[str] | None, typer.Option("--model", help="A model it may use; repeatable.")
]
Upstreams = Annotated[
    list[str] | None,
    typer.Option("--upstream", help="An upstream or adapter it may use; repeatable."),
]
Requests = Annotated[
    int | None, typer.Option("--requests-per-minute", min=1, help="Calls within a minute.")
]
Images = Annotated[
    int | None, typer.Option("--images-per-minute", min=1, help="Pictures within a minute.")
]
Concurrent = Annotated[
    int | None, typer.Option("--concurrent", min=1, help="Tasks under way at once.")
]
Cap = Annotated[
    str | None, typer.Option("--credit-cap", help="Credits it may spend in all, such as 250.")
]
MonthlyCap = Annotated[
    str | None, typer.Option("--monthly-credit-cap", help="Credits it may spend in a UTC month.")
]
Expires = Annotated[
    str | None, typer.Option("--expires", help="When it ends, such as 2026-12-31T00:00:00Z.")
]


def rules_of(named: Mapping[str, Any], *, as_json: bool) -> dict[str, Any]:
    """Give the rules that were named, as the store knows them; ends the command at a bad one."""
    found = {name: value for name, value in named.items() if value not in (None, [])}
    for name, read in _READERS.items():
        if name in found:
            found[name] = read(name, found[name], as_json=as_json)
    return found


def _listed(_name: str, texts: list[str], *, as_json: bool) -> tuple[str, ...]:
    return tuple(texts)


def _micro(name: str, text: str, *, as_json: bool) -> int:
    return micro_of(text, f"--{name.replace('_', '-')}", as_json=as_json)


def canonical(option: str, names: list[str], *, as_json: bool) -> tuple[str, ...]:
    """Give the models behind names and aliases of the configured catalogue."""
    aliases = _catalog(as_json=as_json).aliases
    for name in names:
        if name not in aliases:
            fail(f"{option}: there is no model {name!r}; see `catalog check`", as_json=as_json)
    return tuple(dict.fromkeys(aliases[name] for name in names))


def _models(_name: str, names: list[str], *, as_json: bool) -> tuple[str, ...]:
    return canonical("--model", names, as_json=as_json)


def _known(_name: str, names: list[str], *, as_json: bool) -> tuple[str, ...]:
    """Give names of upstreams or adapters of the configured catalogue."""
    upstreams = _catalog(as_json=as_json).upstreams
    known = {*upstreams, *(upstream.adapter for upstream in upstreams.values())}
    for name in names:
        if name not in known:
            legal = ", ".join(sorted(known)) or "none is configured"
            fail(f"--upstream: there is no upstream {name!r} (legal: {legal})", as_json=as_json)
    return tuple(dict.fromkeys(names))


def _catalog(*, as_json: bool) -> Any:
    import os

    from gateway import catalog as catalogue
    from gateway.cli.files import config_in_use
    from gateway.domain.errors import ConfigError
    from gateway.settings import SettingsError, load_settings

    try:
        return catalogue.load(config_in_use(load_settings()), os.environ)
    except (ConfigError, SettingsError) as error:
        fail(str(error), as_json=as_json)


_READERS: Mapping[str, Any] = {
    "scopes": _listed,
    "networks": _listed,
    "models": _models,
    "upstreams": _known,
    "credit_cap": _micro,
    "monthly_credit_cap": _micro,
}
