"""`gateway bench`: how fast this machine is, on engines and simulated vendors of its own.

Everything runs in a temporary directory that is removed afterwards; configured engines and
upstreams are not touched. The load generator shares the machine: compare figures of one machine.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateway.cli.load import Load, cpu_seconds, load, memory_mib, request_bytes
from gateway.cli.network import LOOPBACK, free_port
from gateway.cli.sandbox import Process, Sandbox, sandbox
from gateway.domain.errors import Unavailable
from gateway.simulator import DEFAULT_PORTS

MODEL = "wan2.5-t2i-preview"
BODY = {"model": MODEL, "prompt": "a paper lantern over a canal at dusk"}
CONFIGURATION = """
[credits]
per_usd = "68.1818"

[upstreams.simulated]
adapter = "evolink"
base_url = "http://{host}:{port}/v1"
api_key = "bench"
allow_private = true
offers = [{{ model = "{model}", cost_usd = "0.022" }}]

[models."{model}"]
price_credits = "1.5"
"""
WORK_MS = 1_000
WHOLE_CALLS = 3
WHOLE_SECONDS = 120.0

Row = dict[str, Any]


def measure(*, seconds: float, connections: int) -> list[Row]:
    """Run every measurement and give one row each. Blocking. Raises Unavailable."""
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as name:
        folder = Path(name)
        ports = {vendor: free_port() for vendor in DEFAULT_PORTS}
        (folder / "ports.json").write_text(json.dumps(ports))
        text = CONFIGURATION.format(host=LOOPBACK, port=ports["evolink"], model=MODEL)
        with sandbox(folder, text) as box:
            box.start("simulate", "--ports", str(folder / "ports.json"), "--work-ms", str(WORK_MS))
            return _rows(box, seconds, connections)


def _rows(box: Sandbox, seconds: float, connections: int) -> list[Row]:
    api, worker = box.start_api(), box.start("worker")
    whole = _run(
        box,
        _create(box, wait=True),
        connections=connections,
        seconds=WHOLE_SECONDS,
        calls=WHOLE_CALLS * connections,
    )
    rows = [_row("task from call to picture", whole, 0.0)]
    # What follows is the API alone: a worker would take the machine from what is measured.
    box.stop(worker)
    spent = _spending(api)
    accepted = _run(box, _create(box), connections=connections, seconds=seconds)
    rows.append(_row("accept", accepted, spent()))
    task_id = json.loads(accepted.answers[0])["id"]
    spent = _spending(api)
    query = request_bytes("GET", f"{box.url}/v1/tasks/{task_id}", box.key)
    read = _run(box, lambda: query, connections=connections, seconds=seconds)
    rows.append(_row("read a task", read, spent()))
    spent = _spending(api)
    alone = _run(box, _create(box), connections=1, seconds=min(seconds, 2.0))
    rows.append(_row("accept, one caller", alone, spent()))
    rss, pss = memory_mib(api.pid)
    rows.append({"what": "memory of the API", "rss_mib": round(rss, 1), "pss_mib": round(pss, 1)})
    report = box.command("ledger", "verify")
    rows.append({"what": "ledger", "transfers": report["transfers"], "clean": report["ok"]})
    return rows


def _create(box: Sandbox, *, wait: bool = False) -> Callable[[], bytes]:
    body = json.dumps({**BODY, "async": not wait}).encode()
    request = request_bytes("POST", f"{box.url}/v1/images/generations", box.key, body)
    return lambda: request


def _run(
    box: Sandbox,
    request: Callable[[], bytes],
    *,
    connections: int,
    seconds: float,
    calls: int | None = None,
) -> Load:
    done = asyncio.run(
        load(box.url, request, connections=connections, seconds=seconds, calls=calls)
    )
    if not len(done) or done.errors:
        raise Unavailable(f"{done.errors} of {len(done)} calls failed: {done.answers[0][:300]!r}")
    return done


def _spending(process: Process) -> Callable[[], float]:
    before = cpu_seconds(process.pid)
    return lambda: cpu_seconds(process.pid) - before


def _row(what: str, done: Load, cpu_s: float) -> Row:
    return {
        "what": what,
        "calls": len(done),
        "per_second": round(done.per_second, 1),
        "p50_ms": round(done.at(0.5), 1),
        "p99_ms": round(done.at(0.99), 1),
        "cpu_ms_per_call": round(cpu_s * 1000 / len(done), 3) if cpu_s else None,
    }
