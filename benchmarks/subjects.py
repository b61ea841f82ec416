"""What is put under load, and how: processes, calls, `wrk`, and what a round of it measured."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gateway.cli.load import cpu_seconds, memory_mib

HERE = Path(__file__).parent
ROOT = HERE.parent
WRK = "wrk"


class Missing(Exception):
    """Something that a benchmark needs is not installed; the message says how to get it."""


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP call that is sent over and over."""

    method: str
    url: str
    key: str = "none"
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Subject:
    """A server under one kind of load; ``pids`` are its processes (of itself, not its engines)."""

    name: str
    call: Call
    pids: Sequence[int]


@dataclass(frozen=True, slots=True)
class Round:
    """What one round of load measured."""

    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    pss_mib: float
    errors: int


@dataclass(slots=True)
class Result:
    """The rounds of one subject."""

    name: str
    rounds: list[Round] = field(default_factory=list)

    def median(self, what: str) -> float:
        """Give the median of one figure over the rounds."""
        middle: float = statistics.median(getattr(one, what) for one in self.rounds)
        return middle

    def times(self, other: Result) -> float:
        """Give how many times the other's rate this one's is: the median of round beside round.

        The rounds of one turn lie seconds apart, those that medians pick may lie minutes apart,
        and a machine changes its speed between.
        """
        pairs = zip(self.rounds, other.rounds, strict=True)
        middle: float = statistics.median(one.per_second / base.per_second for one, base in pairs)
        return middle

    @property
    def errors(self) -> int:
        """How many calls failed in all."""
        return sum(one.errors for one in self.rounds)


def need_wrk() -> None:
    """Raise Missing when there is no wrk."""
    if shutil.which(WRK) is None:
        raise Missing("wrk makes the load: on Debian and Ubuntu, apt-get install wrk")


def wrk(call: Call, *, connections: int, seconds: float) -> dict[str, Any]:
    """Put one call under load. Raises Missing without wrk, RuntimeError when it fails."""
    need_wrk()
    body = json.dumps(call.body) if call.body is not None else ""
    headers = "\n".join(f"{name}: {value}" for name, value in call.headers.items())
    environment = {
        "BENCH_METHOD": call.method,
        "BENCH_BODY": body,
        "BENCH_KEY": call.key,
        "BENCH_HEADERS": headers,
    }
    argv = [WRK, "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "60s"]
    done = subprocess.run(  # noqa: S603 - a program we name
        [*argv, "-s", str(HERE / "wrk.lua"), call.url],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            found: dict[str, Any] = json.loads(line.removeprefix("RESULT "))
            return found
    raise RuntimeError(f"wrk failed: {done.stderr[-500:]}{done.stdout[-500:]}")


def one_round(subject: Subject, *, connections: int, seconds: float) -> Round:
    """Load a subject once."""
    before = sum(cpu_seconds(pid) for pid in subject.pids)
    found = wrk(subject.call, connections=connections, seconds=seconds)
    spent = sum(cpu_seconds(pid) for pid in subject.pids) - before
    calls = max(1, found["calls"])
    return Round(
        per_second=found["calls"] / found["seconds"],
        p50_ms=found["p50_ms"],
        p99_ms=found["p99_ms"],
        cpu_ms=spent * 1000 / calls,
        pss_mib=sum(memory_mib(pid)[1] for pid in subject.pids),
        errors=found["errors"],
    )


def interleaved(
    subjects: Sequence[Subject], *, rounds: int, connections: int, seconds: float
) -> list[Result]:
    """Load the subjects in turn, A B A B, so that a slow minute of the machine hits all alike.

    A round before the first is not counted: compilers at run time and caches are warm after it.
    """
    results = [Result(subject.name) for subject in subjects]
    for subject in subjects:
        one_round(subject, connections=connections, seconds=seconds)
    for _ in range(rounds):
        for subject, result in zip(subjects, results, strict=True):
            result.rounds.append(one_round(subject, connections=connections, seconds=seconds))
    return results


def send(call: Call, timeout_s: float = 60) -> Any:
    """Send a call once and give its JSON."""
    data = json.dumps(call.body).encode() if call.body is not None else None
    headers = {
        "authorization": f"Bearer {call.key}",
        "content-type": "application/json",
        **call.headers,
    }
    request = urllib.request.Request(call.url, data, headers, method=call.method)  # noqa: S310
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=timeout_s) as answer:
        return json.load(answer)


def start(module: str, *options: str, log: Path) -> subprocess.Popen[bytes]:
    """Start one of these benchmarks' own servers."""
    return launch([sys.executable, "-m", module, *options], log=log)


def launch(
    argv: Sequence[str], *, log: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a server; what it says goes to the log."""
    with log.open("ab") as output:
        return subprocess.Popen(  # noqa: S603 - programs we name
            argv,
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a server."""
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def until_answering(
    call: Call, timeout_s: float = 60, gone: Callable[[], bool] = lambda: False
) -> Any:
    """Send a call until it is answered; gives the answer. Raises TimeoutError.

    An end of its server, as ``gone`` tells it, ends the wait at once.
    """
    ends = time.monotonic() + timeout_s
    while time.monotonic() < ends and not gone():
        try:
            return send(call)
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(f"{call.url} does not answer")


def table(title: str, results: Sequence[Result], base: str | None = None) -> str:
    """Give results as a Markdown table; ``base`` is the subject the ratios are against."""
    lines = [f"### {title}", ""]
    lines.append("| | req/s | p50 | p99 | CPU per request | PSS | ratio |")
    lines.append("|---|---|---|---|---|---|---|")
    against = next((r for r in results if r.name == base), results[0])
    for one in results:
        rate = one.median("per_second")
        ratio = one.times(against)
        failed = f" ({one.errors} failed)" if one.errors else ""
        lines.append(
            f"| {one.name}{failed} | {rate:,.0f} | {one.median('p50_ms'):.1f} ms "
            f"| {one.median('p99_ms'):.1f} ms | {one.median('cpu_ms'):.2f} ms "
            f"| {one.median('pss_mib'):.0f} MiB | {ratio:.2f} |"
        )
    return "\n".join([*lines, ""])


def plain(found: Mapping[str, Sequence[Result]]) -> dict[str, Any]:
    """Give results as plain JSON, every round."""
    return {
        what: {one.name: [asdict(single) for single in one.rounds] for one in results}
        for what, results in found.items()
    }
