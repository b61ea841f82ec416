"""Official SDKs in processes of their own: the newest versions here, older ones beside us."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
OLD_PYTHON = ROOT / ".venv-old-sdks" / "bin" / "python"
ANSWER_S = 60.0
# What would send an SDK elsewhere, or change how it behaves.
FOREIGN = ("OPENAI_", "DASHSCOPE_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


class Raised(Exception):
    """The SDK raised; the facts of its exception are attributes and keys of ``facts``."""

    def __init__(self, facts: dict[str, Any]) -> None:
        super().__init__(f"{facts['class']}: {facts['text']}")
        self.facts = facts

    def __getattr__(self, name: str) -> Any:
        try:
            return self.facts[name]
        except KeyError:
            raise AttributeError(name) from None


class SdkProcess:
    """One interpreter running one script of ``tests/sdk``."""

    def __init__(self, python: str | Path, script: str) -> None:
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.upper().startswith(FOREIGN)
        }
        self._process = subprocess.Popen(
            [str(python), "-m", f"tests.sdk.{script}"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )

    async def call(self, name: str, **arguments: Any) -> Any:
        """Give the function's result. Raises Raised, TimeoutError after ANSWER_S."""
        asked = json.dumps({"name": name, "arguments": arguments})
        try:
            async with asyncio.timeout(ANSWER_S):
                line = await asyncio.to_thread(self._exchange, asked)
        except TimeoutError:
            self._process.kill()
            raise
        told = json.loads(line)
        if "raised" in told:
            raise Raised(told["raised"])
        return told["answer"]

    def _exchange(self, line: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()

    def close(self) -> None:
        """End the process."""
        self._process.communicate(timeout=10)


@dataclass(frozen=True)
class Sdk:
    """An SDK process as one caller uses it: with an address and a key."""

    process: SdkProcess
    base_url: str
    api_key: str

    async def call(
        self, name: str, *, options: dict[str, Any] | None = None, **arguments: Any
    ) -> Any:
        """Call a method of the SDK; ``options`` are its client's."""
        return await self.process.call(
            name,
            base_url=self.base_url,
            api_key=self.api_key,
            options=options or {},
            arguments=arguments,
        )


def python_of(age: str) -> Path:
    """Give the interpreter with the ``newest`` or the ``older`` SDKs; skips when it is missing."""
    if age == "newest":
        return Path(sys.executable)
    if not OLD_PYTHON.exists():
        pytest.skip("no .venv-old-sdks; `make test` makes it")
    return OLD_PYTHON
