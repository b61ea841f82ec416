"""A gateway of real processes on engines of its own, whose processes may die and come back."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import redis

from gateway.crashpoints import CrashPoint
from gateway.embedded import EmbeddedPostgres, EmbeddedValkey
from gateway.settings import Settings
from gateway.simulator import Simulator, SimulatorConfig
from gateway.stores.postgres.migrate import upgrade
from gateway.wiring.books import Books, open_books
from tests.support.certificates import authority
from tests.support.ports import free_port
from tests.support.receivers import Receiver, receiver, reply
from tests.support.stack import CONFIGURATION, MODEL

VENDORS = ("evolink", "dashscope", "openai", "modelverse", "qingbo", "fal", "replicate")
REACHED_WITHIN_S = 90.0
# Under one disaster after the other a task may take its time.
ANSWERED_WITHIN_S = 240.0
GAVE_UP = 1
STARTED_WITHIN_S = 8.0


@dataclass
class Process:
    """One process of the gateway."""

    role: str
    popen: asyncio.subprocess.Process
    started_s: float
    draining: bool = False

    @property
    def pid(self) -> int:
        return self.popen.pid


@dataclass
class Site:
    """Two engines, one API process, some workers, simulated vendors and a callback receiver."""

    folder: Path
    port: int
    postgres: EmbeddedPostgres
    valkey: EmbeddedValkey
    simulator: Simulator
    receiver: Receiver
    environment: dict[str, str]
    client: httpx.AsyncClient
    key: str = ""
    team_id: str = ""
    processes: list[Process] = field(default_factory=list)
    tasks: dict[str, str] = field(default_factory=dict)
    """Task id by the Idempotency-Key of its call, or by itself for a line of a batch."""
    batches: set[str] = field(default_factory=set)

    # --- processes -----------------------------------------------------------------------

    async def start(self, role: str) -> Process:
        """Start an `api` or a `worker`."""
        arguments = ["--port", str(self.port)] if role == "api" else []
        with (self.folder / f"{role}.log").open("ab") as log:
            popen = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "gateway", role, *arguments),
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        process = Process(role, popen, time.monotonic())
        self.processes.append(process)
        return process

    def of(self, role: str) -> list[Process]:
        """Give the processes of a role that run."""
        return [p for p in self.processes if p.role == role and p.popen.returncode is None]

    async def kill(self, role: str, pid: int | None = None) -> None:
        """Kill -9 one process of the role, that one if it is of the role, and start another."""
        running = self.of(role)
        victim = next((p for p in running if p.pid == pid), running[0])
        victim.popen.kill()
        await self._replaced(victim)

    async def _replaced(self, process: Process) -> None:
        """Start another when this one has ended, unless somebody did."""
        await process.popen.wait()
        if process in self.processes:
            self.processes.remove(process)
            await self.start(process.role)

    async def replace_api(self) -> None:
        """SIGTERM the API process, and start another as soon as the port is free."""
        # A process that is only starting ends at once: it has nothing to drain.
        await self._until_answered("GET", "/readyz", None, {})
        (process,) = self.of("api")
        process.popen.terminate()
        await self._replaced(process)

    async def drain(self, role: str) -> None:
        """SIGTERM the oldest process of the role that is not draining, and start another."""
        process = next(p for p in self.of(role) if not p.draining)
        # A process that is only starting ends at once: it has nothing to drain.
        await asyncio.sleep(process.started_s + STARTED_WITHIN_S - time.monotonic())
        process.draining = True
        process.popen.terminate()
        await self.start(role)

    async def stop(self) -> None:
        """Drain all processes; each must end cleanly."""
        for process in self.processes:
            if process.popen.returncode is None:
                process.popen.send_signal(signal.SIGTERM)
        codes = [await asyncio.wait_for(p.popen.wait(), 20) for p in self.processes]
        assert set(codes) <= {0, -signal.SIGTERM}, codes

    async def supervise(self) -> None:
        """Start again what gave up, as a service manager does: a start needs Postgres."""
        while True:
            await asyncio.sleep(0.2)
            for process in [p for p in self.processes if p.popen.returncode == GAVE_UP]:
                self.processes.remove(process)
                await self.start(process.role)

    def flush(self) -> None:
        """Empty Valkey."""
        with redis.Redis.from_url(self.valkey.url) as client:
            client.flushall()

    async def restart_postgres(self) -> None:
        """Kill PostgreSQL as a power cut does, and start it again."""
        await asyncio.to_thread(self.postgres.kill)
        await asyncio.to_thread(self.postgres.ensure)

    async def restart_valkey(self) -> None:
        """Kill Valkey, all it knew lost, and start it again."""
        await asyncio.to_thread(self.valkey.kill)
        await asyncio.to_thread(self.valkey.ensure)

    # --- crash points --------------------------------------------------------------------

    def arm(self, point: CrashPoint) -> None:
        """Let the next process that gets to the point stand still there."""
        (self.folder / "points" / point.value).touch()

    async def held(self, point: CrashPoint) -> int:
        """Wait for a process to stand at the point; gives its pid."""
        async with asyncio.timeout(REACHED_WITHIN_S):
            while True:
                for path in (self.folder / "points").glob(f"{point.value}.*"):
                    return int(path.suffix[1:])
                await asyncio.sleep(0.01)

    def release(self, point: CrashPoint, pid: int) -> None:
        """Let the process go on, if it still lives."""
        (self.folder / "points" / f"{point.value}.{pid}").unlink()

    # --- calls ---------------------------------------------------------------------------

    async def generate(self, body: dict[str, Any], **headers: str) -> str:
        """Send a generation as a careful client does: again and again under one key.

        Gives the task's id; a waited-for task may have failed.
        """
        name = uuid4().hex
        headers = {"authorization": f"Bearer {self.key}", "idempotency-key": name, **headers}
        whole = {"prompt": f"a kite {name}", "callback_url": self.callback_url, **body}
        answer = await self._until_answered("POST", "/v1/images/generations", whole, headers)
        assert "x-task-id" in answer.headers, answer.text
        self.tasks[name] = answer.headers["x-task-id"]
        return self.tasks[name]

    async def batch(self, lines: int, concurrency: int = 10, token: str = "", **fields: Any) -> str:
        """Send a batch as a careful client does; gives its id.

        Its lines call back too, unless ``callback_url`` is None.
        """
        name = uuid4().hex
        headers = {"authorization": f"Bearer {self.key}", "idempotency-key": name}
        body = {"model": MODEL, "callback_url": self.callback_url, **fields}
        text = "\n".join(
            json.dumps({"prompt": f"a kite {name} {no}", **body}) for no in range(1, lines + 1)
        )
        hook = quote(f"{self.callback_url}{token}", safe="")
        path = f"/v1/batches?concurrency={concurrency}&callback_url={hook}"
        answer = await self._until_answered("POST", path, None, headers, content=text)
        assert answer.status_code == 200, answer.text
        batch_id: str = answer.json()["id"]
        self.batches.add(batch_id)
        for no in range(1, lines + 1):
            self.tasks[f"task-{batch_id}-{no}"] = f"task-{batch_id}-{no}"
        return batch_id

    async def batch_ended(self, batch_id: str) -> dict[str, Any]:
        """Wait until a batch has ended; gives it."""
        headers = {"authorization": f"Bearer {self.key}"}
        async with asyncio.timeout(ANSWERED_WITHIN_S):
            while True:
                path = f"/v1/batches/{batch_id}"
                answer = await self._until_answered("GET", path, None, headers)
                body: dict[str, Any] = answer.json()
                if body["status"] in ("completed", "cancelled"):
                    return body
                await asyncio.sleep(0.1)

    async def cancel(self, task_id: str) -> None:
        """Cancel a task; it may have ended before."""
        headers = {"authorization": f"Bearer {self.key}"}
        path = f"/v1/tasks/{task_id}/cancel"
        answer = await self._until_answered("POST", path, None, headers)
        assert answer.status_code in (200, 409), answer.text

    async def _until_answered(
        self,
        method: str,
        path: str,
        body: object,
        headers: dict[str, str],
        content: str | None = None,
    ) -> httpx.Response:
        async with asyncio.timeout(ANSWERED_WITHIN_S):
            while True:
                try:
                    answer = await self.client.request(
                        method, path, json=body, content=content, headers=headers
                    )
                except httpx.TransportError:
                    await asyncio.sleep(0.1)
                    continue
                is_final = answer.headers.get("x-should-retry") == "false"
                if is_final or answer.status_code not in (429, 502, 503, 504):
                    return answer
                await asyncio.sleep(0.2)

    @property
    def callback_url(self) -> str:
        """Where callbacks are heard."""
        return f"https://localhost:{self.receiver.port}/hook"

    def callbacks_heard(self) -> dict[str, set[str]]:
        """Give the ids under which each task's callback was delivered."""
        heard: dict[str, set[str]] = {}
        for request in self.receiver.requests:
            task_id = json.loads(request.body)["id"]
            heard.setdefault(task_id, set()).add(request.headers["webhook-id"])
        return heard

    @asynccontextmanager
    async def books(self) -> AsyncIterator[Books]:
        """Open the stores in Postgres, as a command does."""
        secret_key = self.environment.get("GATEWAY_SECRET_KEY")
        settings = Settings(data_dir=self.folder, secret_key=secret_key)
        async with open_books(settings, self.postgres.url) as opened:
            yield opened


def _environment(
    folder: Path, postgres: EmbeddedPostgres, valkey: EmbeddedValkey
) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("GATEWAY_")}
    return {
        **clean,
        "GATEWAY_DATABASE_URL": postgres.url,
        "GATEWAY_REDIS_URL": valkey.url,
        "GATEWAY_DATA_DIR": str(folder),
        "GATEWAY_CONFIG": str(folder / "gateway.toml"),
        "CRASH_POINTS_DIR": str(folder / "points"),
    }


@asynccontextmanager
async def running_site(
    folder: Path,
    postgres: EmbeddedPostgres,
    valkey: EmbeddedValkey,
    *,
    workers: int = 2,
    credits: int = 100_000,
    work_ms: tuple[int, int] = (30, 60),
    configuration: str = CONFIGURATION,
    variables: Mapping[str, str] | None = None,
) -> AsyncIterator[Site]:
    """Run a site until the block ends; its processes drain then."""
    (folder / "points").mkdir()
    ca = authority(folder)
    upgrade(postgres.url)
    async with (
        Simulator(SimulatorConfig(work_ms=work_ms)) as simulator,
        receiver(reply(200), ca.server("localhost")) as heard,
        httpx.AsyncClient(timeout=60, trust_env=False) as client,
    ):
        port = free_port()
        client.base_url = httpx.URL(f"http://127.0.0.1:{port}")
        urls = {name: simulator.base_url(name) for name in VENDORS}
        (folder / "gateway.toml").write_text(configuration.format(**urls), encoding="utf-8")
        environment = _environment(folder, postgres, valkey)
        environment["GATEWAY_CALLBACK_ALLOWED_HOSTS"] = f"localhost:{heard.port}"
        environment["GATEWAY_CALLBACK_CA_FILE"] = str(ca.ca_file)
        environment |= variables or {}
        site = Site(folder, port, postgres, valkey, simulator, heard, environment, client)
        async with site.books() as books:
            team = await books.ledger.create_team("crash")
            await books.ledger.grant(team.id, credits * 1_000_000, None)
            _, site.key = await books.keys.create(team.id, "crash")
            site.team_id = team.id
        try:
            for role in ("api", *["worker"] * workers):
                await site.start(role)
            supervisor = asyncio.create_task(site.supervise())
            yield site
            supervisor.cancel()
            await site.stop()
        finally:
            for process in site.processes:
                if process.popen.returncode is None:
                    process.popen.kill()
                    await process.popen.wait()
