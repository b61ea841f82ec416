"""Sessions and passwords on PostgreSQL: when they end, what is kept of them, and races."""

from __future__ import annotations

import asyncio

import pytest
from argon2 import PasswordHasher

from gateway.domain.administration import ADMIN_KEY, COMMAND_LINE, Ask, Role
from gateway.domain.errors import InvalidRequest, NotFound, Unavailable
from gateway.domain.login import KNOWN_MS, LoginRefused, SessionRules, Verified
from gateway.stores.postgres import passwords as hashing
from gateway.stores.postgres.logins import PostgresLogins
from gateway.stores.postgres.operators import PostgresOperators
from gateway.stores.postgres.passwords import Passwords

HOUR_MS = 3_600_000
RULES = SessionRules(12 * HOUR_MS, 7 * 24 * HOUR_MS)
QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
PASSWORD = "correct horse battery"
HERE = "192.0.2.7"


@pytest.fixture
def logins(database, clock, vault):
    return PostgresLogins(database, clock, vault, Passwords(vault, QUICK), RULES, "the-key")


@pytest.fixture
async def ada(database, clock, vault, logins):
    made, _ = await PostgresOperators(database, clock, vault).create_operator("ada", Role.VIEWER)
    await logins.set_password(made.id, PASSWORD)
    return made


async def opened(logins, sender=HERE):
    found = await logins.verified("ada", PASSWORD)
    return await logins.open(found, "password", sender)


async def test_a_session_that_is_used_lasts_a_week_and_no_longer(logins, ada, clock):
    session, token = await opened(logins)
    assert session.expires_ms == clock.now_ms() + 12 * HOUR_MS
    found = session
    for _ in range(16):
        clock.turn(10 * HOUR_MS)
        found = await logins.find(token)
        assert (found.id, found.actor.id) == (session.id, ada.id)
    assert found.expires_ms == session.created_ms + RULES.max_ms
    clock.turn(8 * HOUR_MS)
    assert await logins.find(token) is None


async def test_a_session_that_is_not_used_ends(logins, ada, clock):
    _, token = await opened(logins)
    clock.turn(12 * HOUR_MS - 1)
    assert await logins.find(token) is not None
    clock.turn(12 * HOUR_MS)
    assert await logins.find(token) is None


async def test_nothing_that_is_kept_logs_in(logins, ada, database):
    session, token = await opened(logins)
    kept = str([tuple(row) for row in await database.read("SELECT * FROM operator_sessions")])
    kept += str([tuple(row) for row in await database.read("SELECT * FROM operator_passwords")])
    for secret in (token, session.csrf, PASSWORD, HERE):
        assert secret not in kept
        assert secret.encode().hex() not in kept
    assert "$argon2id$" in kept
    assert await logins.find(token + "x") is None
    assert await logins.find("op-igw-nothing") is None


async def test_a_password_hashed_less_hard_is_hashed_anew_at_the_next_login(
    logins, ada, database, clock, vault
):
    harder = PasswordHasher(time_cost=2, memory_cost=16, parallelism=1)
    later = PostgresLogins(database, clock, vault, Passwords(vault, harder), RULES)
    both = await asyncio.gather(*(later.verified("ada", PASSWORD) for _ in range(2)))
    for found in both:
        await later.open(found, "password", HERE)
    (row,) = await database.read("SELECT hash, version FROM operator_passwords")
    assert "m=16,t=2" in row["hash"]
    assert row["version"] == 1
    assert (await later.verified("ada", PASSWORD)).actor.name == "ada"
    assert await later.verified("ada", PASSWORD + "!") is None


async def test_a_password_is_the_same_however_its_letters_are_composed(logins, ada):
    await logins.set_password(ada.id, "r\u00e9sum\u00e9 of ada")
    assert await logins.verified("ada", "re\u0301sume\u0301 of ada") is not None


async def test_a_name_that_nobody_has_takes_a_hash_too(logins, ada, monkeypatch):
    checked = []
    verify = PasswordHasher.verify

    def counted(self, *what):
        checked.append(what)
        return verify(self, *what)

    monkeypatch.setattr(PasswordHasher, "verify", counted)
    for name in ("nobody", "ada"):
        assert await logins.verified(name, "the wrong password") is None
    assert len(checked) == 2


async def test_a_password_set_meanwhile_lets_no_older_one_in(logins, ada):
    found = await logins.verified("ada", PASSWORD)
    await logins.set_password(ada.id, "another password of ada")
    with pytest.raises(LoginRefused):
        await logins.open(found, "password", HERE)


async def test_a_login_waits_for_a_password_that_is_being_set(logins, ada, database):
    found = await logins.verified("ada", PASSWORD)
    async with database.transaction() as connection:
        await connection.execute("SELECT FROM operators WHERE id = $1 FOR UPDATE", ada.id)
        waiting = asyncio.create_task(logins.open(found, "password", HERE))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        await connection.execute("UPDATE operator_passwords SET version = version + 1")
    with pytest.raises(LoginRefused):
        await waiting


async def test_a_new_password_ends_what_is_open(logins, ada):
    _, token = await opened(logins)
    await logins.set_password(ada.id, "another password of ada")
    assert await logins.find(token) is None


async def test_another_admin_key_ends_the_sessions_of_the_one_before(
    logins, database, clock, vault
):
    _, token = await logins.open(Verified(ADMIN_KEY), "admin_key", HERE)
    assert (await logins.find(token)).actor.role is Role.ADMIN
    quick = Passwords(vault, QUICK)
    changed = PostgresLogins(database, clock, vault, quick, RULES, "another-key")
    assert await changed.find(token) is None


async def test_where_an_operator_logged_in_is_known_for_a_while(logins, ada, clock):
    await opened(logins)
    assert await logins.is_known("ada", HERE)
    assert not await logins.is_known("ada", "192.0.2.8")
    assert not await logins.is_known("nobody", HERE)
    clock.turn(KNOWN_MS)
    assert not await logins.is_known("ada", HERE)


async def test_old_sessions_are_forgotten(logins, ada, clock, database):
    await opened(logins)
    clock.turn(KNOWN_MS + 1)
    await opened(logins)
    assert len(await database.read("SELECT FROM operator_sessions")) == 1


async def test_all_logins_of_an_operator_or_of_the_admin_key_end_at_once(logins, ada):
    tokens = [(await opened(logins))[1] for _ in range(3)]
    _, by_key = await logins.open(Verified(ADMIN_KEY), "admin_key", HERE)
    assert await logins.end_all(ada.id, COMMAND_LINE) == 3
    assert [await logins.find(token) for token in tokens] == [None] * 3
    assert await logins.find(by_key) is not None
    assert await logins.end_all(ADMIN_KEY.id, COMMAND_LINE) == 1
    assert await logins.find(by_key) is None
    with pytest.raises(NotFound):
        await logins.end_all("op_none", COMMAND_LINE)


async def test_only_logins_that_hold_are_listed(logins, ada, clock, database, vault):
    async def listed(of=ada.id, by=logins):
        return [one.id for one in (await by.open_page(of, 10, None)).items]

    unused, _ = await opened(logins)
    clock.turn(10 * HOUR_MS)
    used, token = await opened(logins)
    by_key, _ = await logins.open(Verified(ADMIN_KEY), "admin_key", HERE)
    assert await listed() == [used.id, unused.id]
    clock.turn(2 * HOUR_MS)
    assert await listed() == [used.id]
    await logins.find(token)
    (one,) = (await logins.open_page(ada.id, 10, None)).items
    assert (one.seen_ms, one.created_ms) == (clock.now_ms(), used.created_ms)
    assert one.expires_ms == clock.now_ms() + RULES.idle_ms
    assert await listed(ADMIN_KEY.id) == [by_key.id]
    changed = PostgresLogins(database, clock, vault, Passwords(vault, QUICK), RULES, "another-key")
    assert await listed(ADMIN_KEY.id, changed) == []
    await PostgresOperators(database, clock, vault).revoke_operator(ada.id)
    assert await listed() == []


async def test_a_login_that_was_ended_changes_no_password(logins, ada):
    session, _ = await opened(logins)
    found = await logins.verified("ada", PASSWORD)
    await logins.end_one(session.id, None, COMMAND_LINE)
    with pytest.raises(LoginRefused):
        await logins.change_password(session, found, "another password of ada", COMMAND_LINE)
    assert await logins.verified("ada", PASSWORD) is not None


async def test_of_two_changes_by_one_password_one_counts(logins, ada):
    session, token = await opened(logins)
    found = await logins.verified("ada", PASSWORD)
    ask = Ask(session.actor)
    words = [f"password number {number}" for number in range(3)]
    done = await asyncio.gather(
        *(logins.change_password(session, found, word, ask) for word in words),
        return_exceptions=True,
    )
    assert sorted(str(type(one).__name__) for one in done) == ["LoginRefused"] * 2 + ["int"]
    (right,) = [word for word in words if await logins.verified("ada", word)]
    assert done[words.index(right)] == 0
    assert await logins.find(token) is not None


async def test_what_is_wrong_changes_nothing(logins, ada):
    _, token = await opened(logins)
    with pytest.raises(InvalidRequest):
        await logins.set_password(ada.id, "short")
    with pytest.raises(NotFound):
        await logins.set_password("op_none", PASSWORD)
    assert await logins.find(token) is not None


async def test_a_login_ended_twice_is_one_line_of_the_log(logins, ada, database):
    session, _ = await opened(logins)
    for _ in range(2):
        await logins.end(session.id, Ask(session.actor))
    rows = await database.read("SELECT action, session FROM audit ORDER BY id")
    told = [tuple(row) for row in rows if row["action"].startswith("session.")]
    assert told == [(f"session.{what}", session.id[:12]) for what in ("login", "logout")]


async def test_too_many_logins_at_once_are_refused(vault, monkeypatch):
    monkeypatch.setattr(hashing, "WAITING_MAX", 3)
    slow = Passwords(vault)
    tries = [slow.is_right("any", None) for _ in range(5)]
    found = await asyncio.gather(*tries, return_exceptions=True)
    assert [type(one) for one in found] == [bool] * 3 + [Unavailable] * 2
