"""Idempotency-Keys: one task and one hold, whoever comes first, in however many processes."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from gateway.domain.administration import COMMAND_LINE, RepeatMark
from gateway.domain.errors import (
    IdempotencyConflict,
    InsufficientCredits,
    RepeatedCall,
    RepeatedChange,
)
from gateway.domain.repeats import (
    KEY_TTL_MS,
    RETRY_PAUSE_MS,
    RETRY_TTL_MS,
    CallMark,
    EarlierCall,
)
from gateway.stores.postgres.repeats import PostgresRepeats
from tests.stores.postgres.building import CREDIT, START_MS, new_task

MARK = CallMark("evolink /images/generations", b"what was asked for", "key-1")


@pytest.fixture
def repeats(database, clock, vault) -> PostgresRepeats:
    return PostgresRepeats(database, clock, vault)


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


AS_BEFORE = "UPDATE idempotency_keys SET key = 'key-1'"


async def test_what_is_stored_of_a_key_says_neither_the_key_nor_who_else_uses_it(
    tasks, ledger, database, team
):
    other = await ledger.create_team("other")
    await ledger.grant(other.id, CREDIT, None)
    for team_id in (team.id, other.id):
        await tasks.accept(marked(team_id))

    stored = {row["key"] for row in await database.read("SELECT key FROM idempotency_keys")}

    assert len(stored) == 2
    assert all(len(bytes.fromhex(key)) == 32 for key in stored)


async def test_a_key_stored_as_it_was_sent_counts_for_the_rest_of_its_day(
    tasks, repeats, clock, database, team
):
    new = marked(team.id)
    await tasks.accept(new)
    await database.write(AS_BEFORE)

    found = await repeats.under_key(team.id, MARK.scope, "key-1")
    assert found == EarlierCall(new.task.id, MARK.fingerprint)

    clock.turn(KEY_TTL_MS)
    assert await repeats.under_key(team.id, MARK.scope, "key-1") is None
    assert await database.read("SELECT key FROM idempotency_keys") == []


async def test_operators_keys_are_hashed_too_and_forgotten_after_a_day(
    ledger, repeats, database, clock
):
    ask = replace(COMMAND_LINE, mark=RepeatMark("POST /teams", "key-1", b"a team"))
    made = await ledger.create_team("made", ask=ask)
    (row,) = await database.read("SELECT key FROM admin_repeats")
    assert len(bytes.fromhex(row["key"])) == 32

    for as_before in (False, True):
        if as_before:
            await database.write("UPDATE admin_repeats SET key = 'key-1'")
        with pytest.raises(RepeatedChange) as caught:
            await ledger.create_team("made", ask=ask)
        assert caught.value.subject == made.id
        with pytest.raises(IdempotencyConflict):
            await ledger.create_team("x", ask=replace(ask, mark=replace(ask.mark, fingerprint=b"")))

    clock.turn(KEY_TTL_MS)
    assert [await repeats.forget(10), await repeats.forget(10)] == [1, 0]


async def test_old_keys_are_forgotten_a_batch_at_a_time(tasks, repeats, clock, team):
    for number in range(3):
        mark = replace(MARK, key=f"key-{number}")
        await tasks.accept(marked(team.id, mark, created_ms=START_MS + number))
    clock.turn(KEY_TTL_MS + 1)

    assert [await repeats.forget(1), await repeats.forget(10)] == [1, 1]
    clock.ms = START_MS
    assert await repeats.under_key(team.id, MARK.scope, "key-2") is not None


# --- SDKs that count their retries -----------------------------------------------------------

CALL = CallMark("openai /images/generations", b"what was asked for", retries=0)


async def test_a_retry_finds_the_newest_task_of_an_earlier_try(tasks, repeats, team):
    old, new = marked(team.id, CALL), marked(team.id, CALL, created_ms=START_MS + 1)
    await tasks.accept(old)
    await tasks.accept(new)

    assert await repeats.of_retry("key_1", CALL.fingerprint, 1) == new.task.id
    assert await repeats.of_retry("key_1", CALL.fingerprint, 2) == new.task.id


async def test_two_equal_calls_that_were_cut_off_find_a_task_each(tasks, repeats, team):
    news = [marked(team.id, CALL) for _ in range(2)]
    for new in news:
        await tasks.accept(new)

    found = [await repeats.of_retry("key_1", CALL.fingerprint, 1) for _ in range(3)]

    assert found[2] is None
    assert set(found[:2]) == {new.task.id for new in news}


async def test_a_retry_finds_no_other_keys_other_requests_or_uncounted_calls(tasks, repeats, team):
    await tasks.accept(marked(team.id, CALL))
    await tasks.accept(marked(team.id, replace(CALL, fingerprint=b"uncounted", retries=None)))

    assert await repeats.of_retry("key_2", CALL.fingerprint, 1) is None
    assert await repeats.of_retry("key_1", b"something else", 1) is None
    assert await repeats.of_retry("key_1", b"uncounted", 1) is None


async def test_a_call_is_remembered_for_eleven_minutes(tasks, repeats, clock, team):
    await tasks.accept(marked(team.id, CALL))
    clock.turn(RETRY_TTL_MS)

    assert await repeats.of_retry("key_1", CALL.fingerprint, 1) is None
    assert [await repeats.forget(10), await repeats.forget(10)] == [1, 0]


@pytest.mark.parametrize(
    ("mark", "after_ms", "attaches"),
    [
        (MARK, 0, True),
        (MARK, KEY_TTL_MS - RETRY_PAUSE_MS, False),
        (CALL, 290_000, True),
        (CALL, 590_000, True),
        (CALL, RETRY_TTL_MS - RETRY_PAUSE_MS, False),
        (replace(CALL, retries=None), 0, False),
    ],
)
def test_a_retry_is_invited_only_where_it_would_find_its_task(mark, after_ms, attaches):
    assert mark.attaches(START_MS, START_MS + after_ms) is attaches
