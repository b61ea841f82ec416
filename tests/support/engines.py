"""Real engines for tests: quick settings, no loop needed, nothing left running."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import redis

from gateway.embedded import EmbeddedEngine, EmbeddedPostgres, EmbeddedValkey
from gateway.embedded.programs import binary

# A test that is about durability asks for `own_postgres`, which keeps these on.
NO_DURABILITY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


def stop_orphans(basetemp: Path) -> None:
    """Stop the engines that earlier test runs left when they were killed.

    `basetemp` is pytest's directory of this run (`pytest-of-USER/pytest-N`, with xdist one deeper).
    """
    runs = next((p for p in basetemp.parents if p.name.startswith("pytest-of-")), None)
    if runs is None:
        return
    for depth in (2, 3, 4):
        for mark in runs.glob("*/" * depth + "run/*.alive"):
            if runs / mark.relative_to(runs).parts[0] in (basetemp, *basetemp.parents):
                continue
            kind = EmbeddedPostgres if mark.stem == "postgres" else EmbeddedValkey
            engine: EmbeddedEngine = kind(mark.parent.parent)
            engine.stop_unclaimed()


def copy_server(home: Path, data_dir: Path) -> None:
    """Give `data_dir` a copy of a stopped PostgreSQL's files, owners included."""
    data_dir.mkdir(parents=True)
    subprocess.run(["cp", "-a", home, data_dir / "postgres"], check=True)


def execute(server: EmbeddedPostgres, *statements: str) -> None:
    """Run administrative statements, each in a transaction of its own."""
    commands = [part for statement in statements for part in ("-c", statement)]
    subprocess.run(
        [binary("psql"), server.url_of("postgres"), "-qX", "-v", "ON_ERROR_STOP=1", *commands],
        check=True,
        capture_output=True,
    )


@contextmanager
def cloned_database(server: EmbeddedPostgres, template: str) -> Iterator[str]:
    """Give the URL of a new database like another one; it is dropped afterwards."""
    name = f"test_{uuid4().hex[:12]}"
    execute(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield server.url_of(name)
    finally:
        execute(server, f"DROP DATABASE {name} WITH (FORCE)")


def flush(server: EmbeddedValkey) -> None:
    """Empty every database of a Valkey, scripts and functions included."""
    with redis.Redis.from_url(server.url) as client:
        client.flushall()
        client.script_flush()
