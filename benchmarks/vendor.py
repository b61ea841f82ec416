"""A stub vendor in raw ASGI: DashScope's tasks, OpenAI's blocking images, and a receiver.

    python -m benchmarks.vendor --port 9000 [--delay-ms 0] [--polls 8 | --run-ms 30000]

It costs as little as a vendor can, so that what is measured is who calls it. `POST …/generations`
answers after `--delay-ms`; a task is done at its `--polls`-th query. With `--run-ms` it runs for
that time instead, counted from `POST /begin`; the ends of those created before that are spread over
it. `GET /counts` says how much was done, and how late each end was heard of since the last time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from itertools import count
from math import inf
from typing import Any

from benchmarks.serving import serve

PICTURE = "https://files.example.net/bench/lantern.png"

Scope = dict[str, Any]


class Vendor:
    """The ASGI application."""

    def __init__(self, delay_s: float, polls: int, run_s: float = 0.0) -> None:
        """Take how long a blocking call lasts, and at which query or when a task is done."""
        self._delay_s = delay_s
        self._polls = polls
        self._run_s = run_s
        self._is_running = False
        self._ends_s: dict[str, float] = {}
        self._late_ms: list[float] = []
        self.queries = 0
        self.ended = 0
        self._tasks: dict[str, int] = {}
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
        if path == "/begin":
            return self._begin()
        if path == "/counts":
            return self._counts()
        task_id = f"bench-{next(self._ids):012d}"
        if self._run_s:
            self._ends_s[task_id] = time.monotonic() + self._run_s if self._is_running else inf
        else:
            self._tasks[task_id] = 0
        return {"output": {"task_id": task_id, "task_status": "PENDING"}, "request_id": task_id}

    def _begin(self) -> Any:
        """Let time pass for tasks that run for a time."""
        self._is_running = True
        now_s, count = time.monotonic(), len(self._ends_s)
        for place, task_id in enumerate(self._ends_s, 1):
            self._ends_s[task_id] = now_s + self._run_s * place / count
        return {"running": count}

    def _counts(self) -> Any:
        late_ms, self._late_ms = sorted(self._late_ms), []
        running = len(self._ends_s)
        done = {"queries": self.queries, "ended": self.ended, "running": running}
        return {**done, "late_ms": late_ms}

    def _is_done(self, task_id: str) -> bool:
        """Whether a task that runs for a time is done; then it is forgotten."""
        late_s = time.monotonic() - self._ends_s.get(task_id, 0.0)
        if late_s < 0:
            return False
        if self._ends_s.pop(task_id, None) is not None:
            self._late_ms.append(late_s * 1000)
            self.ended += 1
        return True

    def _query(self, task_id: str) -> Any:
        self.queries += 1
        if self._run_s and not self._is_done(task_id):
            running = {"task_id": task_id, "task_status": "RUNNING"}
            return {"output": running, "request_id": task_id}
        asked = self._tasks.get(task_id, self._polls) + 1
        if asked < self._polls:
            self._tasks[task_id] = asked
            output: Any = {"task_id": task_id, "task_status": "RUNNING"}
        else:
            self._tasks.pop(task_id, None)
            results = [{"url": PICTURE}]
            output = {"task_id": task_id, "task_status": "SUCCEEDED", "results": results}
        return {"output": output, "request_id": task_id}


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--delay-ms", type=int, default=0)
    parser.add_argument("--polls", type=int, default=8)
    parser.add_argument("--run-ms", type=int, default=0)
    parser.add_argument("--certificate", help="PEM file with a key and its certificate: https")
    options = parser.parse_args()
    vendor = Vendor(options.delay_ms / 1000, options.polls, options.run_ms / 1000)
    serve(vendor, options.port, certificate=options.certificate)


if __name__ == "__main__":
    main()
