"""The long-running commands: `up`, `api`, `worker`, `simulate`, and `bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.output import AsJson, run, show_table

Config = Annotated[
    Path | None, typer.Option("--config", help="The operator's gateway.toml (GATEWAY_CONFIG).")
]
Host = Annotated[str | None, typer.Option("--host", help="Address to listen on.")]
Port = Annotated[int | None, typer.Option("--port", help="Port to listen on.")]
Tied = Annotated[bool, typer.Option("--tied", hidden=True, help="Stop when standard input closes.")]


def up(
    config: Config = None, host: Host = None, port: Port = None, as_json: AsJson = False
) -> None:
    """Run everything on this machine; without --config, with a demo and simulated vendors."""
    from gateway.cli.up import run_up

    run(run_up(config=config, host=host, port=port, as_json=as_json), as_json=as_json)


def api(
    config: Config = None,
    host: Host = None,
    port: Port = None,
    tied: Tied = False,
    as_json: AsJson = False,
) -> None:
    """Serve the HTTP API. Any number of these share one Postgres and one Valkey."""
    from gateway.cli.processes import run_api

    run_api(config=config, host=host, port=port, tied=tied, as_json=as_json)


def worker(config: Config = None, tied: Tied = False, as_json: AsJson = False) -> None:
    """Work on tasks: submit, poll, settle, call back. Any number of these may run."""
    from gateway.cli.processes import run_worker

    run_worker(config=config, tied=tied, as_json=as_json)


def simulate(
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    latency_ms: Annotated[
        int, typer.Option("--work-ms", min=0, help="How long a picture takes.")
    ] = 3_000,
    ports: Annotated[
        Path | None, typer.Option("--ports", hidden=True, help="JSON file: vendor to port.")
    ] = None,
    tied: Tied = False,
    as_json: AsJson = False,
) -> None:
    """Serve every provider's API with drawn pictures, scripted failures and a bill."""
    from gateway.cli.processes import run_simulator

    run_simulator(host=host, work_ms=latency_ms, ports=ports, tied=tied, as_json=as_json)


def bench(
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.1, help="How long each measurement lasts.")
    ] = 5.0,
    connections: Annotated[
        int, typer.Option("--connections", min=1, help="How many callers at once.")
    ] = 64,
    as_json: AsJson = False,
) -> None:
    """Measure this machine with engines and simulated vendors of its own, in a minute."""
    import asyncio

    from gateway.cli.bench import measure

    work = asyncio.to_thread(measure, seconds=seconds, connections=connections)
    rows = run(work, as_json=as_json)
    columns = tuple(dict.fromkeys(name for row in rows for name in row))
    show_table(rows, columns, as_json=as_json)
