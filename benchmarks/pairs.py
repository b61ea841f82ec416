"""Two API and two worker processes against one of each, on the same engines.

    python -m benchmarks.pairs [--seconds 5] [--rounds 3] [--connections 64] [--share 20]

Accepts, and synchronous calls at a vendor that answers at once, which both kinds of process do. The
load is halved between the two APIs. Interleaved; the second pair is started for its rounds and
drained after them. Processes that have no core to run on gain nothing: the table says how many
cores there were, and everything else runs on them too. So the same is done with processes of ours
that may each use so many per cent (`--share`) of one core and no more, which leaves room for
others: what is shared (engines, rows, queues) is all that can hold the second pair back then.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

from benchmarks import subjects
from benchmarks.allowance import Confine, allowance
from benchmarks.ours import Ours, ours
from benchmarks.subjects import Call, Missing, Result, Round, Subject, one_round, table
from benchmarks.targets import Target, target_table
from gateway.cli.load import cpu_seconds
from gateway.cli.network import LOOPBACK, free_port, wait_ready
from gateway.settings import PREFIX

READY_S = 60.0
LOOK_EVERY_S = 1.0
IDLE_CPU_S = 0.2
"""What idle processes compute at most between two looks, all together."""
BOUND = 1.6


def measure(
    *, seconds: float, rounds: int, connections: int, confine: Confine
) -> Mapping[str, Sequence[Result]]:
    """Measure both kinds of call with one and with two of each process."""
    with ours() as gateway:
        pids = [gateway.box.start_api().pid, gateway.box.start("worker").pid]
        _until_started(pids)
        for pid in pids:
            confine(pid)
        # Accepts last: their tasks keep the workers busy for a while.
        calls = {"sync": gateway.blocking(), "accept": gateway.accept()}
        found = {what: [Result(f"{what}, 1 + 1"), Result(f"{what}, 2 + 2")] for what in calls}
        for what, call in calls.items():
            _load([call], pids, seconds, connections)
            for _ in range(rounds):
                one, two = found[what]
                one.rounds.append(_load([call], pids, seconds, connections))
                with _second_pair(gateway) as (url, more):
                    _until_started(more)
                    for pid in more:
                        confine(pid)
                    other = replace(call, url=call.url.replace(gateway.box.url, url))
                    _load([other], more, 1, connections)
                    two.rounds.append(_load([call, other], [*pids, *more], seconds, connections))
        return found


def _until_started(pids: Sequence[int]) -> None:
    """Return when the processes, which have nothing to do yet, compute no more."""
    ends, spent = time.monotonic() + READY_S, _spent(pids)
    while time.monotonic() < ends:
        time.sleep(LOOK_EVERY_S)
        before, spent = spent, _spent(pids)
        if spent - before < IDLE_CPU_S:
            return
    raise TimeoutError("the processes do not come to rest after their start")


def _spent(pids: Sequence[int]) -> float:
    return sum(cpu_seconds(pid) for pid in pids)


@contextmanager
def _second_pair(gateway: Ours) -> Iterator[tuple[str, list[int]]]:
    """Run another API and another worker; gives the API's address and their process ids."""
    port = free_port()
    url = f"http://{LOOPBACK}:{port}"
    api = gateway.box.start("api", environment={f"{PREFIX}PORT": str(port)})
    worker = gateway.box.start("worker")
    try:
        if not wait_ready(url, READY_S, lambda: api.poll() is not None):
            raise RuntimeError("the second API was not ready in time")
        yield url, [api.pid, worker.pid]
    finally:
        gateway.box.stop(worker)
        gateway.box.stop(api)


def _load(calls: Sequence[Call], pids: Sequence[int], seconds: float, connections: int) -> Round:
    """Load one or two APIs at once; processor time is of all processes, for all calls."""
    shares: list[Sequence[int]] = [pids, *([] for _ in calls[1:])]
    with ThreadPoolExecutor(len(calls)) as pool:
        parts = [
            pool.submit(
                one_round,
                Subject("part", call, share),
                connections=connections // len(calls),
                seconds=seconds,
            )
            for call, share in zip(calls, shares, strict=True)
        ]
        rounds = [part.result() for part in parts]
    per_second = sum(one.per_second for one in rounds)
    return Round(
        per_second=per_second,
        p50_ms=statistics.fmean(one.p50_ms for one in rounds),
        p99_ms=max(one.p99_ms for one in rounds),
        cpu_ms=rounds[0].cpu_ms * rounds[0].per_second / max(per_second, 1.0),
        pss_mib=rounds[0].pss_mib,
        errors=sum(one.errors for one in rounds),
    )


def targets(found: Mapping[str, Sequence[Result]]) -> list[Target]:
    """Judge how much the second pair adds."""
    return [
        Target(
            f"{what}, two of each, times one of each",
            two.times(one),
            BOUND,
            at_least=True,
        )
        for what, (one, two) in found.items()
    ]


def main() -> None:
    """Read the arguments, measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--share", type=float, default=20)
    options = parser.parse_args()
    load = {name: getattr(options, name) for name in ("seconds", "rounds", "connections")}
    title = f"{options.connections} connections, {os.cpu_count()} cores"
    try:
        subjects.need_wrk()
        _show(title, measure(**load, confine=lambda _pid: None))
    except Missing as missing:
        sys.exit(str(missing))
    try:
        with allowance(options.share) as confine:
            found = measure(**load, confine=confine)
    except Missing as missing:
        print(f"Left out: {missing}")
    else:
        _show(f"{title}, each process at most {options.share:g} % of one", found)


def _show(title: str, found: Mapping[str, Sequence[Result]]) -> None:
    print(table(title, [one for pair in found.values() for one in pair]))
    print(target_table(targets(found)))


if __name__ == "__main__":
    main()
