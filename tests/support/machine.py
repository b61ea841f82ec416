"""A newcomer's machine: `gateway up` and commands in real processes, on one data directory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.ports import free_port

DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Machine:
    """One data directory and one port, with commands run on it."""

    def __init__(self, data_dir: Path) -> None:
        self.port = free_port()
        self.data_dir = data_dir
        clean = {k: v for k, v in os.environ.items() if not k.startswith("GATEWAY_")}
        self.env = {
            **clean,
            "GATEWAY_DATA_DIR": str(data_dir),
            "GATEWAY_PORT": str(self.port),
        }

    @property
    def address(self) -> str:
        """Where the API listens."""
        return f"http://127.0.0.1:{self.port}"

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "gateway", *arguments]

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            env=self.env,
            check=check,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json").stdout)

    @contextmanager
    def up(self) -> Iterator[dict[str, Any]]:
        """Run `gateway up` until the block ends, then stop it as Ctrl-C does."""
        log = (self.data_dir.parent / "up.log").open("w")
        process = subprocess.Popen(
            self.command("up", "--json"),
            cwd=self.data_dir.parent,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        assert process.stdout is not None
        try:
            ready: dict[str, Any] = json.loads(process.stdout.readline())
            yield ready
        finally:
            process.send_signal(signal.SIGINT)
            code = process.wait(60)
            process.stdout.close()
            log.close()
        assert code == 0

    def call(self, key: str, path: str, body: object = None, **headers: str) -> Any:
        request = urllib.request.Request(
            f"{self.address}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"authorization": f"Bearer {key}", **headers},
        )
        with DIRECT.open(request, timeout=60) as answer:
            return json.load(answer)
