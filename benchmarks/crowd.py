"""Many synchronous callers at once, each waiting for a vendor that takes two seconds.

    python -m benchmarks.crowd [--callers 2000] [--seconds 30] [--vendor-ms 2000]

API and worker, everything durable: a call is a task with a hold, a submit, a settlement. Their
memory is sampled while the callers wait.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from benchmarks import subjects
from benchmarks.ours import ours
from benchmarks.subjects import Missing, Result, Round, Subject, one_round, table
from benchmarks.targets import Target, target_table
from gateway.cli.load import memory_mib

SAMPLE_EVERY_S = 0.5
KIB = 1024


@dataclass(frozen=True, slots=True)
class Crowd:
    """What the load measured, and the resident memory (MiB) of API and worker, idle and most."""

    round: Round
    idle: Sequence[float]
    most: Sequence[float]


def measure(*, callers: int, seconds: float, vendor_ms: int) -> Crowd:
    """Run one crowd."""
    with ours(delay_ms=vendor_ms) as gateway, ThreadPoolExecutor(1) as pool:
        pids = [gateway.box.start_api().pid, gateway.box.start("worker").pid]
        subject = Subject("ours, sync", gateway.blocking(), pids)
        subjects.send(subject.call)
        idle = _resident(pids)
        most = list(idle)
        loading = pool.submit(one_round, subject, connections=callers, seconds=seconds)
        while not loading.done():
            most = [max(pair) for pair in zip(most, _resident(pids), strict=True)]
            time.sleep(SAMPLE_EVERY_S)
        return Crowd(loading.result(), idle, most)


def _resident(pids: Sequence[int]) -> list[float]:
    return [memory_mib(pid)[0] for pid in pids]


def targets(crowd: Crowd, callers: int) -> list[Target]:
    """Judge a crowd of 2,000 at a vendor of two seconds; other crowds by the same bounds."""
    each_kib = (crowd.most[0] - crowd.idle[0]) * KIB / callers
    return [
        Target("synchronous calls per second", crowd.round.per_second, 600, at_least=True),
        Target("p50", crowd.round.p50_ms / 1000, 2.8, at_least=False, unit="s"),
        Target("API and worker, resident", sum(crowd.most), 300, at_least=False, unit="MiB"),
        Target("calls that failed", crowd.round.errors, 0, at_least=False),
        Target("API, idle", crowd.idle[0], 120, at_least=False, unit="MiB"),
        Target("API, for each waiting call", each_kib, 15, at_least=False, unit="KiB"),
    ]


def main() -> None:
    """Read the arguments, measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--callers", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--vendor-ms", type=int, default=2000)
    options = parser.parse_args()
    try:
        subjects.need_wrk()
    except Missing as missing:
        sys.exit(str(missing))
    crowd = measure(callers=options.callers, seconds=options.seconds, vendor_ms=options.vendor_ms)
    title = f"{options.callers:,} synchronous callers, vendor takes {options.vendor_ms:,} ms"
    print(table(title, [Result("ours, sync", [crowd.round])]))
    print(target_table(targets(crowd, options.callers)))


if __name__ == "__main__":
    main()
