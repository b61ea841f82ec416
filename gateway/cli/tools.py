"""`gateway migrate | doctor`, and the groups `catalog`, `ledger`, `task`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.output import AsJson, fail, group, run, show, show_table

catalog = group("Models, offers and prices.")
ledger = group("The ledger of credits.")
task = group("Single tasks.")

Config = Annotated[
    Path | None, typer.Option("--config", help="The operator's gateway.toml (GATEWAY_CONFIG).")
]


def migrate(as_json: AsJson = False) -> None:
    """Bring the database to this version's schema; one that is away is waited for."""
    show(run(_migrate(), as_json=as_json), as_json=as_json)


async def _migrate() -> dict[str, Any]:
    import asyncio

    from gateway.cli.database import engines_of
    from gateway.logs import configure_logging
    from gateway.settings import load_settings
    from gateway.stores.postgres import migrate as migration
    from gateway.stores.postgres.database import Database

    settings = load_settings()
    configure_logging(settings.log_format)
    with engines_of(settings, valkey=False) as addresses:
        database = Database(addresses.database, application_name="gateway migrate")
        await database.connect(settings.database_wait_seconds)
        await database.close()
        await asyncio.to_thread(migration.upgrade, addresses.database)
        version = await asyncio.to_thread(migration.current, addresses.database)
    return {"revision": version.revision, "current": version.is_current}


def doctor(
    quick: Annotated[
        bool, typer.Option("--quick", help="Only whether the engines answer (health checks).")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check the environment, the engines, the schema, the catalogue and the ledger."""
    from gateway.cli.doctor import examine

    rows = run(examine(quick=quick), as_json=as_json)
    show_table(rows, ("check", "ok", "detail"), as_json=as_json)
    if not all(row["ok"] for row in rows):
        raise typer.Exit(1)


@catalog.command("check")
def check(config: Config = None, as_json: AsJson = False) -> None:
    """Explain every problem of the configuration at once, then what is merely odd."""
    from gateway import catalog as catalogue
    from gateway.cli.files import config_in_use
    from gateway.settings import SettingsError, load_settings

    try:
        settings = load_settings(config=config)
    except SettingsError as error:
        fail(str(error), as_json=as_json)
    report = catalogue.check(config_in_use(settings), os.environ)
    found = [("problem", *pair) for pair in report.problems]
    found += [("warning", *pair) for pair in report.warnings]
    rows = [{"kind": kind, "where": where, "message": text} for kind, where, text in found]
    if rows or as_json:
        show_table(rows, ("kind", "where", "message"), as_json=as_json)
    else:
        show({}, as_json=False, text="The configuration is fine.")
    if report.problems:
        raise typer.Exit(1)


@catalog.command("reload")
def reload(config: Config = None, as_json: AsJson = False) -> None:
    """Ask every running process to read the configuration again, if this one finds it right."""
    from gateway import catalog as catalogue
    from gateway.cli.files import config_in_use
    from gateway.domain.errors import ConfigError
    from gateway.settings import SettingsError, load_settings

    try:
        found = catalogue.load(config_in_use(load_settings(config=config)), os.environ)
    except (ConfigError, SettingsError) as error:
        fail(str(error), as_json=as_json)
    show(run(_reload(sorted(found.upstreams)), as_json=as_json), as_json=as_json)


async def _reload(upstreams: list[str]) -> dict[str, Any]:
    from gateway.cli.database import engines_of
    from gateway.domain.administration import COMMAND_LINE
    from gateway.settings import load_settings
    from gateway.stores.valkey.connection import Valkey
    from gateway.wiring.books import open_books
    from gateway.wiring.reloads import announce

    settings = load_settings()
    with engines_of(settings) as addresses:
        valkey = Valkey(addresses.redis)
        try:
            async with open_books(settings, addresses.database) as opened:
                await announce(opened.changes, valkey, upstreams, COMMAND_LINE)
        finally:
            await valkey.aclose()
    return {"asked": True, "upstreams": upstreams}


@ledger.command("verify")
def verify(as_json: AsJson = False) -> None:
    """Prove the ledger: sums, projections, one resolution per task. Exit code 1 if it is wrong."""
    report = run(_verify(), as_json=as_json)
    if as_json:
        show(report, as_json=True)
    elif report["ok"]:
        show({}, as_json=False, text=f"The ledger is clean ({report['transfers']} transfers).")
    else:
        show_table(report["violations"], ("rule", "subject", "detail"), as_json=False)
    if not report["ok"]:
        raise typer.Exit(1)


async def _verify() -> dict[str, Any]:
    from gateway.cli.database import books
    from gateway.cli.views import report_view

    async with books() as opened:
        return report_view(await opened.ledger.verify())


@task.command("show")
def show_task(
    task_id: Annotated[str, typer.Argument(metavar="ID", help="The task's id.")],
    as_json: AsJson = False,
) -> None:
    """Show a task with its attempts, transfers and callbacks."""
    found = run(_task(task_id), as_json=as_json)
    if found is None:
        fail(f"there is no task {task_id!r}", as_json=as_json)
    if as_json:
        show(found, as_json=True)
        return
    plain = {k: v for k, v in found.items() if k not in ("attempts", "transfers", "callbacks")}
    show(plain, as_json=False)
    for name in ("attempts", "transfers", "callbacks"):
        if found[name]:
            show({}, as_json=False, text=f"\n{name}")
            show_table(found[name], tuple(found[name][0]), as_json=False)


async def _task(task_id: str) -> dict[str, Any] | None:
    from gateway.cli.database import books
    from gateway.cli.views import task_view

    async with books() as opened:
        found = await opened.tasks.get(task_id)
        if found is None:
            return None
        transfers = tuple(await opened.ledger.transfers_of(task_id))
        return task_view(found, transfers, await opened.outbox.of_task(task_id))
