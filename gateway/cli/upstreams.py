"""`gateway upstream …`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.output import AsJson, fail, group, run, show, show_table

if TYPE_CHECKING:
    from gateway.domain.model import Catalog, Upstream
    from gateway.egress.clients import GuardedClient

upstream = group("Configured vendor accounts.")

Config = Annotated[
    Path | None, typer.Option("--config", help="The operator's gateway.toml (GATEWAY_CONFIG).")
]
Name = Annotated[str, typer.Argument(help="The upstream's name, as `upstream list` shows it.")]


COLUMNS = (
    "name",
    "adapter",
    "models",
    "state",
    "reason",
    "in_flight",
    "spent_today_usd",
    "drained_at",
)


@upstream.command("list")
def list_upstreams(config: Config = None, as_json: AsJson = False) -> None:
    """List the configured upstreams: what they sell, how they do, what runs there."""
    views = run(_standings(_catalog(config, as_json=as_json)), as_json=as_json)
    if as_json:
        show_table(views, COLUMNS, as_json=True)
        return
    rows = [
        {
            **view,
            "models": ", ".join(view["models"]),
            "reason": "; ".join(_in_words(circuit) for circuit in view["circuits"]),
            "in_flight": _of(view["in_flight"], view["max_in_flight"]),
            "spent_today_usd": _of(view["spent_today_usd"], view["daily_cost_usd"]),
        }
        for view in views
    ]
    show_table(rows, COLUMNS, as_json=False)


def _in_words(circuit: dict[str, Any]) -> str:
    until = f" until {circuit['until']}" if circuit["until"] else ""
    because = f": {circuit['reason']}" if circuit["reason"] else ""
    return f"{circuit['model']} {circuit['state']}{until}{because}"


def _of(figure: object, most: object) -> str | None:
    return None if figure is None else f"{figure} of {most}"


async def _standings(configured: Catalog) -> list[dict[str, Any]]:
    from gateway.cli.database import engines_of
    from gateway.settings import load_settings
    from gateway.wiring.books import open_books
    from gateway.wiring.outlook import open_upstreams

    settings = load_settings()
    with engines_of(settings) as addresses:
        async with (
            open_books(settings, addresses.database) as opened,
            open_upstreams(configured, opened, addresses.redis) as upstreams,
        ):
            return [standing.view() for standing in await upstreams.standings()]


@upstream.command("drain")
def drain(name: Name, config: Config = None, as_json: AsJson = False) -> None:
    """Send nothing new to an upstream; what runs there is polled to its end."""
    _known(name, config, as_json=as_json)
    show(run(_drain(name), as_json=as_json), as_json=as_json)


async def _drain(name: str) -> dict[str, Any]:
    from gateway.cli.database import books

    async with books() as opened:
        await opened.drains.drain(name)
    return {"name": name, "drained": True}


@upstream.command("resume")
def resume(name: Name, config: Config = None, as_json: AsJson = False) -> None:
    """Let an upstream be chosen again, and forget that it was sick."""
    _known(name, config, as_json=as_json)
    show(run(_resume(name), as_json=as_json), as_json=as_json)


async def _resume(name: str) -> dict[str, Any]:
    from gateway.cli.database import engines_of
    from gateway.settings import load_settings
    from gateway.stores.valkey.connection import Valkey
    from gateway.stores.valkey.health import ValkeyHealthBoard
    from gateway.wiring.books import open_books

    settings = load_settings()
    with engines_of(settings) as addresses:
        async with open_books(settings, addresses.database) as opened:
            await opened.drains.resume(name)
        valkey = Valkey(addresses.redis)
        await ValkeyHealthBoard(valkey).reset(name)
        await valkey.aclose()
    return {"name": name, "drained": False}


@upstream.command("test")
def try_out(name: Name, config: Config = None, as_json: AsJson = False) -> None:
    """Ask an upstream about a task that does not exist: free, and shows whether the key works.

    Exit code 1 when it cannot be reached or refuses the key.
    """
    found = run(_test(_known(name, config, as_json=as_json)), as_json=as_json)
    show(found, as_json=as_json)
    if not found["ok"]:
        raise typer.Exit(1)


async def _test(account: Upstream) -> dict[str, Any]:
    import time

    from gateway.egress.clients import upstream_client

    client = upstream_client(account)
    began = time.monotonic()
    if account.adapter == "openai":
        wrong = await _wrong_with_models(account, client)
    else:
        wrong = await _wrong_with_tasks(account, client)
    await client.aclose()
    ms = int((time.monotonic() - began) * 1000)
    detail = wrong or "it answers, and takes the key"
    return {"name": account.name, "ok": wrong is None, "detail": detail, "ms": ms}


async def _wrong_with_tasks(account: Upstream, client: GuardedClient) -> str | None:
    """Ask about a task that does not exist; gives what is wrong, None when the account is well."""
    import time

    from gateway import upstreams
    from gateway.domain.errors import Blame, Sent, UpstreamError

    adapter = upstreams.build(account, client, lambda: int(time.time()))
    try:
        await adapter.poll("task-that-does-not-exist")
    except UpstreamError as error:
        knows_us = error.code == "task_unknown" or error.sent is Sent.REFUSED
        if not knows_us or error.blame in (Blame.ACCOUNT, Blame.RATE):
            return f"{error.blame.value}: {error.message}"
    return None


async def _wrong_with_models(account: Upstream, client: GuardedClient) -> str | None:
    """Ask an upstream without tasks for its models; gives what is wrong."""
    from httpx import HTTPError

    headers = {"authorization": f"Bearer {account.api_key.value}"}
    try:
        answer = await client.get(f"{account.base_url}/models", headers=headers)
    except HTTPError as error:
        return f"provider: {error}"
    return None if answer.is_success else f"HTTP {answer.status_code}"


def _known(name: str, config: Path | None, *, as_json: bool) -> Upstream:
    upstreams = _catalog(config, as_json=as_json).upstreams
    if name not in upstreams:
        fail(f"there is no upstream {name!r}; there are {', '.join(upstreams)}", as_json=as_json)
    return upstreams[name]


def _catalog(config: Path | None, *, as_json: bool) -> Catalog:
    import os

    from gateway import catalog as catalogue
    from gateway.cli.files import config_in_use
    from gateway.domain.errors import ConfigError
    from gateway.settings import SettingsError, load_settings

    try:
        return catalogue.load(config_in_use(load_settings(config=config)), os.environ)
    except (ConfigError, SettingsError) as error:
        fail(str(error), as_json=as_json)
