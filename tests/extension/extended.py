"""The gateway as somebody extended it by the book: the very code and data of `docs/adding-*.md`.

The package is copied, the documented files are put where the pages say, and `gateway api` and
`gateway worker` run from the copy. No other file of the copy is touched.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import httpx

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
READY_S = 40
_FENCE = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


def block(page: str, language: str, mark: str) -> str:
    """Give the fenced block of a documentation page that contains ``mark``."""
    text = (DOCS / page).read_text(encoding="utf-8")
    found = [dedent(m[3]) for m in _FENCE.finditer(text) if m[2] == language and mark in m[3]]
    assert len(found) == 1, f"{page} has {len(found)} {language} blocks with {mark!r}"
    return found[0]


def documented_files() -> Mapping[str, str]:
    """Give what the pages say to write, by the path they say to write it at."""
    return {
        "gateway/upstreams/acme.py": block("adding-a-provider.md", "python", "class Adapter"),
        "gateway/catalog/providers/acme.toml": block("adding-a-provider.md", "toml", '"acme"'),
        "gateway/catalog/models/wan2.8-t2i.toml": block("adding-a-model.md", "toml", "[limits]"),
        "gateway/catalog/models/wan2.8-t2i-turbo.toml": block("adding-a-model.md", "toml", "like"),
        "gateway/dialects/acme.py": block("adding-a-dialect.md", "python", "class Acme"),
    }


def extend(folder: Path) -> Path:
    """Make the extended copy; gives the folder to run it from."""
    shutil.copytree(ROOT / "gateway", folder / "gateway")
    (folder / "migrations").symlink_to(ROOT / "migrations")
    for path, text in documented_files().items():
        assert not (folder / path).exists(), f"{path} is there already"
        (folder / path).write_text(text, encoding="utf-8")
    # The one thing a page adds to an existing file: how a provider sells the new model.
    sale = block("adding-a-model.md", "toml", "has this already").partition("\n")[2]
    with (folder / "gateway/catalog/providers/dashscope.toml").open("a", encoding="utf-8") as sold:
        sold.write(f"\n{sale}")
    return folder


@dataclass
class Process:
    """A command of the copy, running."""

    argv: tuple[str, ...]
    process: asyncio.subprocess.Process
    output: Path

    async def stop(self) -> None:
        """Stop it as an operator would, and see that it ends well."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        code = await asyncio.wait_for(self.process.wait(), 15)
        assert code == 0, self.output.read_text(encoding="utf-8")[-2_000:]


@asynccontextmanager
async def running(folder: Path, environ: Mapping[str, str], *argv: str) -> AsyncIterator[Process]:
    """Run `gateway …` from the copy until the block ends."""
    output = folder / f"{argv[0]}.log"
    with output.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "gateway",
            *argv,
            "--tied",  # Ends with us, however we end.
            cwd=folder,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(folder), **environ},
            stdin=asyncio.subprocess.PIPE,
            stdout=log,
            stderr=log,
        )
    started = Process(argv, process, output)
    try:
        yield started
    finally:
        await started.stop()


async def ready(url: str, api: Process) -> None:
    """Wait until the API says that it is ready."""
    async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(READY_S):
        while True:
            assert api.process.returncode is None, api.output.read_text(encoding="utf-8")
            try:
                if (await client.get(f"{url}/readyz")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.1)


def free_port() -> int:
    """Give a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
