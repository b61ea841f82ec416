"""PostgreSQL and Valkey with nothing to install: real engines from wheels, one data directory.

For one machine: `gateway up`, the CLI beside it, the tests. `attached()` is how a command uses
them; several processes share one pair, and the last one out stops it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.embedded.engine import EmbeddedEngine
from gateway.embedded.errors import EmbeddedEngineError
from gateway.embedded.postgres import EmbeddedPostgres
from gateway.embedded.valkey import EmbeddedValkey

__all__ = [
    "EmbeddedEngine",
    "EmbeddedEngineError",
    "EmbeddedPostgres",
    "EmbeddedValkey",
    "Engines",
    "attached",
    "watch",
]


@dataclass(frozen=True, slots=True)
class Engines:
    """The claimed engines of a data directory; None where one is not embedded."""

    postgres: EmbeddedPostgres | None
    valkey: EmbeddedValkey | None

    def ensure(self) -> None:
        """Start whichever of the engines is not running. Blocking. Raises EmbeddedEngineError."""
        for engine in (self.valkey, self.postgres):
            if engine is not None:
                engine.ensure()


@contextmanager
def attached(data_dir: Path, *, postgres: bool = True, valkey: bool = True) -> Iterator[Engines]:
    """Use the engines of `data_dir`, started if they are not running, for the length of a `with`.

    On the way out an engine is stopped only if no other process uses it.
    """
    engines = Engines(
        EmbeddedPostgres(data_dir) if postgres else None,
        EmbeddedValkey(data_dir) if valkey else None,
    )
    with ExitStack() as stack:
        for engine in (engines.postgres, engines.valkey):
            if engine is not None:
                stack.callback(engine.release)
        engines.ensure()
        yield engines


async def watch(engines: Engines, interval_s: float = 1.0) -> None:
    """Start an engine again whenever it has died, until cancelled. Raises EmbeddedEngineError."""
    while True:
        await asyncio.sleep(interval_s)
        await asyncio.to_thread(engines.ensure)
