from __future__ import annotations

import asyncio
from dataclasses import fields, replace
from typing import Any

import pytest

from gateway.domain.callback import CallbackSpec
from gateway.domain.errors import Blame, StaleFence
from gateway.domain.ledger import TransferKind, resolution_id, transfer_id
from gateway.domain.task import Attempt, Outcome, TaskStatus
from gateway.stores.postgres.failures import ConnectionLost
from gateway.stores.postgres.tables import attempts
from tests.stores.postgres.building import (
    CREDIT,
    START_MS,
    accepted,
    attempt,
    cancelled,
    delivered,
    failed,
    success_at,
    with_attempts,
)

HOOK = "https://example.com/hook"


async def rows_of(database, table: str, task_id: str) -> list[dict]:
    rows = await database.read(f"SELECT * FROM {table} WHERE task_id = $1", task_id)
    return [dict(row) for row in rows]


# --- save ------------------------------------------------------------------------------------


async def test_saving_advances_the_fence_and_keeps_the_attempt(tasks, database, team):
    task = await accepted(tasks, team.id)
    tried = attempt()
    saved = await tasks.save(with_attempts(task, tried), tried)
    assert saved == replace(task, fence=1, attempts=(tried,))
    assert await tasks.get(task.id) == saved
    (row,) = await rows_of(database, "attempts", task.id)
    assert (row["id"], row["outcome"], row["upstream"]) == (tried.id, "intent", "cheap")


async def test_an_attempt_is_one_row_however_often_it_is_saved(tasks, database, team):
    tried = attempt()
    task = await tasks.save(with_attempts(await accepted(tasks, team.id), tried), tried)
    changes: dict[str, Any] = {
        "outcome": Outcome.UNKNOWN,
        "blame": Blame.PROVIDER,
        "exposure": 20_000,
        "upstream_task_id": "job-7",
        "finished_ms": START_MS + 5,
        "reason": "nul \x00 and half a pair \ud83d",
    }
    known = replace(tried, **changes)
    task = await tasks.save(with_attempts(task, known), known)
    (row,) = await rows_of(database, "attempts", task.id)
    assert row["reason"] == "nul \ufffd and half a pair ?"
    assert {name: row[name] for name in changes if name != "reason"} == {
        name: value for name, value in changes.items() if name != "reason"
    }


def test_the_attempts_table_has_a_column_for_every_field():
    names = {field.name for field in fields(Attempt)}
    assert {column.name for column in attempts.columns} == names | {"task_id"}


async def test_many_saves_at_once_each_write_their_own_task(tasks, team):
    several = [await accepted(tasks, team.id, hold=0) for _ in range(100)]
    moved = [
        replace(task, status=TaskStatus.PROCESSING, progress=i) for i, task in enumerate(several)
    ]
    saved = await asyncio.gather(*(tasks.save(task, None) for task in moved))
    assert [task.progress for task in saved] == list(range(100))
    assert [await tasks.get(task.id) for task in several] == saved


async def test_a_stale_fence_changes_nothing(tasks, database, ledger, team):
    loaded = await accepted(tasks, team.id, callback=CallbackSpec(HOOK))
    current = await tasks.save(loaded, None)
    zombie = attempt()
    with pytest.raises(StaleFence):
        await tasks.save(with_attempts(loaded, zombie), zombie)
    with pytest.raises(StaleFence):
        await tasks.settle(delivered(with_attempts(loaded, success_at("cheap"))))
    assert await tasks.get(loaded.id) == current
    for table in ("attempts", "usage", "callbacks"):
        assert await rows_of(database, table, loaded.id) == []
    assert [transfer.kind for transfer in await ledger.transfers_of(loaded.id)] == ["hold"]
    assert (await ledger.team(team.id)).held == CREDIT


async def test_a_stale_fence_fails_alone_in_its_batch(tasks, team):
    stale = await accepted(tasks, team.id)
    await tasks.save(stale, None)
    others = [await accepted(tasks, team.id) for _ in range(3)]
    results = await asyncio.gather(
        *(tasks.save(task, None) for task in (others[0], stale, *others[1:])),
        return_exceptions=True,
    )
    assert [isinstance(result, StaleFence) for result in results] == [False, True, False, False]


async def test_two_saves_of_one_state_have_one_winner(tasks, other_process, team):
    task = await accepted(tasks, team.id)
    calls = [(tasks, other_process)[i % 2].save(replace(task, progress=i), None) for i in range(6)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    winners = [result for result in results if not isinstance(result, StaleFence)]
    assert winners == [await tasks.get(task.id)]


async def test_only_a_settlement_ends_a_task(tasks, team):
    task = await accepted(tasks, team.id)
    with pytest.raises(ValueError, match="settlement"):
        await tasks.save(replace(task, status=TaskStatus.COMPLETED), None)


async def test_a_save_after_the_end_is_stale(tasks, team):
    task = await accepted(tasks, team.id)
    ended = await tasks.settle(failed(task))
    with pytest.raises(StaleFence):
        await tasks.save(replace(task, fence=ended.fence), None)


# --- settle ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "charged", "kinds"),
    [(4, 4, ["hold", "capture"]), (1, 1, ["hold", "capture"]), (3, 3, ["hold", "capture"])],
)
async def test_what_was_delivered_is_captured_and_the_rest_returns(
    tasks, database, ledger, team, images, charged, kinds
):
    task = await accepted(tasks, team.id, hold=4 * CREDIT, n=4)
    ended = await tasks.settle(delivered(with_attempts(task, success_at("cheap")), images))
    assert (ended.status, ended.charged, ended.fence) == ("completed", charged * CREDIT, 1)
    assert await tasks.get(task.id) == ended
    after = await ledger.team(team.id)
    assert (after.balance, after.held) == ((10 - charged) * CREDIT, 0)
    transfers = await ledger.transfers_of(task.id)
    assert [transfer.kind for transfer in transfers] == kinds
    capture = transfers[1]
    assert capture.id == resolution_id(task.id)
    assert capture.hold_id == transfer_id(task.id, TransferKind.HOLD)
    assert (capture.amount, capture.returned) == (charged * CREDIT, (4 - charged) * CREDIT)
    (usage,) = await rows_of(database, "usage", task.id)
    assert (usage["images"], usage["charged"], usage["upstream"]) == (
        images, charged * CREDIT, "cheap",
    )  # fmt: skip


@pytest.mark.parametrize("ending", [failed, cancelled])
async def test_a_task_that_delivered_nothing_is_released_whole(
    tasks, database, ledger, team, ending
):
    task = await accepted(tasks, team.id, hold=4 * CREDIT)
    ended = await tasks.settle(ending(task))
    assert ended.charged == 0
    after = await ledger.team(team.id)
    assert (after.balance, after.held) == (10 * CREDIT, 0)
    release = (await ledger.transfers_of(task.id))[1]
    assert (release.kind, release.amount, release.returned) == ("release", 4 * CREDIT, 0)
    (usage,) = await rows_of(database, "usage", task.id)
    assert (usage["status"], usage["charged"], usage["upstream"]) == (ended.status, 0, None)


async def test_a_free_task_is_settled_like_any_other(tasks, ledger, team):
    task = await accepted(tasks, team.id, hold=0)
    await tasks.settle(delivered(task))
    assert [t.kind for t in await ledger.transfers_of(task.id)] == ["hold", "release"]
    assert (await ledger.verify()).is_sound


async def test_settling_writes_every_attempt_and_what_all_of_them_cost(tasks, database, team):
    lost = attempt(1, upstream="cheap", outcome=Outcome.UNKNOWN, exposure=20_000)
    good = success_at("dear", cost=33_000, no=2)
    task = await accepted(tasks, team.id)
    await tasks.settle(delivered(with_attempts(task, lost, good)))
    rows = await rows_of(database, "attempts", task.id)
    assert {row["upstream"]: (row["cost"], row["exposure"]) for row in rows} == {
        "cheap": (0, 20_000),
        "dear": (33_000, 0),
    }
    (usage,) = await rows_of(database, "usage", task.id)
    assert (usage["upstream"], usage["cost"], usage["exposure"]) == ("dear", 33_000, 20_000)


async def test_of_five_settlements_at_once_one_wins(tasks, other_process, ledger, team):
    task = await accepted(tasks, team.id, hold=4 * CREDIT, n=4)
    rivals = [delivered(task, 4), delivered(task, 1), failed(task), cancelled(task), failed(task)]
    calls = [(tasks, other_process)[i % 2].settle(rival) for i, rival in enumerate(rivals)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    (winner,) = (result for result in results if not isinstance(result, BaseException))
    assert sum(isinstance(result, StaleFence) for result in results) == 4
    assert await tasks.get(task.id) == winner
    after = await ledger.team(team.id)
    assert (after.balance, after.held) == (10 * CREDIT - winner.charged, 0)
    assert len(await ledger.transfers_of(task.id)) == 2
    assert (await ledger.verify()).is_sound


async def test_a_crowd_of_tasks_of_several_teams_settles_in_two_processes(
    tasks, other_process, ledger
):
    teams = [await ledger.create_team(f"team {i}") for i in range(3)]
    for team in teams:
        await ledger.grant(team.id, 100 * CREDIT, None)
    crowd = [await accepted(tasks, teams[i % 3].id) for i in range(90)]
    await asyncio.gather(
        *(
            (tasks, other_process)[i % 2].settle(delivered(task) if i % 6 < 3 else failed(task))
            for i, task in enumerate(crowd)
        )
    )
    report = await ledger.verify()
    assert (report.transfers, report.violations) == (3 + 90 * 2, ())
    assert sum(team.balance for team in await ledger.teams()) == (300 - 45) * CREDIT


@pytest.mark.parametrize(("charged"), [-1, CREDIT + 1])
async def test_more_than_the_hold_is_never_captured(tasks, ledger, team, charged):
    task = await accepted(tasks, team.id)
    with pytest.raises(ValueError, match="cannot capture"):
        await tasks.settle(replace(delivered(task), charged=charged))
    assert (await ledger.team(team.id)).held == CREDIT


@pytest.mark.parametrize(
    ("ending", "events", "told"),
    [
        (delivered, ("completed", "failed", "cancelled"), True),
        (delivered, ("failed",), False),
        (failed, ("failed",), True),
        (cancelled, ("completed", "cancelled"), True),
        (cancelled, ("completed",), False),
    ],
)
async def test_a_callback_is_written_for_the_endings_asked_for(
    tasks, outbox, team, ending, events, told
):
    task = await accepted(tasks, team.id, callback=CallbackSpec(HOOK, events))
    ended = await tasks.settle(ending(task))
    rows = await outbox.of_task(task.id)
    assert [(row.url, row.event, row.state) for row in rows] == (
        [(HOOK, ended.status.value, "pending")] if told else []
    )


async def test_a_task_without_a_callback_writes_none(tasks, database, team):
    task = await accepted(tasks, team.id)
    await tasks.settle(delivered(task))
    assert await rows_of(database, "callbacks", task.id) == []


# --- an answer that is lost ------------------------------------------------------------------


@pytest.mark.parametrize("commits", [True, False])
async def test_a_write_whose_answer_is_lost_still_counts_once(
    tasks, database, ledger, team, monkeypatch, commits
):
    write, cuts = database.write, iter([True, False, True])

    async def cut_off(statement, *arguments, **options):
        lost = next(cuts, False)
        rows = [] if lost and not commits else await write(statement, *arguments, **options)
        if lost:
            raise ConnectionLost("cut")
        return rows

    task = await accepted(tasks, team.id)
    monkeypatch.setattr(database, "write", cut_off)
    saved = await tasks.save(replace(task, progress=50), None)
    ended = await tasks.settle(delivered(saved))
    assert (saved.fence, ended.fence) == (1, 2)
    assert await tasks.get(task.id) == ended
    assert (await ledger.team(team.id)).balance == 9 * CREDIT
    assert (await ledger.verify()).is_sound


async def test_a_lost_answer_does_not_make_a_stale_write_a_winner(
    tasks, database, other_process, team, monkeypatch
):
    task = await accepted(tasks, team.id)
    await other_process.save(replace(task, progress=70), None)
    write, cuts = database.write, iter([True])

    async def cut_off(statement, *arguments, **options):
        if next(cuts, False):
            raise ConnectionLost("cut")
        return await write(statement, *arguments, **options)

    monkeypatch.setattr(database, "write", cut_off)
    with pytest.raises(StaleFence):
        await tasks.save(replace(task, progress=50), None)
    assert (await tasks.get(task.id)).progress == 70
