"""Many tasks that all want to be asked about, in virtual time, on a real Valkey."""

from __future__ import annotations

import heapq
import random
from collections import deque
from dataclasses import dataclass, field

from gateway.stores.valkey.budgets import ValkeyBudgets
from tests.stores.valkey.helpers import Now

POLL_AGAIN_MS = 5_000


@dataclass
class Crowd:
    """What came of it: how often tasks asked for a query, and when queries were granted."""

    likely_ms: dict[str, int]
    asked: int = 0
    granted_ms: list[int] = field(default_factory=list)
    first_ms: dict[str, int] = field(default_factory=dict)
    done_ms: dict[str, int] = field(default_factory=dict)

    @property
    def most_in_a_second(self) -> int:
        """The most queries that were granted within any second."""
        window, most = deque[int](), 0
        for at_ms in self.granted_ms:
            window.append(at_ms)
            while window[0] <= at_ms - 1_000:
                window.popleft()
            most = max(most, len(window))
        return most


async def crowd(
    budgets: ValkeyBudgets,
    upstream: str,
    now: Now,
    *,
    tasks: int,
    spread_ms: int,
    seconds: int,
    begun_ms: int = 1_000,
) -> Crowd:
    """Let each task ask when it is told to, and again after a poll that found it not done.

    Jobs are done at times spread evenly over ``spread_ms``; tasks first ask within ``begun_ms``.
    """
    chance = random.Random(3)
    run = Crowd({f"t{no}": now.ms + chance.randrange(spread_ms) for no in range(tasks)})
    due = [(now.ms + chance.randrange(begun_ms), name) for name in run.likely_ms]
    heapq.heapify(due)
    end_ms = now.ms + seconds * 1_000
    while due and due[0][0] < end_ms:
        at_ms, name = heapq.heappop(due)
        now.ms = max(now.ms, at_ms)
        run.asked += 1
        wait_ms = await budgets.take_poll(upstream, name, max(now.ms, run.likely_ms[name]))
        if wait_ms == 0:
            run.granted_ms.append(now.ms)
            run.first_ms.setdefault(name, now.ms)
            if now.ms >= run.likely_ms[name]:
                run.done_ms[name] = now.ms
                continue
            wait_ms = POLL_AGAIN_MS
        heapq.heappush(due, (now.ms + wait_ms, name))
    return run
