from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import asyncpg
import pytest

from gateway.domain.errors import (
    InsufficientCredits,
    InvalidRequest,
    NameTaken,
    NotFound,
)
from gateway.domain.money import MICRO_MAX
from gateway.stores.postgres.failures import ConnectionLost
from tests.stores.postgres.building import CREDIT, accepted, delivered, failed

# Each step: what is done, then the balance and what is held of it, in credits.
SCENARIOS = {
    "a hold reserves and a capture charges": [
        ("grant 10", 10, 0),
        ("hold a 4", 10, 4),
        ("capture a 4", 6, 0),
    ],
    "what was not delivered returns": [
        ("grant 10", 10, 0),
        ("hold a 4", 10, 4),
        ("capture a 1", 9, 0),
    ],
    "a failed task costs nothing": [
        ("grant 10", 10, 0),
        ("hold a 4", 10, 4),
        ("release a", 10, 0),
    ],
    "holds of several tasks add up and end apart": [
        ("grant 10", 10, 0),
        ("hold a 4", 10, 4),
        ("hold b 6", 10, 10),
        ("release a", 10, 6),
        ("hold c 4", 10, 10),
        ("capture b 2", 8, 4),
        ("capture c 4", 4, 0),
    ],
    "what is held cannot be held again": [
        ("grant 10", 10, 0),
        ("hold a 7", 10, 7),
        ("refuse b 4", 10, 7),
        ("release a", 10, 0),
        ("hold b 4", 10, 4),
    ],
    "the last credit can be spent, and no more": [
        ("grant 4", 4, 0),
        ("hold a 4", 4, 4),
        ("capture a 4", 0, 0),
        ("refuse b 1", 0, 0),
        ("grant 1", 1, 0),
        ("hold b 1", 1, 1),
    ],
    "a grant while credits are held": [
        ("grant 2", 2, 0),
        ("hold a 2", 2, 2),
        ("grant 3", 5, 2),
        ("capture a 1", 4, 0),
    ],
}


@pytest.mark.parametrize("steps", SCENARIOS.values(), ids=SCENARIOS)
async def test_the_account_after_each_step(ledger, tasks, steps):
    team = await ledger.create_team("scenario")
    running = {}
    for step, balance, held in steps:
        verb, *words = step.split()
        match verb:
            case "grant":
                await ledger.grant(team.id, int(words[0]) * CREDIT, None)
            case "hold":
                hold = int(words[1])
                running[words[0]] = await accepted(
                    tasks, team.id, hold=hold * CREDIT, n=hold, task_id=words[0]
                )
            case "refuse":
                with pytest.raises(InsufficientCredits):
                    await accepted(tasks, team.id, hold=int(words[1]) * CREDIT, task_id=words[0])
            case "capture":
                await tasks.settle(delivered(running.pop(words[0]), int(words[1])))
            case "release":
                await tasks.settle(failed(running.pop(words[0])))
        now = await ledger.team(team.id)
        assert (now.balance, now.held) == (balance * CREDIT, held * CREDIT), step
    assert (await ledger.verify()).violations == ()


# --- grants ----------------------------------------------------------------------------------


async def test_every_grant_is_a_transfer_of_its_own(ledger):
    team = await ledger.create_team("granted")
    first = await ledger.grant(team.id, 5 * CREDIT, "invoice 7")
    second = await ledger.grant(team.id, 5 * CREDIT, "invoice 7")
    assert {first, second} == set((await ledger.credit_page(team.id, 10, None)).items)
    assert (await ledger.team(team.id)).balance == 10 * CREDIT


async def test_concurrent_grants_all_count(ledger, team):
    await asyncio.gather(*(ledger.grant(team.id, CREDIT, None) for _ in range(20)))
    assert (await ledger.team(team.id)).balance == 30 * CREDIT


@pytest.mark.parametrize("amount", [0, -1, MICRO_MAX, MICRO_MAX + 1])
async def test_an_amount_that_cannot_be_granted_is_refused(ledger, team, amount):
    with pytest.raises(InvalidRequest):
        await ledger.grant(team.id, amount, None)
    assert (await ledger.team(team.id)).balance == 10 * CREDIT


async def test_an_unknown_team_is_granted_nothing(ledger):
    with pytest.raises(NotFound):
        await ledger.grant("team_nobody", CREDIT, None)


@pytest.mark.parametrize("commits", [True, False])
async def test_a_grant_whose_answer_is_lost_counts_once(
    ledger, database, team, monkeypatch, commits
):
    transaction, cuts = database.transaction, iter([True])

    @asynccontextmanager
    async def cut_off():
        lost = next(cuts, False)
        if lost and not commits:
            raise ConnectionLost("cut")
        async with transaction() as connection:
            yield connection
        if lost:
            raise ConnectionLost("cut")

    monkeypatch.setattr(database, "transaction", cut_off)
    await ledger.grant(team.id, CREDIT, None)
    assert (await ledger.team(team.id)).balance == 11 * CREDIT


# --- teams -----------------------------------------------------------------------------------


async def test_a_team_is_found_by_id_and_by_name(ledger):
    team = await ledger.create_team(" Art & Söhne ", "gold")
    assert (team.name, team.user_group, team.balance) == ("Art & Söhne", "gold", 0)
    assert team.webhook_secret.startswith("whsec_")
    assert await ledger.team(team.id) == team
    assert await ledger.team_named("Art & Söhne") == team
    assert await ledger.team("team_nobody") is None
    assert await ledger.team_named("nobody") is None


async def test_a_name_belongs_to_one_team(ledger, team):
    with pytest.raises(NameTaken):
        await ledger.create_team("studio")
    assert [found.name for found in await ledger.teams()] == ["studio"]


@pytest.mark.parametrize("name", ["", "  ", "a\x00b", "two\nlines", "x" * 101])
async def test_a_name_must_be_printable(ledger, name):
    with pytest.raises(InvalidRequest):
        await ledger.create_team(name)


# --- what the database itself refuses --------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE transfers SET amount = amount + 1",
        "UPDATE transfers SET reference = 'other'",
        "DELETE FROM transfers",
        "TRUNCATE transfers CASCADE",
    ],
)
async def test_transfers_are_immutable(database, team, change):
    with pytest.raises(asyncpg.RestrictViolationError):
        await database.write(change)


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ("UPDATE accounts SET held = balance + 1", "accounts_never_overdrawn"),
        ("UPDATE accounts SET balance = held - 1", "accounts_never_overdrawn"),
        ("UPDATE accounts SET held = -1", "accounts_held_not_negative"),
    ],
)
async def test_an_account_is_never_overdrawn(database, team, change, constraint):
    with pytest.raises(asyncpg.CheckViolationError) as raised:
        await database.write(change)
    assert raised.value.constraint_name == constraint


RESOLVE = """
INSERT INTO transfers (id, kind, team_id, amount, returned, hold_id, task_id, created_ms)
SELECT gen_random_uuid(), $2, team_id, $3, $4, id, coalesce($5, task_id), 0
FROM transfers WHERE task_id = $1 AND kind = 'hold'
"""


@pytest.mark.parametrize(
    ("kind", "amount", "returned", "task_id"),
    [
        ("capture", 5, 0, None),
        ("capture", 3, 0, None),
        ("capture", 3, 2, None),
        ("release", 3, 0, None),
        ("release", 2, 2, None),
        ("capture", -1, 5, None),
        ("capture", 4, 0, "another task"),
    ],
)
async def test_a_resolution_must_add_up_to_its_hold(
    database, tasks, team, kind, amount, returned, task_id
):
    task = await accepted(tasks, team.id, hold=4)
    with pytest.raises(asyncpg.CheckViolationError):
        await database.write(RESOLVE, task.id, kind, amount, returned, task_id)


async def test_a_hold_is_resolved_once(database, tasks, team):
    task = await accepted(tasks, team.id, hold=4)
    await tasks.settle(failed(task))
    with pytest.raises(asyncpg.UniqueViolationError):
        await database.write(RESOLVE, task.id, "capture", 4, 0, None)


async def test_a_resolution_needs_a_hold(database, team):
    insert = """
    INSERT INTO transfers (id, kind, team_id, amount, hold_id, task_id, created_ms)
    VALUES (gen_random_uuid(), 'capture', $1, 1, gen_random_uuid(), 't', 0)
    """
    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        await database.write(insert, team.id)


async def test_the_entries_of_every_transfer_sum_to_zero(database, tasks, team):
    for ending in (failed, delivered):
        await tasks.settle(ending(await accepted(tasks, team.id, hold=4)))
    rows = await database.read(
        "SELECT kind, account, sum(amount)::bigint AS amount FROM ledger_entries"
        " GROUP BY kind, account ORDER BY kind, account"
    )
    assert [tuple(row) for row in rows] == [
        ("capture", "held", -4),
        ("capture", "revenue", 4),
        ("grant", "available", 10 * CREDIT),
        ("grant", "external", -10 * CREDIT),
        ("hold", "available", -8),
        ("hold", "held", 8),
        ("release", "available", 4),
        ("release", "held", -4),
    ]
