"""The processes behind `api`, `worker` and `simulate`."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
import uvloop

from gateway.cli.database import Addresses, engines_of
from gateway.cli.output import fail, show
from gateway.crashpoints import CrashPoint, reached
from gateway.domain.errors import GatewayError, Unavailable
from gateway.embedded import EmbeddedEngineError
from gateway.http.app import create_app
from gateway.http.connection import BoundedConnection
from gateway.logs import configure_logging
from gateway.settings import Settings, SettingsError, load_settings
from gateway.wiring import meters
from gateway.wiring.configuration import reload_on_signal
from gateway.wiring.runtime import Gateway, open_gateway

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterator
    from types import FrameType

GRACE_S = 8
KEEPALIVE_S = 75
BACKLOG = 2048
STOPS = (signal.SIGINT, signal.SIGTERM)
OPEN_FILES_MAX = 65_536
GC_NEW_OBJECTS = 10_000
"""How many more objects there are than at the last collection when the next one is due."""


def _run(
    work: Callable[[Settings, Addresses], Coroutine[Any, Any, None]],
    *,
    tied: bool,
    as_json: bool,
    **options: object,
) -> None:
    try:
        settings = load_settings(**options)
        configure_logging(settings.log_format)
        _allow_files()
        if tied:
            _stop_with_parent()
        with engines_of(settings) as addresses, suppress(asyncio.CancelledError):
            uvloop.run(work(settings, addresses))
    except (GatewayError, EmbeddedEngineError, SettingsError) as error:
        fail(str(error), as_json=as_json)


def _allow_files() -> None:
    """Raise the limit on open files as far as we may: every call under way is a socket.

    Many systems allow 1,024 at first and far more on request.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES_MAX)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _stop_with_parent() -> None:
    """Stop when standard input closes: the supervisor has gone, however it went."""

    def watch() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent watch", daemon=True).start()


def run_api(
    *, config: Path | None, host: str | None, port: int | None, tied: bool, as_json: bool
) -> None:
    """Serve HTTP until SIGTERM or SIGINT."""
    _run(_serve_api, tied=tied, as_json=as_json, config=config, host=host, port=port)


class _Server(uvicorn.Server):
    """Turns readiness off before it stops accepting."""

    def __init__(self, config: uvicorn.Config, draining: asyncio.Event) -> None:
        super().__init__(config)
        self._draining = draining

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on SIGINT and SIGTERM. Unlike uvicorn's own, nothing is raised again afterwards.

        A signal raised again would end the process before its stores are closed.
        """
        loop = asyncio.get_running_loop()
        for number in STOPS:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._draining.set()
        reached(CrashPoint.API_DRAINING)
        super().handle_exit(sig, frame)


async def _serve_api(settings: Settings, addresses: Addresses) -> None:
    draining = asyncio.Event()
    # Bound at once, for a taken address to be told at once; called only when we can answer.
    listener = _bind(settings)
    async with _opened(settings, addresses) as gateway:
        _listen(settings, listener)
        app = create_app(gateway.core, draining=draining)
        config = uvicorn.Config(
            app.edge,
            http=BoundedConnection,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEPALIVE_S,
            timeout_graceful_shutdown=GRACE_S,
            backlog=BACKLOG,
            ws="none",
            lifespan="off",
        )
        _keep()
        await _Server(config, draining).serve(sockets=[listener])


def _keep() -> None:
    """Tell the collector of cycles that what is there stays, and to look seldom at the rest.

    It would go through all modules again and again, and through what a few calls hold, as often as
    hundreds come at once; hardly anything here is a cycle.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_NEW_OBJECTS, *gc.get_threshold()[1:])


def _bind(settings: Settings) -> socket.socket:
    """Open the socket that will listen. Raises Unavailable when the address is taken."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # The protocol must be named: without it asyncio leaves Nagle's algorithm on.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    with _told_if_taken(settings, listener):
        listener.bind((settings.host, settings.port))
    listener.setblocking(False)
    return listener


def _listen(settings: Settings, listener: socket.socket) -> None:
    """Let callers come. Raises Unavailable when another process began to listen meanwhile."""
    with _told_if_taken(settings, listener):
        listener.listen(BACKLOG)


@contextmanager
def _told_if_taken(settings: Settings, listener: socket.socket) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        listener.close()
        reason = error.strerror or str(error)
        raise Unavailable(f"cannot listen on {settings.host}:{settings.port}: {reason}") from None


@asynccontextmanager
async def _opened(settings: Settings, addresses: Addresses) -> AsyncIterator[Gateway]:
    """Open the gateway, which may wait for Postgres; told to stop, it is not waited for."""
    loop, opening = asyncio.get_running_loop(), asyncio.current_task()
    assert opening is not None
    for number in STOPS:
        loop.add_signal_handler(number, opening.cancel)
    async with open_gateway(
        settings, database_url=addresses.database, redis_url=addresses.redis
    ) as gateway:
        loop.add_signal_handler(signal.SIGHUP, reload_on_signal, gateway.configuration)
        yield gateway


def run_worker(*, config: Path | None, tied: bool, as_json: bool) -> None:
    """Work until SIGTERM or SIGINT, then drain."""
    _run(_serve_worker, tied=tied, as_json=as_json, config=config)


async def _serve_worker(settings: Settings, addresses: Addresses) -> None:
    async with _opened(settings, addresses) as gateway:
        meters.serve(settings)
        worker = gateway.worker()
        _keep()
        loop = asyncio.get_running_loop()
        for number in STOPS:
            loop.add_signal_handler(number, worker.stop)
        await worker.run()


def run_simulator(
    *, host: str, work_ms: int, ports: Path | None, tied: bool, as_json: bool
) -> None:
    """Serve the simulated vendors until SIGTERM or SIGINT."""
    from gateway.simulator import DEFAULT_PORTS, SimulatorConfig, run

    configure_logging()
    if tied:
        _stop_with_parent()
    table = json.loads(ports.read_text()) if ports else DEFAULT_PORTS
    config = SimulatorConfig(host=host, ports=table, work_ms=(work_ms // 2, work_ms))
    if not tied:
        urls = {name: f"http://{host}:{port}" for name, port in table.items()}
        show(urls, as_json=as_json)
    try:
        uvloop.run(run(config))
    except OSError as error:
        fail(f"cannot listen: {error.strerror or error}", as_json=as_json)
