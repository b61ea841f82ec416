"""A stub vendor in raw ASGI: DashScope's tasks, OpenAI's blocking images, and a receiver.

    python -m benchmarks.vendor --port 9000 [--delay-ms 0] [--polls 8] [--job-ms 0]

It costs as little as a vendor can, so that what is measured is who calls it. `POST …/generations`
answers after `--delay-ms`; a task is done at its `--polls`-th query, or `--job-ms` after
its submit; one created under `/slow` never is. `GET /counts` says how much was done.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from itertools import count
from typing import Any

from benchmarks.serving import serve

PICTURE = "https://files.example.net/bench/lantern.png"
SLOW = "/slow"

Scope = dict[str, Any]


class Vendor:
    """The ASGI application."""

    def __init__(self, delay_s: float, polls: int, job_s: float = 0) -> None:
        """Take how long a blocking call lasts, and at which query a task is done; or how long
        after its submit, if that is not 0.
        """
        self._delay_s = delay_s
        self._polls = polls
        self._job_s = job_s
        self._counts = {"slow": 0, "slow_queries": 0, "queries": 0, "ended": 0}
        self._tasks: dict[str, float] = {}
        self._ids = count(1)
        self.callbacks = 0

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Answer one call."""
        while (await receive()).get("more_body"):
            pass
        answer = await self._answer(scope["method"], scope["path"])
        body = json.dumps(answer).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, method: str, path: str) -> Any:
        if method == "GET" and "/tasks/" in path:
            return self._query(path.rpartition("/")[2])
        if path.endswith("/images/generations"):
            if self._delay_s:
                await asyncio.sleep(self._delay_s)
            return {"created": int(time.time()), "data": [{"url": PICTURE}]}
        if path.startswith("/callbacks"):
            self.callbacks += method == "POST"
            return {"received": self.callbacks}
        if path == "/counts":
            return self._counts
        is_slow = path.startswith(SLOW)
        self._counts["slow"] += is_slow
        task_id = f"{'slow' if is_slow else 'bench'}-{next(self._ids):012d}"
        if not is_slow:
            self._tasks[task_id] = time.monotonic() + self._job_s if self._job_s else self._polls
        return {"output": {"task_id": task_id, "task_status": "PENDING"}, "request_id": task_id}

    def _query(self, task_id: str) -> Any:
        if task_id.startswith("slow-"):
            self._counts["slow_queries"] += 1
            return {"output": {"task_id": task_id, "task_status": "RUNNING"}}
        self._counts["queries"] += 1
        if self._is_running(task_id):
            output: Any = {"task_id": task_id, "task_status": "RUNNING"}
        else:
            self._tasks.pop(task_id, None)
            self._counts["ended"] += 1
            results = [{"url": PICTURE}]
            output = {"task_id": task_id, "task_status": "SUCCEEDED", "results": results}
        return {"output": output, "request_id": task_id}

    def _is_running(self, task_id: str) -> bool:
        """Whether a task needs more queries, or more time; one that is unknown is done."""
        left = self._tasks.get(task_id, 0)
        if self._job_s:
            return left > time.monotonic()
        self._tasks[task_id] = left - 1
        return left > 1


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--delay-ms", type=int, default=0)
    parser.add_argument("--polls", type=int, default=8)
    parser.add_argument("--job-ms", type=int, default=0)
    parser.add_argument("--certificate", help="PEM file with a key and its certificate: https")
    options = parser.parse_args()
    vendor = Vendor(options.delay_ms / 1000, options.polls, options.job_ms / 1000)
    serve(vendor, options.port, certificate=options.certificate)


if __name__ == "__main__":
    main()
