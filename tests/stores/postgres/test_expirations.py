"""Grants that expire: used first, gone to the moment, booked to the micro-credit."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.domain.errors import InsufficientCredits, InvalidRequest
from gateway.domain.ledger import TransferKind
from gateway.domain.statement import month_named
from gateway.domain.task import Task
from tests.stores.postgres.building import CREDIT, START_MS, delivered, failed, new_task

HOUR_MS = 3_600_000


async def outcome(call) -> type | None:
    results = await asyncio.gather(call, return_exceptions=True)
    return None if results[0] is None else type(results[0])


async def taken(tasks, team, amount: int, at_ms: int) -> Task:
    new = new_task(team.id, hold=amount, created_ms=at_ms)
    await tasks.accept(new)
    return new.task


async def test_what_is_left_of_a_grant_is_gone_at_its_time_and_booked_later(
    tasks, ledger, team, clock
):
    ends_ms = START_MS + HOUR_MS
    grant = await ledger.grant(team.id, 5 * CREDIT, "trial", expires_ms=ends_ms)
    await tasks.settle(delivered(await taken(tasks, team, 2 * CREDIT, START_MS)))
    before = new_task(team.id, hold=13 * CREDIT, created_ms=ends_ms - 1)
    await tasks.accept(before)
    await tasks.settle(failed(before.task))
    clock.turn(HOUR_MS)
    with pytest.raises(InsufficientCredits, match="10 are available"):
        await tasks.accept(new_task(team.id, hold=10 * CREDIT + 1, created_ms=ends_ms))
    assert (await ledger.team(team.id)).balance == 13 * CREDIT

    assert await ledger.expire() == 1
    assert await ledger.expire() == 0
    assert (await ledger.team(team.id)).balance == 10 * CREDIT
    gone = (await ledger.credit_page(team.id, 1, None)).items[0]
    assert (gone.kind, gone.amount, gone.gain) == (
        TransferKind.EXPIRATION,
        3 * CREDIT,
        -3 * CREDIT,
    )
    assert gone.reference == f"grant {grant.id}"
    month = month_named("2027-01", clock.ms)
    assert (await ledger.statement(team.id, month)).total("expiration") == -3 * CREDIT
    assert (await ledger.verify()).violations == ()


async def test_tasks_accepted_before_are_still_paid_from_it(tasks, ledger, team, clock):
    await ledger.adjust(team.id, -10 * CREDIT, "empty")
    await ledger.grant(team.id, 5 * CREDIT, None, expires_ms=START_MS + HOUR_MS)
    paid = await taken(tasks, team, 2 * CREDIT, START_MS)
    free = await taken(tasks, team, CREDIT, START_MS)
    clock.turn(HOUR_MS)
    assert await ledger.expire() == 1
    assert (await ledger.team(team.id)).balance == 3 * CREDIT
    await tasks.settle(delivered(paid))
    assert await outcome(tasks.accept(new_task(team.id, hold=1, created_ms=clock.ms))) is (
        InsufficientCredits
    )
    await tasks.settle(failed(free))
    assert await outcome(tasks.accept(new_task(team.id, hold=1, created_ms=clock.ms))) is (
        InsufficientCredits
    )
    assert await ledger.expire() == 1
    assert (await ledger.team(team.id)).balance == 0
    assert (await ledger.verify()).violations == ()


async def test_the_soonest_to_expire_is_used_first_then_what_does_not(tasks, ledger, team, clock):
    await ledger.grant(team.id, 3 * CREDIT, None, expires_ms=START_MS + 2 * HOUR_MS)
    await ledger.grant(team.id, 2 * CREDIT, None, expires_ms=START_MS + HOUR_MS)
    await tasks.settle(delivered(await taken(tasks, team, 4 * CREDIT, START_MS)))
    clock.turn(2 * HOUR_MS)
    assert await ledger.expire() == 1
    assert (await ledger.team(team.id)).balance == 10 * CREDIT


async def test_an_adjustment_takes_only_what_is_still_valid(ledger, team, clock):
    await ledger.grant(team.id, 5 * CREDIT, None, expires_ms=START_MS + HOUR_MS)
    clock.turn(HOUR_MS)
    with pytest.raises(InvalidRequest):
        await ledger.adjust(team.id, -11 * CREDIT, "too much")
    await ledger.adjust(team.id, -10 * CREDIT, "all")
    assert (await ledger.team(team.id)).balance == 0
    assert (await ledger.verify()).violations == ()


async def test_a_grant_that_would_be_over_is_refused(ledger, team):
    with pytest.raises(InvalidRequest) as refused:
        await ledger.grant(team.id, CREDIT, None, expires_ms=START_MS)
    assert refused.value.problems[0].field == "expires_at"


async def test_many_expire_at_once_and_are_taken_once(tasks, other_process, ledger, clock):
    teams = [await ledger.create_team(f"team {i}") for i in range(5)]
    for team in teams:
        for hours in (1, 2, 3):
            await ledger.grant(team.id, 20 * CREDIT, None, expires_ms=START_MS + hours * HOUR_MS)
    new = [new_task(team.id, created_ms=START_MS) for team in teams for _ in range(20)]
    accepting = [(tasks, other_process)[i % 2].accept(one) for i, one in enumerate(new)]
    await asyncio.gather(*accepting)
    clock.turn(3 * HOUR_MS)
    assert sum(await asyncio.gather(*(ledger.expire() for _ in range(4)))) == 2 * len(teams)
    settling = [tasks.settle(delivered(one.task)) for one in new[::2]]
    settling += [tasks.settle(failed(one.task)) for one in new[1::2]]
    await asyncio.gather(*settling, *(ledger.expire() for _ in range(4)))
    await ledger.expire()
    assert [team.balance for team in await ledger.teams()] == [0] * 5
    assert (await ledger.verify()).violations == ()


# --- any sequence ----------------------------------------------------------------------------


@dataclass
class Model:
    """Lots of credits as a pencil would keep them: ``lots`` are (end, what is left)."""

    rest: int = 0
    lots: list[list[int]] = field(default_factory=list)
    holds: dict[str, tuple[int, int]] = field(default_factory=dict)

    def leftover(self, now_ms: int) -> list[int]:
        """Give what of each lot has expired and no open hold from before may claim."""
        gone, claimed = [], 0
        for ends_ms, left in sorted(self.lots):
            old = sum(amount for at_ms, amount in self.holds.values() if at_ms < ends_ms)
            keeps = min(left, max(old - claimed, 0)) if ends_ms <= now_ms else left
            claimed += keeps if ends_ms <= now_ms else 0
            gone.append(left - keeps)
        return gone

    def balance(self) -> int:
        return self.rest + sum(left for _, left in self.lots)

    def available(self, now_ms: int) -> int:
        held = sum(amount for _, amount in self.holds.values())
        return self.balance() - held - sum(self.leftover(now_ms))

    def expire(self, now_ms: int) -> None:
        gone = self.leftover(now_ms)
        self.lots = [
            [ends_ms, left - over]
            for (ends_ms, left), over in zip(sorted(self.lots), gone, strict=True)
        ]

    def charge(self, amount: int, at_ms: int) -> None:
        for lot in sorted(self.lots):
            part = min(amount, lot[1]) if lot[0] > at_ms else 0
            self.lots[self.lots.index(lot)] = [lot[0], lot[1] - part]
            amount -= part
        self.rest -= amount
        assert self.rest >= 0


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["grant", "trial", "hold", "hold", "charge", "fail", "debit", "expire"]),
        st.integers(1, 12),
        st.integers(0, 3),
    ),
    max_size=25,
)


@given(steps=STEPS)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_any_sequence_of_steps_is_what_a_pencil_would_keep(ledger, tasks, clock, steps):
    clock.ms = START_MS
    team = await ledger.create_team(f"team {id(steps)} {asyncio.get_running_loop().time()}")
    model, running, ends = Model(), dict[str, Task](), set[int]()
    for what, amount, hours in steps:
        clock.turn(hours * HOUR_MS)
        if what == "grant":
            await ledger.grant(team.id, amount, None)
            model.rest += amount
        elif what == "trial":
            ends_ms = next(
                ms for ms in range(clock.ms + (amount % 4 + 1) * HOUR_MS, 2**60) if ms not in ends
            )
            ends.add(ends_ms)
            await ledger.grant(team.id, amount, None, expires_ms=ends_ms)
            model.lots.append([ends_ms, amount])
        elif what == "hold":
            new = new_task(team.id, hold=amount, created_ms=clock.ms)
            fits = amount <= model.available(clock.ms)
            assert await outcome(tasks.accept(new)) is (None if fits else InsufficientCredits)
            if fits:
                model.holds[new.task.id] = (clock.ms, amount)
                running[new.task.id] = new.task
        elif what in ("charge", "fail") and running:
            task = running.pop(sorted(running)[amount % len(running)])
            at_ms, hold = model.holds.pop(task.id)
            charged = what == "charge"
            await tasks.settle((delivered if charged else failed)(task, at_ms=clock.ms))
            if charged:
                model.charge(hold, at_ms)
        elif what == "debit":
            model.expire(clock.ms)
            fits = amount <= model.available(clock.ms)
            debit = ledger.adjust(team.id, -amount, "because")
            if fits:
                await debit
                model.charge(amount, clock.ms)
            else:
                with pytest.raises(InvalidRequest):
                    await debit
                await ledger.expire()
        elif what == "expire":
            await ledger.expire()
            model.expire(clock.ms)
    await ledger.expire()
    model.expire(clock.ms)
    found = await ledger.team(team.id)
    assert (found.balance, found.available) == (model.balance(), model.available(clock.ms))
    assert (await ledger.verify()).violations == ()
