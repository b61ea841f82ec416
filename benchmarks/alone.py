"""One caller and no load: how long starting takes, an accept, and what a blocking call gains.

    python -m benchmarks.alone [--seconds 5] [--rounds 3]

The blocking vendor takes 50 ms; it is asked directly and through the gateway (API and worker),
interleaved. The accept is measured with the worker stopped, as under load.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from benchmarks import subjects
from benchmarks.ours import Ours, ours
from benchmarks.subjects import Call, Missing, Result, Subject, interleaved, one_round, table
from benchmarks.targets import Target, target_table

VENDOR_MS = 50


def measure(*, seconds: float, rounds: int) -> tuple[list[Result], list[Target]]:
    """Measure the blocking call beside its vendor, and everything that has a target."""
    with ours(delay_ms=VENDOR_MS) as gateway:
        api, worker = gateway.box.start_api(), gateway.box.start("worker")
        blocking = gateway.blocking()
        direct = Call("POST", f"{gateway.vendor}/v1/images/generations", body=blocking.body)
        contestants = [
            Subject("the vendor itself", direct, []),
            Subject("ours, sync", blocking, [api.pid, worker.pid]),
        ]
        results = interleaved(contestants, rounds=rounds, connections=1, seconds=seconds)
        gateway.box.stop(worker)
        accept = Result("ours, accept")
        for _ in range(rounds):
            subject = Subject(accept.name, gateway.accept(), [api.pid])
            accept.rounds.append(one_round(subject, connections=1, seconds=seconds))
        gateway.box.stop(api)
        ready_s = _median(rounds, lambda: _ready(gateway))
    help_s = _median(rounds, _help)
    added_ms = results[1].median("p50_ms") - results[0].median("p50_ms")
    targets = [
        Target("accept, one caller, p50", accept.median("p50_ms"), 4, at_least=False, unit="ms"),
        Target("added to a 50 ms vendor, p50", added_ms, 8, at_least=False, unit="ms"),
        Target("gateway --help", help_s, 0.4, at_least=False, unit="s"),
        Target("API ready after its start", ready_s, 2, at_least=False, unit="s"),
    ]
    return [*results, accept], targets


def _median(rounds: int, took: Callable[[], float]) -> float:
    return statistics.median(took() for _ in range(rounds))


def _help() -> float:
    began = time.perf_counter()
    argv = [sys.executable, "-m", "gateway", "--help"]
    subprocess.run(argv, check=True, capture_output=True)  # noqa: S603 - our own program
    return time.perf_counter() - began


def _ready(gateway: Ours) -> float:
    began = time.perf_counter()
    api = gateway.box.start_api()
    took = time.perf_counter() - began
    gateway.box.stop(api)
    return took


def main() -> None:
    """Read the arguments, measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    try:
        subjects.need_wrk()
    except Missing as missing:
        sys.exit(str(missing))
    results, targets = measure(seconds=options.seconds, rounds=options.rounds)
    print(table("one connection", results))
    print(target_table(targets))


if __name__ == "__main__":
    main()
