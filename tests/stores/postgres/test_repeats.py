"""Idempotency-Keys: one task and one hold, whoever comes first, in however many processes."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from gateway.domain.errors import InsufficientCredits, RepeatedCall
from gateway.domain.repeats import KEY_TTL_MS, CallMark, EarlierCall
from gateway.stores.postgres.repeats import PostgresRepeats
from tests.stores.postgres.building import CREDIT, START_MS, new_task

MARK = CallMark("evolink /images/generations", b"what was asked for", "key-1")


@pytest.fixture
def repeats(database, clock) -> PostgresRepeats:
    return PostgresRepeats(database, clock)


def marked(team_id, mark=MARK, **options):
    return replace(new_task(team_id, **options), mark=mark)


async def test_the_first_call_under_a_key_is_found_again(tasks, repeats, team):
    new = marked(team.id)
    await tasks.accept(new)

    found = await repeats.under_key(team.id, MARK.scope, "key-1")

    assert found == EarlierCall(new.task.id, b"what was asked for")
    assert await repeats.under_key(team.id, MARK.scope, "key-2") is None
    assert await repeats.under_key(team.id, "evolink /images/edits", "key-1") is None
    assert await repeats.under_key("another team", MARK.scope, "key-1") is None


async def test_a_second_call_under_a_key_is_told_of_the_first_and_holds_nothing(
    tasks, ledger, team
):
    new = marked(team.id)
    await tasks.accept(new)

    with pytest.raises(RepeatedCall) as caught:
        await tasks.accept(marked(team.id, replace(MARK, fingerprint=b"something else")))

    assert caught.value.earlier == EarlierCall(new.task.id, b"what was asked for")
    assert (await ledger.team(team.id)).held == CREDIT


async def test_the_same_key_of_other_teams_and_operations_is_another_key(tasks, ledger, team):
    other = await ledger.create_team("other")
    await ledger.grant(other.id, CREDIT, None)

    await tasks.accept(marked(team.id))
    await tasks.accept(marked(other.id))
    await tasks.accept(marked(team.id, replace(MARK, scope="evolink /images/edits")))

    assert (await ledger.team(team.id)).held == 2 * CREDIT
    assert (await ledger.team(other.id)).held == CREDIT


@pytest.mark.parametrize("credits", [100, 1])
async def test_of_many_first_calls_in_two_processes_exactly_one_is_accepted(
    tasks, other_process, ledger, credits
):
    team = await ledger.create_team("crowd")
    await ledger.grant(team.id, credits * CREDIT, None)
    stores = (tasks, other_process)
    news = [marked(team.id) for _ in range(40)]

    async def accepted(store, new):
        for _ in range(3):
            try:
                await store.accept(new)
            except RepeatedCall as error:
                return error.earlier.task_id
            except InsufficientCredits:
                continue
            return new.task.id
        return None

    answers = await asyncio.gather(*(accepted(stores[i % 2], new) for i, new in enumerate(news)))

    assert len(set(answers)) == 1
    assert answers[0] in {new.task.id for new in news}
    assert (await ledger.team(team.id)).held == CREDIT
    assert (await ledger.verify()).is_sound


async def test_a_refused_call_leaves_no_key(tasks, repeats, team):
    with pytest.raises(InsufficientCredits):
        await tasks.accept(marked(team.id, hold=11 * CREDIT))

    assert await repeats.under_key(team.id, MARK.scope, "key-1") is None
    await tasks.accept(marked(team.id))


async def test_a_key_counts_for_24_hours(tasks, repeats, clock, team):
    await tasks.accept(marked(team.id))
    clock.turn(KEY_TTL_MS - 1)
    assert await repeats.under_key(team.id, MARK.scope, "key-1") is not None

    clock.turn(1)
    assert await repeats.under_key(team.id, MARK.scope, "key-1") is None
    await tasks.accept(marked(team.id, created_ms=clock.now_ms()))


async def test_old_keys_are_forgotten_a_batch_at_a_time(tasks, repeats, clock, team):
    for number in range(3):
        mark = replace(MARK, key=f"key-{number}")
        await tasks.accept(marked(team.id, mark, created_ms=START_MS + number))
    clock.turn(KEY_TTL_MS + 1)

    assert [await repeats.forget(1), await repeats.forget(10)] == [1, 1]
    clock.ms = START_MS
    assert await repeats.under_key(team.id, MARK.scope, "key-2") is not None
