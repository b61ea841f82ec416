"""The gateway beside its peers and the floors of its stack, in one interleaved run.

    python -m benchmarks.peers [--seconds 5] [--rounds 7] [--connections 64 …] [--peers litellm …]

Every gateway answers the same create call for a picture and has the same vendor, which answers at
once. Ours does everything: key check, limits, validation, price, hold, task row, due queue;
asynchronously (the API alone) and synchronously (API and worker, settled before the answer).
LiteLLM checks a key; Portkey keeps nothing. A peer that cannot be installed is left out by name.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import installing, subjects
from benchmarks.accept import CREATE, OURS
from benchmarks.installing import NODE, Installed
from benchmarks.ours import MODEL, PROMPT, SYNC_MODEL, floor, ours
from benchmarks.subjects import Call, Missing, Result, Subject, interleaved, one_round, table
from benchmarks.targets import Target, accept_targets, target_table
from gateway.cli.load import load, request_bytes
from gateway.cli.network import free_port

OURS_SYNC = "ours, sync"
FLOORS = ("fastapi", "raw")
KEY = "sk-bench"
MAIN_CONNECTIONS = 64
# Where the tail is judged: at this share of what was answered at full load.
LOAD_SHARE = 0.7

LITELLM_CONFIG = """\
model_list:
  - model_name: {model}
    litellm_params:
      model: openai/{model}
      api_base: {vendor}/v1
      api_key: bench
general_settings:
  master_key: {key}
"""


@dataclass(frozen=True, slots=True)
class Peer:
    """How one peer is installed, called, and started on a port before a vendor."""

    install: Callable[[], Installed]
    argv: Callable[[Installed, Path, int, str], Sequence[str]]
    headers: Callable[[str], Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Found:
    """What a run measured: results by number of connections, targets, who was left out and why."""

    results: Mapping[int, Sequence[Result]]
    targets: Sequence[Target]
    left_out: Mapping[str, str]


def _litellm(installed: Installed, folder: Path, port: int, vendor: str) -> Sequence[str]:
    config = folder / "litellm.yaml"
    config.write_text(LITELLM_CONFIG.format(model=SYNC_MODEL, vendor=vendor, key=KEY))
    program = installed.folder / "bin" / "litellm"
    return [str(program), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]


def _portkey(installed: Installed, _folder: Path, port: int, _vendor: str) -> Sequence[str]:
    program = installed.folder / "node_modules/@portkey-ai/gateway/build/start-server.js"
    return [NODE, str(program), f"--port={port}", "--headless"]


PEERS = {
    "litellm": Peer(installing.litellm, _litellm, lambda _vendor: {}),
    "portkey": Peer(
        installing.portkey,
        _portkey,
        lambda vendor: {
            "x-portkey-provider": "openai",
            "x-portkey-custom-host": f"{vendor}/v1",
        },
    ),
}


@contextmanager
def serving(peer: Peer, installed: Installed, folder: Path, vendor: str) -> Iterator[Subject]:
    """Run a peer before the vendor; gives it with a call that it has answered."""
    port = free_port()
    argv = peer.argv(installed, folder, port, vendor)
    log = folder / f"{installed.folder.name}.log"
    process = subjects.launch(argv, log=log, environment=installing.ENVIRONMENT)
    try:
        body = {"model": SYNC_MODEL, "prompt": PROMPT}
        headers = peer.headers(vendor)
        call = Call("POST", f"http://127.0.0.1:{port}{CREATE}", KEY, body, headers)
        try:
            subjects.until_answering(call, gone=lambda: process.poll() is not None)
        except OSError as error:
            raise Missing(f"does not answer: {log.read_text()[-300:].strip()}") from error
        yield Subject(installed.name, call, [process.pid])
    finally:
        subjects.stop(process)


def tail_at(subject: Subject, per_second: float, seconds: float) -> float:
    """Give the 99th percentile (ms) of calls that come at a steady rate."""
    call = subject.call
    text = request_bytes(call.method, call.url, call.key, json.dumps(call.body).encode())
    done = asyncio.run(
        load(call.url, lambda: text, connections=MAIN_CONNECTIONS, seconds=seconds, rate=per_second)
    )
    return done.at(0.99)


def tail(subject: Subject, seconds: float) -> float:
    """Give the tail (ms) at a share of the full load, as much as was answered just before."""
    full = one_round(subject, connections=MAIN_CONNECTIONS, seconds=seconds)
    return tail_at(subject, LOAD_SHARE * full.per_second, seconds)


def measure(
    *, seconds: float, rounds: int, connections: Sequence[int], peers: Sequence[str]
) -> Found:
    """Install the peers, run everything side by side and judge it."""
    left_out: dict[str, str] = {}
    with ExitStack() as stack:
        alone, whole = (stack.enter_context(ours()) for _ in "ab")
        api, both = alone.box.start_api(), [whole.box.start_api()]
        both.append(whole.box.start("worker"))
        contestants = [Subject(OURS, alone.accept(), [api.pid])]
        for kind in FLOORS:
            url, process = stack.enter_context(floor(alone.box, kind))
            body = {"model": MODEL, "prompt": PROMPT, "size": "1280x1280", "n": 1}
            create = Call("POST", url + CREATE, body=body)
            contestants.append(Subject(f"floor: {kind}", create, [process.pid]))
        contestants.append(Subject(OURS_SYNC, whole.blocking(), [one.pid for one in both]))
        for name in peers:
            try:
                installed = PEERS[name].install()
                running = serving(PEERS[name], installed, whole.box.folder, whole.vendor)
                contestants.append(stack.enter_context(running))
            except Missing as missing:
                left_out[name] = str(missing)
        results = {
            count: interleaved(contestants, rounds=rounds, connections=count, seconds=seconds)
            for count in connections
        }
        judged = {one.name: one for one in results[connections[0]]}
        tail_ms = median(tail(contestants[0], seconds) for _ in range(rounds))
    return Found(results, accept_targets(judged, OURS, tail_ms), left_out)


def report(found: Found) -> str:
    """Give the tables, the targets and who was left out."""
    parts = [
        table(f"create, {count} connections, vendor answers at once", results, "floor: fastapi")
        for count, results in found.results.items()
    ]
    parts.append(target_table(found.targets))
    parts += [f"Left out: {name}: {reason}" for name, reason in found.left_out.items()]
    return "\n".join(parts)


def plain(found: Found) -> dict[str, Any]:
    """Give what was found as plain JSON, every round."""
    counted = {str(count): results for count, results in found.results.items()}
    return {
        "python": platform.python_version(),
        "create": subjects.plain(counted),
        "targets": [asdict(one) for one in found.targets],
        "left_out": dict(found.left_out),
    }


def main() -> None:
    """Read the arguments, measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--connections", type=int, nargs="+", default=[MAIN_CONNECTIONS])
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=PEERS)
    parser.add_argument("--json", type=Path, help="also write every round here")
    options = parser.parse_args()
    try:
        subjects.need_wrk()
    except Missing as missing:
        sys.exit(str(missing))
    found = measure(
        seconds=options.seconds,
        rounds=options.rounds,
        connections=options.connections,
        peers=options.peers,
    )
    print(report(found))
    if options.json:
        options.json.write_text(json.dumps(plain(found), indent=1))


if __name__ == "__main__":
    main()
