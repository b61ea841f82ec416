"""Due queue, leases and fences on a real server beside a model of them, with the time in hand."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gateway.app.ports import Lease
from gateway.domain.task import Task
from gateway.stores.valkey.connection import Valkey
from gateway.stores.valkey.live_tasks import ValkeyLiveTasks
from tests.stores.valkey.helpers import FakePostgres, Now, a_task, ended

T = TypeVar("T")
LEASE_MS = 1_000

fences = st.integers(-1, 2)
delays = st.sampled_from([None, -5, 0, 300])


@dataclass
class Row:
    """A task as the model knows it; ``held`` is the lease in force or ended, None if never any."""

    task: Task
    due_ms: int | None
    held: str | None = None
    until_ms: int = 0

    @property
    def is_over(self) -> bool:
        return self.task.status.is_terminal

    def belongs_to(self, token: str) -> bool:
        return self.held is None or (self.held == token and self.until_ms > 0)


@dataclass
class Model:
    """What the index should hold."""

    rows: dict[str, Row] = field(default_factory=dict)

    def add(self, task: Task, due_ms: int) -> int:
        row = self.rows.get(task.id)
        if row is None:
            self.rows[task.id] = Row(task, due_ms)
        elif row.is_over or row.due_ms is not None:
            return 0
        else:
            row.due_ms = due_ms
        return 1

    def due(self, now_ms: int) -> list[Row]:
        rows = [row for row in self.rows.values() if row.due_ms is not None]
        ready = [row for row in rows if row.due_ms is not None and row.due_ms <= now_ms]
        return sorted(ready, key=lambda row: (row.due_ms, row.task.id))

    def take(self, row: Row, token: str, until_ms: int) -> None:
        row.held, row.until_ms, row.due_ms = token, until_ms, until_ms

    def save(self, token: str, task: Task, due_ms: int | None) -> bool:
        row = self.rows.get(task.id)
        ours = row is None or row.belongs_to(token)
        if row and (row.is_over or row.task.fence > task.fence):
            return False
        if ours or task.status.is_terminal:
            over = task.status.is_terminal
            self.rows[task.id] = Row(task, None if over else due_ms, None if over else token)
        return ours


class QueueMachine(RuleBasedStateMachine):
    """Every call is made to both; they must answer and look the same."""

    redis_url: str

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.now = Now()
        self.server = Valkey(self.redis_url, clock=self.now)
        self.live = ValkeyLiveTasks(self.server, FakePostgres().get)
        self.model = Model()
        self.leases: list[Lease] = []
        self.changes = 0
        self.do(self.server.execute("FLUSHALL"))

    def do(self, call: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(call)

    def teardown(self) -> None:
        self.do(self.server.aclose())
        self.runner.close()

    @rule(no=st.integers(1, 4), fence=st.integers(0, 3), delay_ms=st.sampled_from([-5, 0, 300]))
    def add(self, no, fence, delay_ms):
        task, due_ms = a_task(no, fence=fence), self.now.ms + delay_ms
        added = self.do(self.live.add_missing([task], due_ms))
        assert added == self.model.add(task, due_ms)

    @rule(limit=st.integers(0, 5))
    def claim(self, limit):
        leases = self.do(self.live.claim(limit, LEASE_MS))
        expected = self.model.due(self.now.ms)[:limit]
        assert [lease.task for lease in leases] == [row.task for row in expected]
        for lease, row in zip(leases, expected, strict=True):
            self.model.take(row, lease.token, self.now.ms + LEASE_MS)
        self.leases += leases

    @rule(no=st.integers(1, 4))
    def seize(self, no):
        lease = self.do(self.live.seize(a_task(no).id, LEASE_MS))
        row = self.model.rows.get(a_task(no).id)
        free = row is not None and not row.is_over and row.until_ms <= self.now.ms
        assert (lease is not None) is free
        if lease and row:
            assert lease.task == row.task
            self.model.take(row, lease.token, self.now.ms + LEASE_MS)
            self.leases.append(lease)

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), fence=fences, delay_ms=delays, over=st.integers(0, 5))
    def save(self, data, fence, delay_ms, over):
        lease = data.draw(st.sampled_from(self.leases[-4:]))
        self.save_one(lease, fence, delay_ms, over=over == 0)

    @rule(fence=fences, delay_ms=delays)
    def visit(self, fence, delay_ms):
        self.claim(1)
        if self.leases:
            self.save_one(self.leases[-1], fence, delay_ms, over=False)

    def save_one(self, lease, fence, delay_ms, *, over):
        self.changes += 1
        number, fence = int(lease.task.id[-2:]), max(0, lease.task.fence + fence)
        task = a_task(number, fence=fence, progress=self.changes)
        task = ended(task, fence) if over else task
        due_ms = None if delay_ms is None else self.now.ms + delay_ms
        saved = self.do(self.live.save(lease, task, due_ms))
        assert saved is self.model.save(lease.token, task, due_ms)

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def renew(self, data):
        lease = data.draw(st.sampled_from(self.leases[-4:]))
        self.do(self.live.renew([lease], 2 * LEASE_MS))
        row = self.model.rows.get(lease.task.id)
        if row and not row.is_over and row.belongs_to(lease.token):
            self.model.take(row, lease.token, self.now.ms + 2 * LEASE_MS)

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def release(self, data):
        lease = data.draw(st.sampled_from(self.leases[-4:]))
        self.do(self.live.release([lease]))
        row = self.model.rows.get(lease.task.id)
        if row and row.held == lease.token and row.until_ms:
            row.until_ms, row.due_ms = 0, self.now.ms

    @rule(ms=st.sampled_from([1, 299, LEASE_MS, 3 * LEASE_MS]))
    def pass_time(self, ms):
        self.now.ms += ms

    @precondition(lambda self: self.leases)
    @rule(dice=st.integers(0, 3))
    def flush(self, dice):
        if dice:
            return
        self.do(self.server.execute("FLUSHALL"))
        self.model = Model()

    @invariant()
    def hold_the_same(self):
        for no in range(1, 5):
            row = self.model.rows.get(a_task(no).id)
            assert self.do(self.live.get(a_task(no).id)) == (row.task if row else None)
        figures = self.do(self.live.figures())
        queued = [row for row in self.model.rows.values() if row.due_ms is not None]
        assert figures.tasks == len(queued)
        assert figures.due == len(self.model.due(self.now.ms))

    @invariant()
    def nobody_is_forgotten(self):
        """A lease in force is always also a time at which the task is due again."""
        for row in self.model.rows.values():
            if row.until_ms:
                assert row.due_ms == row.until_ms


def test_the_queue_does_what_its_model_does(redis_url):
    QueueMachine.redis_url = redis_url
    run_state_machine_as_test(
        QueueMachine,
        settings=settings(
            max_examples=40,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
