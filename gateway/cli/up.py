"""`gateway up`: all roles on one machine, as separate processes under one supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway import catalog as catalogue
from gateway.cli.banner import show_banner
from gateway.cli.demo import demo_key, migrate_if_needed, plan_demo
from gateway.cli.files import write_secret
from gateway.cli.network import LOOPBACK, wait_ready
from gateway.cli.output import fail
from gateway.domain.errors import Unavailable
from gateway.embedded import Engines, attached, watch
from gateway.logs import configure_logging
from gateway.settings import Settings, load_settings

READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 12.0
RESTART_PAUSES_S = (0.5, 1.0, 2.0, 5.0)
STABLE_S = 30.0
SIMULATOR = "simulator"


@dataclass(slots=True)
class Child:
    """One supervised process. It stops when its standard input closes, so none outlives us."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    process: asyncio.subprocess.Process | None = None
    restarts: int = 0
    started_s: float = 0.0

    async def start(self) -> None:
        """Start the process in a session of its own: Ctrl-C reaches only the supervisor."""
        self.started_s = time.monotonic()
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "gateway",
            *self.argv,
            "--tied",
            stdin=asyncio.subprocess.PIPE,
            env={**os.environ, **self.env},
            start_new_session=True,
        )

    def signal(self, number: signal.Signals) -> None:
        """Send a signal if the process still runs."""
        if self.process is not None and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)


class Supervisor:
    """Keeps children running until told to stop; a child that dies is started again."""

    def __init__(self, stopping: asyncio.Event) -> None:
        """Take the event that says that nothing is to be started again."""
        self._stopping = stopping
        self._keepers: dict[asyncio.Task[None], Child] = {}

    @property
    def children(self) -> list[Child]:
        """The children, in the order they were started."""
        return list(self._keepers.values())

    def start(self, child: Child) -> None:
        """Start a child and keep it running."""
        self._keepers[asyncio.create_task(self._keep(child))] = child

    async def stop(self) -> None:
        """Drain the API and the worker first; the vendors they talk to go last."""
        self._stopping.set()
        serving = [child for child in self.children if child.name != SIMULATOR]
        rest = [child for child in self.children if child.name == SIMULATOR]
        for group in (serving, rest):
            for child in group:
                child.signal(signal.SIGTERM)
            waits = [c.process.wait() for c in group if c.process is not None]
            try:
                await asyncio.wait_for(asyncio.gather(*waits), STOP_TIMEOUT_S)
            except TimeoutError:
                for child in group:
                    child.signal(signal.SIGKILL)
        await asyncio.gather(*self._keepers)

    def reload(self) -> None:
        """Let the API and the worker read their configuration again."""
        for child in self.children:
            if child.name != SIMULATOR:
                child.signal(signal.SIGHUP)

    async def _keep(self, child: Child) -> None:
        while not self._stopping.is_set():
            await child.start()
            if child.process is None:
                return
            if self._stopping.is_set():
                # Asked to stop while it was being started: nobody else will tell it.
                child.signal(signal.SIGTERM)
            code = await child.process.wait()
            if self._stopping.is_set():
                return
            if time.monotonic() - child.started_s > STABLE_S:
                child.restarts = 0
            pause = RESTART_PAUSES_S[min(child.restarts, len(RESTART_PAUSES_S) - 1)]
            child.restarts += 1
            print(
                f"gateway: {child.name} ended with {code}; starting it again in {pause} s",
                file=sys.stderr,
            )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)


async def run_up(*, config: Path | None, host: str | None, port: int | None, as_json: bool) -> None:
    """Run everything until SIGINT or SIGTERM."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    settings = load_settings(config=config, host=host, port=port)
    configure_logging(settings.log_format)
    if settings.config is not None:
        catalogue.load(settings.config, os.environ)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    _refuse_taken_port(settings)
    with _one_per_directory(settings.data_dir):
        attach = attached(
            settings.data_dir,
            postgres=settings.database_url is None,
            valkey=settings.redis_url is None,
        )
        with attach as engines:
            await _serve(settings, engines, stopping, as_json=as_json)


async def _serve(
    settings: Settings, engines: Engines, stopping: asyncio.Event, *, as_json: bool
) -> None:
    environment = _environment(settings, engines)
    supervisor = Supervisor(stopping)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, supervisor.reload)
    demo = None
    if settings.config is None:
        demo = plan_demo(settings)
        environment["GATEWAY_CONFIG"] = str(demo.config)
        supervisor.start(Child(SIMULATOR, demo.simulator, environment))
    keeper = asyncio.create_task(watch(engines))
    try:
        database_url = environment.get("GATEWAY_DATABASE_URL") or os.environ["GATEWAY_DATABASE_URL"]
        migration = migrate_if_needed(database_url, wait_s=settings.database_wait_seconds)
        if not await _unless_stopped(migration, stopping):
            return
        supervisor.start(Child("api", ("api",), environment))
        supervisor.start(Child("worker", ("worker",), environment))
        key = await demo_key(settings, database_url) if demo else None
        ready = await asyncio.to_thread(
            wait_ready, _probed(settings), READY_TIMEOUT_S, stopping.is_set
        )
        if ready:
            show_banner(settings, demo, key, as_json=as_json)
            await stopping.wait()
        elif not stopping.is_set():
            fail(f"the API was not ready within {READY_TIMEOUT_S:.0f} s; see the log above")
    finally:
        await supervisor.stop()
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)


async def _unless_stopped(work: Coroutine[Any, Any, None], stopping: asyncio.Event) -> bool:
    """Do the work, unless told to stop before it is done; gives whether it was."""
    doing, stopped = asyncio.create_task(work), asyncio.create_task(stopping.wait())
    await asyncio.wait((doing, stopped), return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not doing.done():
        doing.cancel()
        await asyncio.wait((doing,))
        return False
    await doing
    return True


def _environment(settings: Settings, engines: Engines) -> dict[str, str]:
    """Give what the children read: the same environment, with everything decided made explicit."""
    environment = {
        "GATEWAY_DATA_DIR": str(settings.data_dir.resolve()),
        "GATEWAY_HOST": settings.host,
        "GATEWAY_PORT": str(settings.port),
        "GATEWAY_ADMIN_KEY": admin_key(settings),
    }
    if engines.postgres is not None:
        environment["GATEWAY_DATABASE_URL"] = engines.postgres.url
    if engines.valkey is not None:
        environment["GATEWAY_REDIS_URL"] = engines.valkey.url
    if settings.config is not None:
        environment["GATEWAY_CONFIG"] = str(settings.config.resolve())
    return environment


def admin_key(settings: Settings) -> str:
    """Give the admin key: the configured one, else one generated once and kept with mode 600."""
    if settings.admin_key is not None:
        return settings.admin_key.get_secret_value()
    path = settings.data_dir / "admin.key"
    with contextlib.suppress(FileNotFoundError):
        return path.read_text().strip()
    text = f"igw-admin-{secrets.token_urlsafe(32)}"
    write_secret(path, text)
    return text


def _probed(settings: Settings) -> str:
    host = LOOPBACK if settings.host in ("0.0.0.0", "::") else settings.host  # noqa: S104
    return f"http://{host}:{settings.port}"


def _refuse_taken_port(settings: Settings) -> None:
    with socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            raise Unavailable(
                f"cannot listen on {settings.host}:{settings.port} ({error.strerror}); "
                "set GATEWAY_PORT or --port to a free one"
            ) from None


@contextlib.contextmanager
def _one_per_directory(data_dir: Path) -> Iterator[None]:
    """Refuse a second `up` on the same data directory; the lock goes with the process."""
    import fcntl

    with (data_dir / "up.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Unavailable(f"another `gateway up` is running in {data_dir}") from None
        yield
