"""Processes that start while PostgreSQL is away: they wait for it, and can be stopped meanwhile."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.embedded import EmbeddedPostgres
from gateway.stores.postgres import migrate
from tests.support.machine import DIRECT
from tests.support.ports import free_port
from tests.support.stack import CONFIGURATION

IN_TIME_S = 30
AWAITED = "database_awaited"


class Site:
    """One PostgreSQL that can be away, and the commands of a gateway on it."""

    def __init__(self, folder: Path, postgres: EmbeddedPostgres, redis_url: str) -> None:
        self.folder, self.postgres, self.port = folder, postgres, free_port()
        config = folder / "gateway.toml"
        urls = dict.fromkeys(("evolink", "dashscope", "openai"), "http://127.0.0.1:1")
        config.write_text(CONFIGURATION.format(**urls), encoding="utf-8")
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("GATEWAY_")}
        self.environment = inherited | {
            "GATEWAY_DATABASE_URL": postgres.url,
            "GATEWAY_REDIS_URL": redis_url,
            "GATEWAY_DATA_DIR": str(folder),
            "GATEWAY_CONFIG": str(config),
            "GATEWAY_PORT": str(self.port),
        }

    @contextmanager
    def running(self, *command: str, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
        with self.log(command[0]).open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "gateway", *command],
                env=self.environment | settings,
                stdout=log,
                stderr=log,
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def log(self, command: str) -> Path:
        return self.folder / f"{command}.log"

    def until_waiting(self, command: str) -> None:
        until(lambda: AWAITED in self.log(command).read_text())

    def is_ready(self) -> bool:
        try:
            with DIRECT.open(f"http://127.0.0.1:{self.port}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def until(holds: Callable[[], bool]) -> None:
    ends = time.monotonic() + IN_TIME_S
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.1)


@pytest.fixture
def site(tmp_path: Path, own_postgres: EmbeddedPostgres, redis_url: str) -> Site:
    migrate.upgrade(own_postgres.url)
    own_postgres.kill()
    return Site(tmp_path, own_postgres, redis_url)


def test_api_worker_and_migration_wait_for_it_and_then_work(site: Site) -> None:
    with (
        site.running("api") as api,
        site.running("worker", GATEWAY_WORKER_METRICS_PORT=str(free_port())) as worker,
        site.running("migrate") as migration,
    ):
        for command in ("api", "worker", "migrate"):
            site.until_waiting(command)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", site.port), 5)

        site.postgres.ensure()
        assert migration.wait(IN_TIME_S) == 0
        until(site.is_ready)
        for process in (api, worker):
            process.send_signal(signal.SIGTERM)
            assert process.wait(IN_TIME_S) == 0


@pytest.mark.parametrize("command", ["api", "worker", "up"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_who_is_stopped_while_waiting_ends_at_once(
    site: Site, command: str, number: signal.Signals
) -> None:
    with site.running(command) as process:
        site.until_waiting(command)
        process.send_signal(number)
        assert process.wait(10) == 0


def test_who_has_waited_long_enough_says_so(site: Site) -> None:
    for command in ("api", "worker", "migrate", "up"):
        with site.running(command, GATEWAY_DATABASE_WAIT_SECONDS="1") as process:
            assert process.wait(IN_TIME_S) == 1
        assert "gateway: The database is away." in site.log(command).read_text()


def test_an_address_in_use_is_told_before_the_database_is_awaited(site: Site) -> None:
    with socket.create_server(("127.0.0.1", site.port)), site.running("api") as process:
        assert process.wait(IN_TIME_S) == 1
    assert "cannot listen" in site.log("api").read_text()
    assert AWAITED not in site.log("api").read_text()
