"""Random settlements, tries, replays and outages of workers, against a model: one dict."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gateway.domain.callback import Callback, CallbackSpec, TryResult, next_try_ms
from gateway.stores.postgres.database import Database
from gateway.stores.postgres.ledger import PostgresLedger
from gateway.stores.postgres.outbox import PostgresOutbox, callback_id
from gateway.stores.postgres.tasks import PostgresTasks
from tests.stores.postgres.building import TurnableClock, accepted, delivered

_names = itertools.count()
LEASE_MS = 30_000
URLS = ("https://one.example.com/", "https://two.example.com/")
LEASES_END = "UPDATE callbacks SET lease_until_ms = 1 WHERE lease_until_ms > 0"


@dataclass
class Row:
    """What the model knows of a callback."""

    url: str
    due_ms: int
    state: str = "pending"
    tries: int = 0
    logged: int = 0
    is_leased: bool = False


@dataclass
class World:
    runner: asyncio.Runner
    database: Database
    ledger: PostgresLedger
    tasks: PostgresTasks
    outbox: PostgresOutbox
    clock: TurnableClock


class Outbox(RuleBasedStateMachine):
    """One team; workers claim, send, forget to record, record late."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world, self.run = world, world.runner.run
        self.rows: dict[str, Row] = {}
        self.held: list[Callback] = []
        self.gone: set[str] = set()

    @initialize()
    def found(self) -> None:
        self.run(self.world.database.write("DELETE FROM callbacks"))
        self.team = self.run(self.world.ledger.create_team(f"outbox {next(_names)}"))

    @rule(url=st.sampled_from(URLS))
    def settle(self, url: str) -> None:
        async def act() -> str:
            spec = CallbackSpec(url)
            task = await accepted(self.world.tasks, self.team.id, hold=0, callback=spec)
            await self.world.tasks.settle(delivered(task, at_ms=self.world.clock.ms))
            return task.id

        self.rows[callback_id(self.run(act()))] = Row(url, self.world.clock.ms)

    @rule(limit=st.integers(1, 3))
    def claim(self, limit: int) -> None:
        now_ms = self.world.clock.ms
        claimed = self.run(self.world.outbox.claim(limit, LEASE_MS))
        free = {
            name: row
            for name, row in self.rows.items()
            if row.state == "pending" and row.due_ms <= now_ms and not row.is_leased
        }
        assert {one.id for one in claimed} <= free.keys()
        assert len(claimed) == min(limit, len(free))
        latest = max((free[one.id].due_ms for one in claimed), default=0)
        left = [row.due_ms for name, row in free.items() if name not in {c.id for c in claimed}]
        assert all(due_ms >= latest for due_ms in left)
        for one in claimed:
            row = free[one.id]
            assert (one.url, one.tries, one.gone) == (row.url, row.tries, row.url in self.gone)
            row.is_leased = True
        self.held += claimed

    @precondition(lambda self: self.held)
    @rule(choice=st.integers(0, 100), status=st.sampled_from([200, 500, 410, None]))
    def record(self, choice: int, status: int | None) -> None:
        callback = self.held.pop(choice % len(self.held))
        now_ms = self.world.clock.ms
        result = TryResult(status, None if status == 200 else "no", now_ms, 5)
        final = result.delivered or result.gone
        next_ms = None if final else next_try_ms(callback.tries + 1, now_ms)
        self.run(self.world.outbox.record(callback, result, next_ms))
        row = self.rows[callback.id]
        row.logged += 1
        if status == 410:
            self.gone.add(row.url)
        if row.state == "pending":
            row.tries += 1
            row.is_leased = False
            row.state = "delivered" if status == 200 else "pending" if next_ms else "dead"
            row.due_ms = next_ms or row.due_ms

    @rule()
    def leases_end(self) -> None:
        self.run(self.world.database.write(LEASES_END))
        for row in self.rows.values():
            row.is_leased = False

    @precondition(lambda self: self.rows)
    @rule(choice=st.integers(0, 100))
    def replay(self, choice: int) -> None:
        name, row = list(self.rows.items())[choice % len(self.rows)]
        self.run(self.world.outbox.replay(name))
        row.state, row.tries, row.is_leased = "pending", 0, False
        row.due_ms = self.world.clock.ms
        self.gone.discard(row.url)

    @rule(ms=st.sampled_from([1, 1_000, 4_000]))
    def time_passes(self, ms: int) -> None:
        self.world.clock.turn(ms)

    @invariant()
    def the_outbox_is_what_the_model_says(self) -> None:
        page = self.run(self.world.outbox.callback_page(1_000, None, state=None, team_id=None))
        stored = {one.id: (one.state, one.next_at_ms, len(one.tries)) for one in page.items}
        assert stored == {
            name: (row.state, row.due_ms, row.logged) for name, row in self.rows.items()
        }


def test_the_outbox_does_what_its_model_does(database_url, vault):
    with asyncio.Runner() as runner:
        database = Database(database_url)
        runner.run(database.connect())
        clock = TurnableClock()
        world = World(
            runner,
            database,
            PostgresLedger(database, clock, vault),
            PostgresTasks(database, vault),
            PostgresOutbox(database, clock, vault),
            clock,
        )

        class OutboxHere(Outbox):
            def __init__(self) -> None:
                super().__init__(world)

        run_state_machine_as_test(
            OutboxHere,
            settings=settings(
                max_examples=30,
                stateful_step_count=25,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
        runner.run(database.close())
