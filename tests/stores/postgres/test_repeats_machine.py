"""Random calls under few keys from two processes, against a model: one dict per team."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, replace

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from gateway.app.repeats import Recall
from gateway.domain.access import Principal
from gateway.domain.errors import IdempotencyConflict, InsufficientCredits, RepeatedCall
from gateway.domain.repeats import KEY_TTL_MS, CallMark
from gateway.stores.postgres.database import Database
from gateway.stores.postgres.ledger import PostgresLedger
from gateway.stores.postgres.repeats import PostgresRepeats
from gateway.stores.postgres.tasks import PostgresTasks
from tests.stores.postgres.building import CREDIT, TurnableClock, new_task

_names = itertools.count()
processes = st.integers(0, 1)
marks = st.builds(
    CallMark,
    scope=st.sampled_from(["generations", "edits"]),
    fingerprint=st.sampled_from([b"kite", b"lantern"]),
    key=st.sampled_from(["k1", "k2"]),
)


@dataclass
class World:
    """The stores of two processes over one database, and the loop they live in."""

    runner: asyncio.Runner
    ledger: PostgresLedger
    tasks: tuple[PostgresTasks, PostgresTasks]
    repeats: PostgresRepeats
    clock: TurnableClock


class Keys(RuleBasedStateMachine):
    """One team. The model: what each key was first used for, when, and for which task."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world, self.run = world, world.runner.run
        self.first: dict[tuple[str, str], tuple[bytes, str, int]] = {}
        self.bought = 0

    @initialize(credits=st.integers(1, 8))
    def fund(self, credits: int) -> None:
        self.credits = credits
        self.team = self.run(self.world.ledger.create_team(f"keys {next(_names)}"))
        self.run(self.world.ledger.grant(self.team.id, credits * CREDIT, None))

    async def create(self, process: int, mark: CallMark) -> tuple[str, bool]:
        """Create a task as the use case does; gives its id and whether it was there already."""
        tasks = self.world.tasks[process]
        recall = Recall(self.world.repeats, tasks)
        principal = Principal(self.team.id, "team", "key_1")
        if earlier := await recall.earlier(principal, mark):
            return earlier.id, True
        new = replace(new_task(self.team.id, created_ms=self.world.clock.now_ms()), mark=mark)
        try:
            await tasks.accept(new)
        except (InsufficientCredits, RepeatedCall):
            if earlier := await recall.earlier(principal, mark):
                return earlier.id, True
            raise
        return new.task.id, False

    def known(self, mark: CallMark) -> tuple[bytes, str, int] | None:
        found = self.first.get((mark.scope, str(mark.key)))
        alive = found and self.world.clock.now_ms() < found[2] + KEY_TTL_MS
        return found if alive else None

    @rule(mark=marks, calls=st.lists(processes, min_size=1, max_size=4))
    def call(self, mark: CallMark, calls: list[int]) -> None:
        known = self.known(mark)
        results = self.run(self.together(mark, calls))
        if known and known[0] != mark.fingerprint:
            assert {type(result) for result in results} == {IdempotencyConflict}
        elif known:
            assert set(results) == {(known[1], True)}
        elif self.bought == self.credits:
            assert {type(result) for result in results} == {InsufficientCredits}
        else:
            self.bought += 1
            (fresh,) = [result for result in results if not result[1]]
            assert {result[0] for result in results} == {fresh[0]}
            key = (mark.scope, str(mark.key))
            self.first[key] = (mark.fingerprint, fresh[0], self.world.clock.now_ms())

    async def together(self, mark: CallMark, calls: list[int]):
        creates = (self.create(process, mark) for process in calls)
        return await asyncio.gather(*creates, return_exceptions=True)

    @rule(ms=st.sampled_from([1, KEY_TTL_MS // 2, KEY_TTL_MS]))
    def time_passes(self, ms: int) -> None:
        self.world.clock.turn(ms)

    @rule()
    def old_keys_are_forgotten(self) -> None:
        self.run(self.world.repeats.forget(100))

    @invariant()
    def what_is_held_is_what_was_bought(self) -> None:
        assert self.run(self.world.ledger.team(self.team.id)).held == self.bought * CREDIT


def test_a_key_is_one_task_after_any_sequence_of_calls(database_url, vault):
    async def connect() -> Database:
        database = Database(database_url)
        await database.connect()
        return database

    with asyncio.Runner() as runner:
        databases = [runner.run(connect()) for _ in range(2)]
        clock = TurnableClock()
        world = World(
            runner,
            PostgresLedger(databases[0], clock, vault),
            (PostgresTasks(databases[0], vault), PostgresTasks(databases[1], vault)),
            PostgresRepeats(databases[0], clock, vault),
            clock,
        )

        class KeysHere(Keys):
            def __init__(self) -> None:
                super().__init__(world)

        run_state_machine_as_test(
            KeysHere,
            settings=settings(
                max_examples=25,
                stateful_step_count=15,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
        for database in databases:
            runner.run(database.close())
