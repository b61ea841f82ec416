"""The demo of `gateway up` without --config: simulated vendors, a team, a key, credits."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import socket
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from gateway.catalog import demo_configuration
from gateway.cli.files import demo_config, write_secret
from gateway.cli.network import LOOPBACK, free_port
from gateway.domain.money import MICRO
from gateway.settings import Settings
from gateway.stores.postgres.database import Database
from gateway.stores.postgres.revision import head, stored
from gateway.wiring.books import open_books

DEMO_TEAM = "demo"
DEMO_CREDITS = 1_000 * MICRO
# Where a vendor's version segment ends, where that is not /v1.
BASE_PATHS = {"dashscope": "/api/v1", "fal": ""}


@dataclass(frozen=True, slots=True)
class Demo:
    """The demo's parts: the simulator's command line and ports, and its `gateway.toml`.

    ``claims`` keeps the ports from other demos that choose theirs, for as long as it is open.
    """

    simulator: tuple[str, ...]
    ports: Mapping[str, int]
    config: Path
    claims: IO[str]


def plan_demo(settings: Settings) -> Demo:
    """Choose ports and write the demo's configuration."""
    folder = settings.data_dir / "demo"
    folder.mkdir(exist_ok=True)
    claims = _open_claims()
    ports = _ports(folder / "ports.json", claims)
    config = demo_config(settings)
    config.write_text(_configuration(ports), encoding="utf-8")
    simulator = ("simulate", "--ports", str((folder / "ports.json").resolve()))
    return Demo(simulator, ports, config.resolve(), claims)


async def migrate_if_needed(database_url: str, *, wait_s: float) -> None:
    """Bring the schema up to date; Alembic is loaded only when there is something to do.

    Postgres may be away for ``wait_s`` at first. Raises StoreUnavailable when it is for longer.
    """
    database = Database(database_url, application_name="gateway up")
    await database.connect(wait_s)
    try:
        is_current = await stored(database) == head()
    finally:
        await database.close()
    if not is_current:
        from gateway.stores.postgres import migrate

        await asyncio.to_thread(migrate.upgrade, database_url)


def _configuration(ports: Mapping[str, int]) -> str:
    """Give the demo's `gateway.toml`, with the simulator's addresses."""
    paths = {name: BASE_PATHS.get(name, "/v1") for name in ports}
    return demo_configuration({n: f"http://{LOOPBACK}:{p}{paths[n]}" for n, p in ports.items()})


def _ports(path: Path, claims: IO[str]) -> dict[str, int]:
    """Give the simulator's ports: those of the last run where they are free, else new ones."""
    from gateway.simulator import DEFAULT_PORTS

    wanted = dict(DEFAULT_PORTS)
    if path.exists():
        wanted |= json.loads(path.read_text())
    ports = {
        name: port if _is_claimed(claims, port) and _is_free(port) else free_port()
        for name, port in wanted.items()
    }
    path.write_text(json.dumps(ports))
    return ports


def _open_claims() -> IO[str]:
    """Open the file whose bytes stand for the ports that this user's demos have chosen.

    A port is free until its simulator listens, which is a second after it was chosen: two demos
    started at once would send their jobs to one simulator.
    """
    return (Path(tempfile.gettempdir()) / f"image-gateway-{os.getuid()}.ports").open("a")


def _is_claimed(claims: IO[str], port: int) -> bool:
    """Claim a port until the process ends; False when another demo has it."""
    try:
        fcntl.lockf(claims, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


async def demo_key(settings: Settings, database_url: str) -> str:
    """Give the demo key, with its team and credits made on first use."""
    path = settings.data_dir / "demo" / "demo.key"
    text = _read(path)
    async with open_books(settings, database_url) as books:
        if text and await books.keys.principal(text) is not None:
            return text
        team = await books.ledger.team_named(DEMO_TEAM)
        if team is None:
            team = await books.ledger.create_team(DEMO_TEAM)
            await books.ledger.grant(team.id, DEMO_CREDITS, "demo credits")
        _, text = await books.keys.create(team.id, "demo")
    write_secret(path, text)
    return text


def _read(path: Path) -> str:
    return path.read_text().strip() if path.exists() else ""
