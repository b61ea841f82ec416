"""A small HTTP/1.1 load generator: so many connections, each sending call after call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

HEAD_END = b"\r\n\r\n"
LENGTH = b"content-length:"
TICKS = 100.0


@dataclass(frozen=True, slots=True)
class Load:
    """What came of a load: how long it took, latencies in rising order, the last body of each
    connection; ``errors`` counts calls that were not answered 200.
    """

    seconds: float
    latencies_ms: Sequence[float]
    errors: int
    answers: Sequence[bytes]

    @property
    def per_second(self) -> float:
        """Answers per second."""
        return len(self.latencies_ms) / self.seconds

    def at(self, share: float) -> float:
        """Give the latency (ms) that ``share`` of the calls did not exceed; 0 without calls."""
        if not self.latencies_ms:
            return 0.0
        return self.latencies_ms[min(len(self.latencies_ms) - 1, int(len(self) * share))]

    def __len__(self) -> int:
        """Count the answers."""
        return len(self.latencies_ms)


def request_bytes(method: str, url: str, key: str, body: bytes = b"") -> bytes:
    """Give one request as it goes over the wire."""
    parts = urlsplit(url)
    head = (
        f"{method} {parts.path} HTTP/1.1\r\nhost: {parts.netloc}\r\n"
        f"authorization: Bearer {key}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def load(
    url: str,
    request: Callable[[], bytes],
    *,
    connections: int,
    seconds: float,
    calls: int | None = None,
    rate: float | None = None,
) -> Load:
    """Send calls until ``seconds`` are over or ``calls`` were sent.

    With ``rate`` at most so many a second, evenly over the connections; a call that is late is
    measured from when it should have been sent.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 80
    latencies: list[float] = []
    answers: list[bytes] = []
    errors = 0
    left = calls
    began = time.perf_counter()
    ends = began + seconds

    async def connection(number: int) -> None:
        nonlocal errors, left
        reader, writer = await asyncio.open_connection(host, port)
        gap = connections / rate if rate else 0.0
        due = began + gap * number / connections
        body = b""
        try:
            while (now := time.perf_counter()) < ends and left != 0:
                if left is not None:
                    left -= 1
                if gap and due > now:
                    await asyncio.sleep(due - now)
                started = due if gap else now
                due += gap
                writer.write(request())
                status, body = await _answer(reader)
                latencies.append((time.perf_counter() - started) * 1000)
                errors += status != b"200"
        finally:
            answers.append(body)
            writer.close()

    await asyncio.gather(*(connection(number) for number in range(connections)))
    took = time.perf_counter() - began
    return Load(took, sorted(latencies), errors, answers)


async def _answer(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readuntil(HEAD_END)
    lowered = head.lower()
    at = lowered.index(LENGTH) + len(LENGTH)
    length = int(lowered[at : lowered.index(b"\r\n", at)])
    return head[9:12], await reader.readexactly(length)


def cpu_seconds(pid: int) -> float:
    """Give the processor time a process has used so far; 0 where there is no /proc."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0.0
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory_mib(pid: int) -> tuple[float, float]:
    """Give the resident and the proportional set size of a process in MiB; 0 without /proc."""
    found = {"Rss:": 0.0, "Pss:": 0.0}
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0.0, 0.0
    for line in text.splitlines():
        name, _, rest = line.partition(" ")
        if name in found:
            found[name] = int(rest.split()[0]) / 1024
    return found["Rss:"], found["Pss:"]
