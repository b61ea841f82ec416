"""A gateway of its own in a directory: engines, a team with a key, processes; for measurements.

Nothing of the caller's environment reaches it: no configured engine, upstream or secret.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.cli.network import LOOPBACK, free_port, wait_ready
from gateway.domain.errors import Unavailable
from gateway.embedded import attached
from gateway.settings import PREFIX

TEAM = "bench"
CREDITS = "1000000000"
READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0

Process = subprocess.Popen[bytes]


@dataclass(slots=True)
class Sandbox:
    """The running parts; ``url`` is where an API listens once one is started."""

    folder: Path
    environment: Mapping[str, str]
    url: str
    key: str = ""
    _processes: list[Process] = field(default_factory=list)

    def command(self, *words: str) -> Any:
        """Run a command of ours to its end and give its JSON. Raises Unavailable."""
        argv = [sys.executable, "-m", "gateway", *words, "--json"]
        done = subprocess.run(  # noqa: S603 - our own program
            argv, env=self.environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise Unavailable(f"gateway {words[0]} failed: {done.stderr.strip()[-500:]}")
        return json.loads(done.stdout)

    def start(self, *words: str, environment: Mapping[str, str] | None = None) -> Process:
        """Start a long-running command; it ends with us, however we end, and logs to a file."""
        with self._log(words[0]).open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-m", "gateway", *words, "--tied"],
                env={**self.environment, **(environment or {})},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._processes.append(process)
        return process

    def start_api(self) -> Process:
        """Start an API and wait until it is ready. Raises Unavailable."""
        process = self.start("api")
        gone = process.poll
        if not wait_ready(self.url, READY_TIMEOUT_S, lambda: gone() is not None):
            text = self._log("api").read_text(errors="replace")
            raise Unavailable(f"the API was not ready in time: {text[-500:]}")
        return process

    def _log(self, role: str) -> Path:
        return self.folder / f"{role}.log"

    def stop(self, process: Process) -> None:
        """Drain a process; it is killed when it does not end in time."""
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdin is not None:
            process.stdin.close()
        self._processes.remove(process)

    def stop_all(self) -> None:
        """Drain everything, what was started last first."""
        for process in reversed(self._processes[:]):
            self.stop(process)


@contextmanager
def sandbox(
    folder: Path, configuration: str, more: Mapping[str, str] | None = None
) -> Iterator[Sandbox]:
    """Give a gateway without processes: migrated, a team with credits and a key.

    ``configuration`` is the text of its `gateway.toml`, ``more`` further variables. On the way
    out every process is drained and the engines stop. Raises Unavailable, EmbeddedEngineError.
    """
    config = folder / "gateway.toml"
    config.write_text(configuration, encoding="utf-8")
    with attached(folder) as engines:
        port = free_port()
        environment = {n: v for n, v in os.environ.items() if not n.startswith(PREFIX)}
        environment |= {
            f"{PREFIX}DATA_DIR": str(folder),
            f"{PREFIX}CONFIG": str(config),
            f"{PREFIX}HOST": LOOPBACK,
            f"{PREFIX}PORT": str(port),
            f"{PREFIX}DATABASE_URL": engines.postgres.url if engines.postgres else "",
            f"{PREFIX}REDIS_URL": engines.valkey.url if engines.valkey else "",
            **(more or {}),
        }
        box = Sandbox(folder, environment, f"http://{LOOPBACK}:{port}")
        try:
            box.command("migrate")
            box.command("team", "create", TEAM)
            box.command("credits", "grant", "--team", TEAM, CREDITS)
            box.key = box.command("key", "create", "--team", TEAM, "--name", TEAM)["key"]
            yield box
        finally:
            box.stop_all()
