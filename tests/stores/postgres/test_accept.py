from __future__ import annotations

import asyncio
from dataclasses import replace

import asyncpg
import pytest

from gateway.domain.callback import CallbackSpec
from gateway.domain.errors import InsufficientCredits, StoreUnavailable, TaskIdTaken
from gateway.domain.ledger import TransferKind, transfer_id
from gateway.domain.request import GenerationRequest
from gateway.stores.postgres.failures import ConnectionLost
from gateway.stores.postgres.tasks import PostgresTasks
from tests.stores.postgres.building import CREDIT, PROMPT, accepted, new_task


async def outcomes(*calls) -> list[type | None]:
    results = await asyncio.gather(*calls, return_exceptions=True)
    return [None if result is None else type(result) for result in results]


async def test_an_accepted_task_is_stored_whole_and_its_credits_are_held(tasks, ledger, team):
    new = new_task(team.id, hold=3 * CREDIT, callback=CallbackSpec("https://example.com/hook"))
    await tasks.accept(new)
    assert await tasks.get(new.task.id) == new.task
    assert await tasks.request_of(new.task.id) == GenerationRequest(
        model="wan2.5-t2i-preview", prompt=PROMPT
    )
    after = await ledger.team(team.id)
    assert (after.balance, after.held, after.available) == (10 * CREDIT, 3 * CREDIT, 7 * CREDIT)
    (hold,) = await ledger.transfers_of(new.task.id)
    assert (hold.id, hold.kind, hold.amount) == (
        transfer_id(new.task.id, TransferKind.HOLD),
        TransferKind.HOLD,
        3 * CREDIT,
    )


async def test_of_five_hundred_concurrent_calls_exactly_the_affordable_hundred_pass(
    tasks, other_process, ledger
):
    team = await ledger.create_team("crowd")
    await ledger.grant(team.id, 100 * CREDIT, None)
    calls = [(tasks, other_process)[i % 2].accept(new_task(team.id)) for i in range(500)]
    results = await outcomes(*calls)
    assert results.count(None) == 100
    assert results.count(InsufficientCredits) == 400
    after = await ledger.team(team.id)
    assert (after.balance, after.held) == (100 * CREDIT, 100 * CREDIT)
    assert (await ledger.verify()).is_sound


async def test_many_teams_in_two_processes_do_not_deadlock(tasks, other_process, ledger):
    teams = [await ledger.create_team(f"team {i}") for i in range(8)]
    for team in teams:
        await ledger.grant(team.id, 20 * CREDIT, None)
    order = [*teams, *reversed(teams)] * 16
    calls = [(tasks, other_process)[i % 2].accept(new_task(t.id)) for i, t in enumerate(order)]
    results = await outcomes(*calls)
    assert results.count(None) == 8 * 20
    assert [team.held for team in await ledger.teams()] == [20 * CREDIT] * 8


@pytest.mark.parametrize(
    ("holds", "passing"),
    [
        ([4, 4, 2], [True, True, True]),
        ([6, 6, 4], [True, False, True]),
        ([11, 1], [False, True]),
        ([0, 10, 1, 0], [True, True, False, True]),
        ([11], [False]),
    ],
)
async def test_a_batch_too_large_for_its_team_is_fitted_in_order_of_arrival(
    tasks, ledger, team, holds, passing
):
    calls = [tasks.accept(new_task(team.id, hold=hold * CREDIT)) for hold in holds]
    assert [result is None for result in await outcomes(*calls)] == passing
    held = sum(hold for hold, passes in zip(holds, passing, strict=True) if passes)
    assert (await ledger.team(team.id)).held == held * CREDIT


async def test_a_poor_team_does_not_hinder_a_rich_one_in_the_same_batch(tasks, ledger, team):
    poor = await ledger.create_team("poor")
    calls = [tasks.accept(new_task(t.id)) for t in (poor, team, poor, team)]
    assert await outcomes(*calls) == [InsufficientCredits, None, InsufficientCredits, None]


async def test_the_refusal_says_what_is_needed_and_what_is_there(tasks, team):
    with pytest.raises(InsufficientCredits, match=r"needs 12\.5 credits; 10 are available"):
        await tasks.accept(new_task(team.id, hold=12_500_000))


async def test_a_refused_task_leaves_nothing_behind(tasks, ledger, team):
    new = new_task(team.id, hold=11 * CREDIT)
    assert await outcomes(tasks.accept(new)) == [InsufficientCredits]
    assert await tasks.get(new.task.id) is None
    assert await ledger.transfers_of(new.task.id) == []


async def test_a_taken_id_fails_alone_and_holds_nothing(tasks, ledger, team):
    first = new_task(team.id)
    await tasks.accept(first)
    again = [tasks.accept(new) for new in (new_task(team.id), first, new_task(team.id))]
    assert await outcomes(*again) == [None, TaskIdTaken, None]
    assert (await ledger.team(team.id)).held == 3 * CREDIT


async def test_one_id_offered_by_many_at_once_is_accepted_once(tasks, other_process, ledger, team):
    calls = [(tasks, other_process)[i % 2].accept(new_task(team.id, task_id="t")) for i in range(8)]
    results = await outcomes(*calls)
    assert results.count(None) == 1
    assert results.count(TaskIdTaken) == 7
    assert (await ledger.team(team.id)).held == CREDIT


async def test_an_id_whose_hold_exists_already_fails_alone(tasks, database, ledger, team):
    used = await accepted(tasks, team.id)
    await database.write("DELETE FROM tasks WHERE id = $1", used.id)
    same_id, other = new_task(team.id, task_id=used.id), new_task(team.id)
    results = await outcomes(tasks.accept(same_id), tasks.accept(other))
    assert results == [TaskIdTaken, None]
    assert (await ledger.team(team.id)).held == 2 * CREDIT


async def test_a_row_the_database_refuses_fails_alone(tasks, ledger, team):
    fine = [new_task(team.id) for _ in range(5)]
    broken = new_task(team.id, model="nul\x00byte")
    calls = [tasks.accept(new) for new in (*fine[:3], broken, *fine[3:])]
    results = await outcomes(*calls)
    assert [result is None for result in results] == [True] * 3 + [False] + [True] * 2
    assert issubclass(results[3], asyncpg.DataError)
    assert (await ledger.team(team.id)).held == 5 * CREDIT


async def test_holds_too_large_to_add_up_are_refused(tasks, team):
    calls = [tasks.accept(new_task(team.id, hold=2**62)) for _ in range(4)]
    assert await outcomes(*calls) == [InsufficientCredits] * 4


async def test_half_a_surrogate_pair_does_not_keep_a_task_from_being_stored(tasks, team):
    new = new_task(team.id)
    new = replace(new, request=replace(new.request, prompt="cut \ud83d off"))
    await tasks.accept(new)
    assert (await tasks.request_of(new.task.id)).prompt == "cut ? off"


async def test_a_plain_task_takes_less_than_four_kibibytes(tasks, database, team):
    task = await accepted(tasks, team.id, callback=CallbackSpec("https://example.com/hook"))
    for table, column in (("tasks", "id"), ("transfers", "task_id")):
        (row,) = await database.read(
            f"SELECT sum(pg_column_size(t.*)) AS bytes FROM {table} t WHERE {column} = $1", task.id
        )
        assert row["bytes"] < 2048


async def test_a_whole_batch_is_one_statement(tasks, database, team, monkeypatch):
    statements = []
    write = database.write

    async def counted(statement, *arguments, **options):
        statements.append(statement)
        return await write(statement, *arguments, **options)

    monkeypatch.setattr(database, "write", counted)
    await asyncio.gather(*(tasks.accept(new_task(team.id, hold=CREDIT // 10)) for _ in range(64)))
    assert len(statements) == 1


# --- a connection that breaks ----------------------------------------------------------------


async def test_when_the_answer_is_lost_after_the_commit_the_task_is_accepted_once(
    tasks, database, ledger, team, vault, monkeypatch
):
    write, answers_lost = database.write, iter([True])

    async def committed_but_unheard(statement, *arguments, **options):
        rows = await write(statement, *arguments, **options)
        if next(answers_lost, False):
            raise ConnectionLost("cut")
        return rows

    monkeypatch.setattr(database, "write", committed_but_unheard)
    taken_before = await accepted(
        PostgresTasks(database, vault), team.id, task_id="old", created_ms=1
    )
    answers_lost = iter([True])
    calls = [tasks.accept(new) for new in (new_task(team.id), new_task(team.id, task_id="old"))]
    assert await outcomes(*calls) == [None, TaskIdTaken]
    assert await tasks.get("old") == taken_before
    assert (await ledger.team(team.id)).held == 2 * CREDIT


async def test_when_the_connection_breaks_before_the_commit_the_task_is_accepted_once(
    tasks, database, other_process, ledger, team
):
    new = new_task(team.id)
    async with database.transaction() as holder:
        await holder.fetch("SELECT * FROM accounts WHERE team_id = $1 FOR UPDATE", team.id)
        waiting = asyncio.create_task(tasks.accept(new))
        await until_killed(database)
    await waiting
    assert await tasks.get(new.task.id) == new.task
    assert (await ledger.team(team.id)).held == CREDIT
    assert (await ledger.verify()).is_sound


KILL_WAITING = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE wait_event_type = 'Lock' AND datname = current_database()
"""


async def until_killed(database) -> None:
    """Kill the backend that waits for a lock, once there is one."""
    async with asyncio.timeout(5):
        while not await database.read(KILL_WAITING):
            await asyncio.sleep(0.01)


async def test_an_outcome_nobody_can_tell_is_not_called_a_refusal(
    tasks, database, team, monkeypatch
):
    async def gone(*_, **__):
        raise ConnectionLost("cut")

    monkeypatch.setattr(database, "write", gone)
    monkeypatch.setattr("gateway.stores.postgres.database.CERTAINTY_TIMEOUT_S", 0.2)
    with pytest.raises(StoreUnavailable) as raised:
        await tasks.accept(new_task(team.id))
    assert not raised.value.outcome_known


async def test_a_database_that_is_away_is_named_at_once(tasks, database, team, monkeypatch):
    await database.close()
    with pytest.raises(StoreUnavailable) as raised:
        await tasks.accept(new_task(team.id))
    assert raised.value.outcome_known


async def test_closing_finishes_what_was_taken(database, ledger, team, vault):
    store = PostgresTasks(database, vault)
    calls = [asyncio.create_task(store.accept(new_task(team.id))) for _ in range(5)]
    await asyncio.sleep(0)
    await store.close()
    assert await outcomes(*calls) == [None] * 5
    assert (await ledger.team(team.id)).held == 5 * CREDIT
