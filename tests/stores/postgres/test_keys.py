from __future__ import annotations

import asyncio
import re

import pytest

from gateway.domain.access import Principal
from gateway.domain.errors import InvalidRequest, NotFound, StoreUnavailable
from gateway.stores.postgres import keys as keys_module
from gateway.stores.postgres.keys import PostgresKeys
from gateway.stores.postgres.names import is_key_text, new_key_text
from gateway.stores.postgres.vault import Vault
from tests.stores.postgres.building import START_MS


@pytest.fixture
def reads(database, monkeypatch) -> list[str]:
    """The statements the keys read with, as they happen."""
    seen = []
    read = database.read

    async def counted(statement, *arguments):
        seen.append(statement)
        return await read(statement, *arguments)

    monkeypatch.setattr(database, "read", counted)
    return seen


# --- the text --------------------------------------------------------------------------------


def test_a_key_is_a_prefix_thirty_random_and_six_checksum_characters():
    text = new_key_text()
    assert re.fullmatch(r"sk-igw-[0-9A-Za-z]{36}", text)
    assert is_key_text(text)
    assert len({new_key_text() for _ in range(100)}) == 100


@pytest.mark.parametrize("place", range(len("sk-igw-") + 36))
def test_a_mistyped_character_is_noticed(place):
    text = new_key_text()
    wrong = "y" if text[place] == "x" else "x"
    assert not is_key_text(text[:place] + wrong + text[place + 1 :])


@pytest.mark.parametrize(
    "text",
    ["", "sk-igw-", "sk-proj-abc", new_key_text() + "\n", new_key_text()[:-1], "é" * 43],
    ids=["empty", "prefix", "stranger", "newline", "short", "letters"],
)
def test_what_is_no_key_is_noticed(text):
    assert not is_key_text(text)


async def test_a_mistyped_key_is_refused_without_asking_the_database(keys, reads):
    assert await keys.principal("sk-igw-" + "x" * 36) is None
    assert reads == []


# --- whom a key acts for ---------------------------------------------------------------------


async def test_a_known_key_goes_on_for_ten_minutes_without_the_database(
    keys, team, clock, database, monkeypatch
):
    _, known = await keys.create(team.id, "build server")
    _, strange = await keys.create(team.id, "never seen here")
    principal = await keys.principal(known)

    async def away(*_):
        raise StoreUnavailable("The database is away.")

    monkeypatch.setattr(database, "read", away)
    clock.ms += 599_000
    assert await keys.principal(known) == principal
    with pytest.raises(StoreUnavailable):
        await keys.principal(strange)
    clock.ms += 2_000
    with pytest.raises(StoreUnavailable):
        await keys.principal(known)


async def test_a_key_acts_for_its_team(keys, team):
    key, text = await keys.create(team.id, "build server", default_mode="sync")
    assert await keys.principal(text) == Principal(
        team_id=team.id,
        team_name="studio",
        key_id=key.id,
        key_name="build server",
        default_mode="sync",
        user_group="default",
        limits_id=key.id,
    )


async def test_an_unknown_key_is_nobody(keys):
    assert await keys.principal(new_key_text()) is None


async def test_the_text_is_not_in_the_database(keys, team, database):
    key, text = await keys.create(team.id)
    (row,) = await database.read("SELECT * FROM api_keys")
    assert key.last4 == text[-4:]
    stored = " ".join(v.hex() if isinstance(v, bytes) else str(v) for v in row.values())
    assert text not in stored
    assert text.encode().hex() not in stored


async def test_a_key_means_nothing_under_another_secret(keys, team, database, clock):
    _, text = await keys.create(team.id)
    stranger = PostgresKeys(database, clock, Vault("another secret" * 3))
    assert await stranger.principal(text) is None


async def test_a_known_key_is_read_again_within_a_second(keys, team, clock, reads):
    _, text = await keys.create(team.id)
    reads.clear()
    for _ in range(3):
        await keys.principal(text)
    clock.turn(749)
    await keys.principal(text)
    assert reads == [keys_module.PRINCIPALS]
    clock.turn(1)
    await keys.principal(text)
    assert reads == [keys_module.PRINCIPALS] * 2


async def test_callers_who_find_their_key_stale_at_once_share_a_look(keys, team, clock, reads):
    _, text = await keys.create(team.id)
    principal = await keys.principal(text)
    clock.ms += 1_000
    reads.clear()
    found = await asyncio.gather(*[keys.principal(text) for _ in range(64)])
    assert found == [principal] * 64
    assert reads == [keys_module.PRINCIPALS]


async def test_an_unknown_key_is_read_again_after_a_second(keys, clock, reads):
    text = new_key_text()
    for turn in (0, 999, 1):
        clock.turn(turn)
        await keys.principal(text)
    assert len(reads) == 2


async def test_the_cache_is_bounded(keys, monkeypatch):
    monkeypatch.setattr(keys_module, "CACHE_MAX", 3)
    for _ in range(10):
        await keys.principal(new_key_text())
    assert len(keys._known) == 3


# --- how a key ends --------------------------------------------------------------------------


async def test_a_revoked_key_is_nobody_at_once_here_and_soon_elsewhere(
    keys, team, database, clock, vault
):
    elsewhere = PostgresKeys(database, clock, vault)
    key, text = await keys.create(team.id)
    assert await elsewhere.principal(text) is not None
    revoked = await keys.revoke(key.id)
    assert revoked.revoked_ms == START_MS
    assert await keys.principal(text) is None
    assert await elsewhere.principal(text) is not None
    clock.turn(5_000)
    assert await elsewhere.principal(text) is None


async def test_revoking_twice_keeps_the_first_time(keys, team, clock):
    key, _ = await keys.create(team.id)
    await keys.revoke(key.id)
    clock.turn(1_000)
    assert (await keys.revoke(key.id)).revoked_ms == START_MS


async def test_an_expired_key_is_nobody_even_while_it_is_cached(keys, team, clock):
    _, text = await keys.create(team.id, expires_ms=START_MS + 1_000)
    assert await keys.principal(text) is not None
    clock.turn(1_000)
    assert await keys.principal(text) is None


async def test_rotation_gives_a_new_key_and_lets_the_old_one_run_out(keys, team, clock):
    old, old_text = await keys.create(team.id, "build server", default_mode="sync")
    new, new_text = await keys.rotate(old.id, 60_000)
    assert (new.name, new.team_id, new.default_mode) == ("build server", team.id, "sync")
    assert (await keys.principal(new_text)).key_id == new.id
    assert (await keys.principal(old_text)).key_id == old.id
    assert (await keys.principal(new_text)).counted_as == old.id
    assert (await keys.principal(old_text)).counted_as == old.id
    clock.turn(60_000)
    assert await keys.principal(old_text) is None
    assert (await keys.principal(new_text)).key_id == new.id


async def test_rotation_never_lengthens_the_life_of_the_old_key(keys, team):
    old, _ = await keys.create(team.id, expires_ms=START_MS + 1_000)
    new, _ = await keys.rotate(old.id, 60_000)
    assert (await keys.key(old.id)).expires_ms == START_MS + 1_000
    assert new.expires_ms == START_MS + 1_000


async def test_a_revoked_key_is_not_rotated(keys, team):
    key, _ = await keys.create(team.id)
    await keys.revoke(key.id)
    with pytest.raises(InvalidRequest):
        await keys.rotate(key.id, 0)


# --- lists and mistakes ----------------------------------------------------------------------


async def test_keys_are_listed_by_team(keys, ledger, team):
    other = await ledger.create_team("archive")
    first, _ = await keys.create(team.id, "first")
    theirs, _ = await keys.create(other.id, "theirs")
    assert await keys.keys(team.id) == [first]
    assert await keys.keys() == [theirs, first]


async def test_mistakes_are_named(keys, team):
    with pytest.raises(NotFound):
        await keys.create("team_nobody")
    with pytest.raises(NotFound):
        await keys.revoke("key_nothing")
    with pytest.raises(InvalidRequest):
        await keys.create(team.id, default_mode="later")
    with pytest.raises(InvalidRequest):
        await keys.create(team.id, "nul\x00byte")
