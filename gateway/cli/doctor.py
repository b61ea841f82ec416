"""`gateway doctor`: what an operator would check by hand, in the order things break."""

from __future__ import annotations

import asyncio
import os
import platform
import sys
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any

from gateway import catalog as catalogue
from gateway.cli.database import engines_of
from gateway.cli.files import config_in_use
from gateway.domain.errors import GatewayError, Unavailable
from gateway.embedded import (
    EmbeddedEngine,
    EmbeddedEngineError,
    EmbeddedPostgres,
    EmbeddedValkey,
)
from gateway.settings import Settings, SettingsError, load_settings
from gateway.stores.postgres import migrate
from gateway.stores.postgres.database import Database
from gateway.stores.valkey.connection import Valkey
from gateway.wiring.books import open_books

Finding = dict[str, Any]


async def examine(*, quick: bool) -> list[Finding]:
    """Run the checks and give one finding each: ``check``, ``ok``, ``detail``.

    ``quick`` asks only whether the engines answer; it starts none.
    """
    try:
        settings = load_settings()
    except SettingsError as error:
        return [_finding("environment", ok=False, detail=str(error))]
    if quick and (stopped := _stopped(settings)):
        return [_finding(name, ok=False, detail="not running") for name in stopped]
    with ExitStack() as stack:
        try:
            addresses = stack.enter_context(engines_of(settings))
        except EmbeddedEngineError as error:
            return [_finding("engines", ok=False, detail=str(error))]
        findings = [
            await _check("postgres", lambda: _postgres(addresses.database)),
            await _check("valkey", lambda: _valkey(addresses.redis)),
        ]
        if not quick:
            findings = [_machine(), *findings]
            findings.append(await _check("schema", lambda: _schema(addresses.database)))
            findings.append(_secret_key(settings))
            findings.append(_catalogue(settings))
            findings.append(await _check("ledger", lambda: _ledger(settings, addresses.database)))
    return findings


def _stopped(settings: Settings) -> list[str]:
    """Give the embedded engines that are wanted and do not run."""
    embedded: list[EmbeddedEngine] = []
    if settings.database_url is None:
        embedded.append(EmbeddedPostgres(settings.data_dir))
    if settings.redis_url is None:
        embedded.append(EmbeddedValkey(settings.data_dir))
    return [engine.name for engine in embedded if not engine.running]


async def _check(name: str, work: Callable[[], Awaitable[str]]) -> Finding:
    try:
        async with asyncio.timeout(10):
            return _finding(name, ok=True, detail=await work())
    except TimeoutError:
        return _finding(name, ok=False, detail="no answer within 10 s")
    except (GatewayError, ValueError) as error:
        return _finding(name, ok=False, detail=str(error))


def _finding(name: str, *, ok: bool, detail: str) -> Finding:
    return {"check": name, "ok": ok, "detail": detail}


def _machine() -> Finding:
    detail = f"Python {platform.python_version()} on {sys.platform}, {os.cpu_count()} cores"
    return _finding("machine", ok=sys.version_info >= (3, 11), detail=detail)


async def _postgres(url: str) -> str:
    database = Database(url)
    await database.connect()
    try:
        rows = await database.read("SHOW server_version")
    finally:
        await database.close()
    return f"PostgreSQL {rows[0][0]}"


async def _valkey(url: str) -> str:
    valkey = Valkey(url)
    try:
        text = (await valkey.execute("INFO", "server")).decode()
    finally:
        await valkey.aclose()
    facts = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    name = "Valkey" if "valkey_version" in facts else "Redis"
    return f"{name} {facts.get('valkey_version') or facts.get('redis_version')}"


async def _schema(url: str) -> str:
    version = await asyncio.to_thread(migrate.current, url)
    if not version.is_current:
        raise Unavailable(f"schema {version.revision or 'missing'}; run `gateway migrate`")
    return f"revision {version.revision}"


def _secret_key(settings: Settings) -> Finding:
    """Only a database of one's own makes it production; the embedded one is a trial."""
    if settings.secret_key is not None:
        return _finding("secret key", ok=True, detail="set")
    if settings.database_url is None:
        return _finding("secret key", ok=True, detail="kept in the embedded database")
    detail = "warning: GATEWAY_SECRET_KEY is not set, what opens the database's secrets lies in it"
    return _finding("secret key", ok=True, detail=detail)


def _catalogue(settings: Settings) -> Finding:
    report = catalogue.check(config_in_use(settings), os.environ)
    if report.catalog is None:
        detail = f"{len(report.problems)} problems; run `gateway catalog check`"
        return _finding("catalogue", ok=False, detail=detail)
    detail = f"{len(report.catalog.upstreams)} upstreams, {len(report.warnings)} warnings"
    return _finding("catalogue", ok=True, detail=detail)


async def _ledger(settings: Settings, url: str) -> str:
    async with open_books(settings, url) as books:
        report = await books.ledger.verify()
    if not report.is_sound:
        raise Unavailable(f"{len(report.violations)} violations; run `gateway ledger verify`")
    return f"{report.transfers} transfers, clean"
