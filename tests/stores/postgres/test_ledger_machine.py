"""Random walks through grants, holds, captures and releases, against a model of three numbers."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    rule,
    run_state_machine_as_test,
)

from gateway.domain.errors import InsufficientCredits, StaleFence, TaskIdTaken
from gateway.domain.task import Task
from gateway.stores.postgres.database import Database
from gateway.stores.postgres.ledger import PostgresLedger
from gateway.stores.postgres.tasks import PostgresTasks
from tests.stores.postgres.building import TurnableClock, delivered, failed, new_task

_names = itertools.count()


@dataclass
class Stores:
    """The stores of one database, and the loop they live in."""

    runner: asyncio.Runner
    ledger: PostgresLedger
    tasks: PostgresTasks


class Books(RuleBasedStateMachine):
    """One team. The model: what was granted, what was captured, and the open holds."""

    running = Bundle("running")
    ended = Bundle("ended")

    def __init__(self, stores: Stores) -> None:
        super().__init__()
        self.run, self.ledger, self.tasks = stores.runner.run, stores.ledger, stores.tasks
        self.team = self.run(self.ledger.create_team(f"team {next(_names)}"))
        self.granted = 0
        self.captured = 0
        self.holds: dict[str, int] = {}

    @property
    def available(self) -> int:
        return self.granted - self.captured - sum(self.holds.values())

    @rule(amount=st.integers(1, 20))
    def grant(self, amount: int) -> None:
        self.run(self.ledger.grant(self.team.id, amount, None))
        self.granted += amount

    @rule(target=running, n=st.integers(1, 4), unit=st.integers(0, 5))
    def hold(self, n: int, unit: int) -> Task | None:
        new = new_task(self.team.id, hold=n * unit, n=n)
        refused = self.refusal(self.tasks.accept(new))
        assert (refused is InsufficientCredits) == (n * unit > self.available)
        if refused:
            return None
        self.holds[new.task.id] = new.task.hold
        return new.task

    @rule(sizes=st.lists(st.integers(0, 8), min_size=2, max_size=6))
    def hold_several_at_once(self, sizes: list[int]) -> None:
        several = [new_task(self.team.id, hold=size) for size in sizes]
        results = self.run(self.together([self.tasks.accept(new) for new in several]))
        # Nothing else runs, so they share a batch and are fitted in their order.
        for new, result in zip(several, results, strict=True):
            fits = new.task.hold <= self.available
            assert (result is None) == fits
            if fits:
                self.holds[new.task.id] = new.task.hold

    @rule(task=running)
    def hold_again(self, task: Task | None) -> None:
        if task:
            assert self.refusal(self.tasks.accept(new_task(self.team.id, task_id=task.id))) is (
                TaskIdTaken
            )

    @rule(target=ended, task=consumes(running), images=st.integers(0, 4))
    def settle(self, task: Task | None, images: int) -> Task | None:
        if task is None:
            return None
        ending = delivered(task, min(images, task.n)) if images else failed(task)
        self.run(self.tasks.settle(ending))
        self.captured += ending.charged
        del self.holds[task.id]
        return task

    @rule(task=ended, images=st.integers(0, 4))
    def settle_again(self, task: Task | None, images: int) -> None:
        if task:
            again = delivered(task, min(images, task.n)) if images else failed(task)
            assert self.refusal(self.tasks.settle(again)) is StaleFence

    @invariant()
    def the_account_is_what_the_model_says(self) -> None:
        team = self.run(self.ledger.team(self.team.id))
        assert (team.balance, team.held, team.available) == (
            self.granted - self.captured,
            sum(self.holds.values()),
            self.available,
        )

    def teardown(self) -> None:
        assert self.run(self.ledger.verify()).violations == ()

    def refusal(self, call) -> type | None:
        (result,) = self.run(self.together([call]))
        return type(result) if isinstance(result, Exception) else None

    async def together(self, calls):
        return await asyncio.gather(*calls, return_exceptions=True)


def test_the_books_are_right_after_any_sequence_of_operations(database_url, vault):
    async def connect() -> Database:
        database = Database(database_url)
        await database.connect()
        return database

    with asyncio.Runner() as runner:
        database = runner.run(connect())
        tasks = PostgresTasks(database, vault)
        stores = Stores(runner, PostgresLedger(database, TurnableClock(), vault), tasks)

        class BooksHere(Books):
            def __init__(self) -> None:
                super().__init__(stores)

        run_state_machine_as_test(
            BooksHere,
            settings=settings(
                max_examples=25,
                stateful_step_count=20,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
        runner.run(database.close())
