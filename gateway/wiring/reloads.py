"""A reload of the configuration that every process hears of."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress

import structlog

from gateway.domain.administration import Ask
from gateway.domain.errors import Unavailable
from gateway.stores.postgres.changes import Changes
from gateway.stores.valkey import keys
from gateway.stores.valkey.connection import Valkey
from gateway.wiring.configuration import Configuration, reload_on_signal

log = structlog.get_logger(__name__)

LOOK_S = 1.0


class Reloads:
    """Reloads here and tells the others, who look once a second."""

    def __init__(self, configuration: Configuration, changes: Changes, valkey: Valkey) -> None:
        """Take what is reloaded, the audit log, and where the others look."""
        self._configuration = configuration
        self._changes = changes
        self._valkey = valkey
        self._seen: bytes | None = None

    async def reload(self, ask: Ask) -> None:
        """Reload in this process, then tell the others, with an audit row.

        Raises ConfigError, and then nothing changed anywhere; StoreUnavailable or
        IndexUnavailable when only this process took it.
        """
        self._configuration.reload()
        names = sorted(self._configuration.catalog.upstreams)
        self._seen = await announce(self._changes, self._valkey, names, ask)

    async def watch(self) -> None:
        """Reload whenever another process says so; runs until cancelled."""
        while True:
            with suppress(Unavailable):
                wish = await self._valkey.execute("GET", keys.RELOADS) or b""
                if self._seen is not None and wish not in (self._seen, b""):
                    reload_on_signal(self._configuration)
                self._seen = wish or self._seen or b""
            await asyncio.sleep(LOOK_S)


async def announce(changes: Changes, valkey: Valkey, upstreams: list[str], ask: Ask) -> bytes:
    """Ask every process to read its configuration again; gives what marks this wish.

    Writes the audit row. Raises IndexUnavailable, StoreUnavailable.
    """
    wish = secrets.token_hex(8).encode()
    async with changes.begin(ask) as change:
        await change.record("catalog.reload", "gateway.toml", after={"upstreams": upstreams})
    await valkey.execute("SET", keys.RELOADS, wish)
    return wish
