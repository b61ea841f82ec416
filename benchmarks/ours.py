"""The gateway as benchmarks run it: production settings, one hot team, stub vendors."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import subjects
from benchmarks.subjects import Call
from gateway.cli.network import free_port
from gateway.cli.sandbox import Sandbox, sandbox

MODEL = "wan2.5-t2i-preview"
SYNC_MODEL = "gpt-image-1.5"
SLOW_MODEL = "wan2.2-t2i-flash"
PROMPT = "A lighthouse on a cliff at dusk, oil painting, long shadows, warm light"

CONFIGURATION = """
[credits]
per_usd = "68.1818"

[upstreams.tasks]
adapter = "dashscope"
base_url = "http://127.0.0.1:{port}/api/v1"
api_key = "bench"
allow_private = true
offers = [{{ model = "{model}", cost_usd = "0.029" }}]
max_in_flight = 0
submit_per_second = 0
query_per_second = 0

[upstreams.slow]
adapter = "dashscope"
base_url = "http://127.0.0.1:{port}/slow/api/v1"
api_key = "bench"
allow_private = true
offers = [{{ model = "{slow_model}", cost_usd = "0.029" }}]
max_in_flight = 0
submit_per_second = 0
query_per_second = {queries}

[upstreams.blocking]
adapter = "openai"
base_url = "http://127.0.0.1:{port}/v1"
api_key = "bench"
allow_private = true
offers = [{{ model = "{sync_model}", cost_usd = "0.04" }}]
max_in_flight = 0
submit_per_second = 0

[models."{model}"]
price_credits = "1.5"

[models."{slow_model}"]
price_credits = "1.5"
deadline_seconds = 900

[models."{sync_model}"]
price_credits = "1.5"
"""


@dataclass(frozen=True, slots=True)
class Ours:
    """A sandbox beside a stub vendor."""

    box: Sandbox
    vendor: str

    def accept(self) -> Call:
        """Give an asynchronous create call."""
        body = {"model": MODEL, "prompt": PROMPT, "size": "1280x1280", "n": 1}
        return Call("POST", f"{self.box.url}/v1/images/generations", self.box.key, body)

    def endless(self) -> Call:
        """Give a create call for a task that its vendor never ends."""
        call = self.accept()
        return replace(call, body={**(call.body or {}), "model": SLOW_MODEL, "size": "1024x1024"})

    def blocking(self) -> Call:
        """Give a synchronous create call."""
        body = {"model": SYNC_MODEL, "prompt": PROMPT, "response_format": "url"}
        return Call("POST", f"{self.box.url}/v1/images/generations", self.box.key, body)

    def read(self, path: str = "/v1/tasks/") -> Call:
        """Give a query for a task that was just created."""
        task_id = subjects.send(self.accept())["id"]
        return Call("GET", f"{self.box.url}{path}{task_id}", self.box.key)


@contextmanager
def vendor(folder: Path, *, delay_ms: int = 0, polls: int = 8, job_ms: int = 0) -> Iterator[str]:
    """Run a stub vendor; gives its address without a path."""
    port = free_port()
    options = ("--port", str(port), "--delay-ms", str(delay_ms), "--polls", str(polls))
    options += ("--job-ms", str(job_ms))
    process = subjects.start("benchmarks.vendor", *options, log=folder / "vendor.log")
    try:
        url = f"http://127.0.0.1:{port}"
        subjects.until_answering(Call("GET", f"{url}/callbacks"))
        yield url
    finally:
        subjects.stop(process)


@contextmanager
def ours(
    *,
    delay_ms: int = 0,
    polls: int = 8,
    job_ms: int = 0,
    queries: int = 0,
    more: Mapping[str, str] | None = None,
) -> Iterator[Ours]:
    """Run engines, a stub vendor and a migrated gateway without processes, in a directory.

    Tasks end at their ``polls``-th query, or with ``job_ms`` so long after their submit. The vendor
    that never ends a task allows so many ``queries`` a second; 0 is any number.
    """
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as name:
        folder = Path(name)
        with vendor(folder, delay_ms=delay_ms, polls=polls, job_ms=job_ms) as url:
            port = url.rpartition(":")[2]
            text = CONFIGURATION.format(
                port=port,
                model=MODEL,
                sync_model=SYNC_MODEL,
                slow_model=SLOW_MODEL,
                queries=queries,
            )
            with sandbox(folder, text, more) as box:
                yield Ours(box, url)


@contextmanager
def floor(box: Sandbox, kind: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run a floor on the sandbox's engines; gives its address."""
    port = free_port()
    urls = (box.environment["GATEWAY_DATABASE_URL"], box.environment["GATEWAY_REDIS_URL"])
    options = ("--floor", kind, "--port", str(port))
    process = subjects.start(
        "benchmarks.floors",
        *options,
        *("--database-url", urls[0], "--redis-url", urls[1]),
        log=box.folder / f"floor-{kind}.log",
    )
    try:
        url = f"http://127.0.0.1:{port}"
        subjects.until_answering(Call("GET", f"{url}/v1/tasks/none"))
        yield url, process
    finally:
        subjects.stop(process)
