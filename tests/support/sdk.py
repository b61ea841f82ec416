"""Official SDKs in processes of their own: the newest versions and older ones, side by side."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.stack import Stack, Team

ROOT = Path(__file__).parents[2]
OLD_PYTHON = ROOT / ".venv-old-sdks" / "bin" / "python"
ANSWER_S = 60.0
# What would send an SDK elsewhere, or change how it behaves.
FOREIGN = ("OPENAI_", "DASHSCOPE_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


class SdkRaised(Exception):
    """The SDK raised; ``facts`` is what a program can read off its exception."""

    def __init__(self, facts: dict[str, Any]) -> None:
        super().__init__(f"{facts['class']}: {facts['text']}")
        self.facts = facts


class SdkProcess:
    """One interpreter running one script of ``tests/sdk``, one call at a time."""

    def __init__(self, python: Path, script: str) -> None:
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.upper().startswith(FOREIGN)
        }
        self._process = subprocess.Popen(
            [python, "-m", f"tests.sdk.{script}"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )

    async def call(self, name: str, **arguments: Any) -> Any:
        """Give what the script's function gives. Raises SdkRaised, TimeoutError after ANSWER_S."""
        asked = json.dumps({"name": name, "arguments": arguments})
        try:
            async with asyncio.timeout(ANSWER_S):
                line = await asyncio.to_thread(self._exchange, asked)
        except TimeoutError:
            self._process.kill()
            raise
        told = json.loads(line)
        if "raised" in told:
            raise SdkRaised(told["raised"])
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
class Callers:
    """One team per version of an SDK; a call is made by all of them at once."""

    processes: Sequence[SdkProcess]
    base_url: str
    teams: Sequence[Team]

    def alone(self) -> list[Callers]:
        """Give each version's caller by itself, newest first."""
        pairs = zip(self.processes, self.teams, strict=True)
        return [Callers([process], self.base_url, [team]) for process, team in pairs]

    async def call(
        self, name: str, *, options: Mapping[str, Any] | None = None, **arguments: Any
    ) -> list[Any]:
        """Call a method of the SDK; gives each version's answer, newest first.

        ``options`` are the client's. Raises SdkRaised.
        """
        return await asyncio.gather(
            *(
                process.call(
                    name,
                    base_url=self.base_url,
                    api_key=team.key,
                    options=dict(options or {}),
                    arguments=arguments,
                )
                for process, team in zip(self.processes, self.teams, strict=True)
            )
        )

    async def refused(
        self, name: str, *, options: Mapping[str, Any] | None = None, **arguments: Any
    ) -> list[dict[str, Any]]:
        """Make a call that every version raises for; gives the facts of the exceptions."""
        calls = [caller.call(name, options=options, **arguments) for caller in self.alone()]
        found = await asyncio.gather(*calls, return_exceptions=True)
        assert [item for item in found if not isinstance(item, SdkRaised)] == []
        return [item.facts for item in found if isinstance(item, SdkRaised)]


@dataclass(frozen=True)
class Sdks:
    """An SDK in every version there is here."""

    processes: Sequence[SdkProcess]
    stack: Stack

    async def callers(self, prefix: str, *, credits: int = 100, wrong_key: bool = False) -> Callers:
        """Give one new team per version, calling under ``prefix``."""
        teams = [await self.stack.team(credits) for _ in self.processes]
        if wrong_key:
            teams = [Team(team.id, team.name, "sk-igw-wrong", "") for team in teams]
        return Callers(self.processes, self.stack.url + prefix, teams)


@contextmanager
def sdk_processes(script: str) -> Iterator[list[SdkProcess]]:
    """Run a script with the newest SDK, and with the older one where it is installed."""
    pythons = [Path(sys.executable), *([OLD_PYTHON] if OLD_PYTHON.exists() else [])]
    with ExitStack() as stack:
        processes = [SdkProcess(python, script) for python in pythons]
        for process in processes:
            stack.callback(process.close)
        yield processes
