"""A port with an application behind it, which can be taken down and brought up again."""

from __future__ import annotations

import asyncio
import socket

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from gateway.simulator.wire import reset

BACKLOG = 2048
KEEP_ALIVE_S = 75
PORT_TRIES = 100
PORT_PAUSE_S = 0.01


class _Connection(HttpToolsProtocol):
    """uvicorn's protocol, quiet, with the transport within the application's reach."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.app_state = {"transport": transport}
        self.access_log = False
        super().connection_made(transport)


class Listener:
    """A port with an application behind it, which can be taken down and brought up again.

    While it is down the port stays bound but nothing listens, so that connecting is refused and
    nobody else can take the port.
    """

    def __init__(self, app: ASGIApp, host: str, port: int) -> None:
        self._config = uvicorn.Config(
            app,
            http="httptools",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            proxy_headers=False,
            date_header=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
        )
        self._config.load()
        self._state = ServerState()
        self._server: asyncio.AbstractServer | None = None
        self._host = host
        self._socket = _bound(host, port)
        self.port: int = self._socket.getsockname()[1]

    @property
    def down(self) -> bool:
        """Whether connections are refused."""
        return self._server is None

    async def up(self) -> None:
        """Listen; nothing happens when it listens already."""
        if self._server is None:
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(
                self._connection, sock=self._socket, backlog=BACKLOG
            )

    async def take_down(self) -> None:
        """Stop listening and reset every connection; nothing happens when it is down already."""
        if self._server is None:
            return
        self._stop()
        for _ in range(PORT_TRIES):
            try:
                self._socket = _bound(self._host, self.port)
                return
            except OSError:
                await asyncio.sleep(PORT_PAUSE_S)
        raise RuntimeError(f"port {self.port} did not come free")

    def close(self) -> None:
        """Give the port back."""
        if self._server is None:
            self._socket.close()
        else:
            self._stop()

    def _stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self._server = None
        for connection in list(self._state.connections):
            reset(connection.transport)
        for task in list(self._state.tasks):
            task.cancel()

    def _connection(self) -> _Connection:
        return _Connection(self._config, self._state, {})


def _bound(host: str, port: int) -> socket.socket:
    """A socket bound to an address but not listening.

    It must say it is TCP: asyncio sends without delay only on sockets that do.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.setblocking(False)
    except OSError:
        bound.close()
        raise
    return bound
