"""The books are proven once a day, by one process for all, and what was found is remembered."""

from __future__ import annotations

import asyncio

import pytest

from gateway.app.audit_books import EVERY_MS, DailyProof


@pytest.fixture
def proof(ledger, clock, database) -> DailyProof:
    return DailyProof(ledger, clock, lambda: database.exclusively("proof"))


async def test_the_books_are_proven_once_a_day(proof, ledger, clock):
    assert await ledger.last_check() is None
    assert [await proof.run(), await proof.run()] == [True, False]
    clock.turn(EVERY_MS - 1)
    assert not await proof.run()
    clock.turn(1)
    assert await proof.run()
    last = await ledger.last_check()
    assert (last.at_ms, last.violations) == (clock.ms, 0)


async def test_of_several_processes_one_proves(proof):
    assert sorted(await asyncio.gather(*(proof.run() for _ in range(5)))).count(True) == 1


async def test_violations_are_counted(proof, ledger, team, database):
    await database.write("UPDATE accounts SET balance = balance + 1")
    await proof.run()
    assert (await ledger.last_check()).violations == 1
