"""The worker: processor time for a task from its submit to its callback, and for one poll.

    python -m benchmarks.work [--tasks 1000] [--polls 8]

Tasks are accepted at once; the stub vendor has each ready at its n-th query, and every task has a
callback over https. The same is done with two polls: the difference is what polls cost.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import ipaddress
import json
import ssl
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from benchmarks import subjects
from benchmarks.ours import Ours, ours
from benchmarks.targets import Target, target_table
from gateway.cli.load import cpu_seconds, load, memory_mib, request_bytes
from gateway.cli.network import LOOPBACK, free_port
from gateway.settings import PREFIX

FEW_POLLS = 2
WARM_TASKS = 50
CONNECTIONS = 32
TIMEOUT_S = 600
PAUSE_S = 0.25


@dataclass(frozen=True, slots=True)
class Work:
    """What a number of tasks took: processor time of the worker each, and its memory after."""

    cpu_ms: float
    seconds: float
    rss_mib: float


class Receiver:
    """Where callbacks go: a stub vendor behind https."""

    def __init__(self, port: int, certificate: Path) -> None:
        """Take where it listens and the certificate it shows."""
        self.host = f"{LOOPBACK}:{port}"
        self.url = f"https://{self.host}/callbacks/bench"
        self.certificate = certificate
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=certificate)),
        )

    def count(self) -> int:
        """Give how many callbacks came."""
        with self._opener.open(f"https://{self.host}/callbacks", timeout=10) as answer:
            received: int = json.load(answer)["received"]
            return received

    def wait_for(self, count: int) -> None:
        """Return when so many have come. Raises TimeoutError."""
        ends = time.monotonic() + TIMEOUT_S
        while time.monotonic() < ends:
            if self.count() >= count:
                return
            time.sleep(PAUSE_S)
        raise TimeoutError(f"{self.count()} of {count} callbacks came")


def certificate(path: Path) -> Path:
    """Write a key and a certificate for this machine that vouches for itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, LOOPBACK)])
    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address(LOOPBACK))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(
        encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(encoding))
    return path


@contextmanager
def receiver(folder: Path) -> Iterator[Receiver]:
    """Run a receiver of callbacks."""
    made = Receiver(free_port(), certificate(folder / "receiver.pem"))
    options = ("--port", made.host.rpartition(":")[2], "--certificate", str(made.certificate))
    process = subjects.start("benchmarks.vendor", *options, log=folder / "receiver.log")
    try:
        ends = time.monotonic() + 30
        while True:
            try:
                made.count()
                break
            except OSError:
                if time.monotonic() > ends:
                    raise
                time.sleep(PAUSE_S)
        yield made
    finally:
        subjects.stop(process)


def measure(tasks: int, polls: int) -> Work:
    """Have one worker do so many tasks."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-bench-"))
        called = stack.enter_context(receiver(Path(folder)))
        more = {
            f"{PREFIX}CALLBACK_ALLOWED_HOSTS": called.host,
            f"{PREFIX}CALLBACK_CA_FILE": str(called.certificate),
        }
        gateway = stack.enter_context(ours(polls=polls, more=more))
        gateway.box.start_api()
        worker = gateway.box.start("worker").pid
        _accept(gateway, called, WARM_TASKS)
        called.wait_for(WARM_TASKS)
        before, began = cpu_seconds(worker), time.monotonic()
        _accept(gateway, called, tasks)
        called.wait_for(WARM_TASKS + tasks)
        spent, took = cpu_seconds(worker) - before, time.monotonic() - began
        return Work(spent * 1000 / tasks, took, memory_mib(worker)[0])


def _accept(gateway: Ours, called: Receiver, tasks: int) -> None:
    call = gateway.accept()
    body = json.dumps({**(call.body or {}), "callback_url": called.url}).encode()
    request = request_bytes(call.method, call.url, call.key, body)
    done = asyncio.run(
        load(call.url, lambda: request, connections=CONNECTIONS, seconds=TIMEOUT_S, calls=tasks)
    )
    if done.errors:
        raise RuntimeError(f"{done.errors} of {tasks} calls failed: {done.answers[0]!r}")


def main() -> None:
    """Read the arguments, measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--polls", type=int, default=8)
    options = parser.parse_args()
    whole = measure(options.tasks, options.polls)
    few = measure(options.tasks, FEW_POLLS)
    each_us = (whole.cpu_ms - few.cpu_ms) * 1000 / max(1, options.polls - FEW_POLLS)
    print(f"### worker, {options.tasks:,} tasks, callback each\n")
    print("| polls | CPU per task | all done after | RSS after |\n|---|---|---|---|")
    for polls, work in ((options.polls, whole), (FEW_POLLS, few)):
        figures = f"{work.cpu_ms:.2f} ms | {work.seconds:.1f} s | {work.rss_mib:.0f} MiB"
        print(f"| {polls} | {figures} |")
    targets = [
        Target("CPU per task, callback included", whole.cpu_ms, 4, at_least=False, unit="ms"),
        Target("tasks per second of CPU", 1000 / whole.cpu_ms, 250, at_least=True),
        Target("CPU per poll", each_us, 400, at_least=False, unit="µs"),
    ]
    print(f"\n{target_table(targets)}")


if __name__ == "__main__":
    main()
