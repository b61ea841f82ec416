"""Passwords and sessions of operators (port `Logins`)."""

from __future__ import annotations

import base64
from dataclasses import replace
from secrets import token_urlsafe
from typing import Any

from gateway.app.ports import Clock
from gateway.app.ports.admin import Page
from gateway.domain.administration import ADMIN_KEY, COMMAND_LINE, NOBODY, Actor, Ask
from gateway.domain.errors import InUse, NotFound
from gateway.domain.login import (
    ADMIN_KEY_METHOD,
    KNOWN_MS,
    LoginRefused,
    OpenSession,
    Session,
    SessionRules,
    Verified,
    check_password,
)
from gateway.domain.money import MICRO_MAX
from gateway.stores.postgres.changes import Change, Changes
from gateway.stores.postgres.codec import plain
from gateway.stores.postgres.cursors import cursor_of, read_cursor
from gateway.stores.postgres.database import Database
from gateway.stores.postgres.names import new_id
from gateway.stores.postgres.operators import actor_of
from gateway.stores.postgres.passwords import Passwords
from gateway.stores.postgres.vault import Vault

SESSION_PREFIX = "se-igw-"
TOKEN_BYTES = 32
# As much of a session's id as the audit log shows.
SHOWN = 12
# A session that is used is written to this often at most: what counts is hours.
SEEN_EVERY_MS = 60_000

# Gives the operator of a name with its password, if it has one.
OF_NAME = """
SELECT o.id, o.name, o.role, o.team_id, p.hash, p.version
FROM operators o LEFT JOIN operator_passwords p ON p.operator_id = o.id
WHERE o.name = $1 AND o.revoked_ms IS NULL
"""

# Gives the name of an operator, and keeps the row from changing until the commit.
LOCK = "SELECT name FROM operators WHERE id = $1 FOR UPDATE"
HOLD = "SELECT id FROM operators WHERE id = $1 AND revoked_ms IS NULL FOR SHARE"

# Gives a row while an operator's password is still the one that was looked at.
UNCHANGED = "SELECT FROM operator_passwords WHERE operator_id = $1 AND version = $2"

# Sets a password.
SET = """
INSERT INTO operator_passwords AS p (operator_id, hash, set_ms) VALUES ($1, $2, $3)
ON CONFLICT (operator_id) DO UPDATE
SET hash = excluded.hash, set_ms = excluded.set_ms, version = p.version + 1
"""

# Gives a row for an operator whom an issuer answers for.
ELSEWHERE = "SELECT FROM operator_subjects WHERE operator_id = $1"

# Keeps the same password hashed harder.
REHASH = "UPDATE operator_passwords SET hash = $3 WHERE operator_id = $1 AND version = $2"

# Opens a session.
OPEN = """
INSERT INTO operator_sessions
    (hash, id, operator_id, admin_key, address, method, created_ms, seen_ms)
VALUES ($1, $2, $3, $4, $5, $6, $7, $7)
"""

# Gives a session that has not ended, begun after $2 and used after $3, with its operator of now.
FIND = """
SELECT s.id AS session_id, s.admin_key, s.method, s.created_ms, s.seen_ms, o.id, o.name, o.role,
    o.team_id
FROM operator_sessions s
LEFT JOIN operators o ON o.id = s.operator_id AND o.revoked_ms IS NULL
WHERE s.hash = $1 AND s.ended_ms IS NULL AND s.created_ms > $2 AND s.seen_ms > $3
"""

# Gives a page of sessions that hold, newest first, after a (created_ms, id): as FIND would find
# them, of one operator or of the admin key.
_PAGE = """
SELECT s.id, s.operator_id, s.method, s.created_ms, s.seen_ms
FROM operator_sessions s LEFT JOIN operators o ON o.id = s.operator_id
WHERE s.{owner} = $1 AND s.ended_ms IS NULL AND s.created_ms > $2 AND s.seen_ms > $3
    AND o.revoked_ms IS NULL AND (s.created_ms, s.id) < ($4, $5)
ORDER BY s.created_ms DESC, s.id DESC LIMIT $6
"""
PAGE_OF_OPERATOR = _PAGE.format(owner="operator_id")
PAGE_OF_ADMIN_KEY = _PAGE.format(owner="admin_key")

# Says that a session was used.
SEEN = "UPDATE operator_sessions SET seen_ms = $2 WHERE hash = $1 AND seen_ms < $2"

# Ends a session, the session of a token, those of an operator or of the admin key.
END = "UPDATE operator_sessions SET ended_ms = $2 WHERE id = $1 AND ended_ms IS NULL RETURNING id"
END_REPLACED = "UPDATE operator_sessions SET ended_ms = $2 WHERE hash = $1 AND ended_ms IS NULL"
END_OF = """
UPDATE operator_sessions SET ended_ms = $2 WHERE operator_id = $1 AND ended_ms IS NULL
RETURNING id
"""
END_OTHERS = """
UPDATE operator_sessions SET ended_ms = $2
WHERE operator_id = $1 AND id <> $3 AND ended_ms IS NULL RETURNING id
"""
END_ONE = f"""
UPDATE operator_sessions SET ended_ms = $2
WHERE id = $1 AND ended_ms IS NULL
    AND ($3::text IS NULL OR coalesce(operator_id, '{ADMIN_KEY.id}') = $3)
RETURNING coalesce(operator_id, '{ADMIN_KEY.id}') AS owner
"""
END_OF_ADMIN_KEY = """
UPDATE operator_sessions SET ended_ms = $1 WHERE operator_id IS NULL AND ended_ms IS NULL
RETURNING id
"""

# Gives a row while a session has not ended.
NOT_ENDED = "SELECT FROM operator_sessions WHERE id = $1 AND ended_ms IS NULL"

# Gives a row when the operator of a name logged in from an address after a time.
KNOWN = """
SELECT FROM operator_sessions s JOIN operators o ON o.id = s.operator_id
WHERE o.name = $1 AND s.address = $2 AND s.created_ms > $3 LIMIT 1
"""

# Forgets sessions that began before a time.
FORGET = "DELETE FROM operator_sessions WHERE created_ms < $1"


class PostgresLogins:
    """Logins in PostgreSQL. A session is looked up each time: what ends it holds at once."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        vault: Vault,
        passwords: Passwords,
        rules: SessionRules,
        admin_key: str = "",
    ) -> None:
        """Take the pool, the clock, what hashes tokens and passwords, and how long sessions last.

        Sessions opened with another admin key than ``admin_key`` are none.
        """
        self._db = database
        self._clock = clock
        self._vault = vault
        self._changes = Changes(database, clock, vault)
        self._passwords = passwords
        self.rules = rules
        self._admin_key = vault.hash(f"admin key {admin_key}")

    # --- passwords -------------------------------------------------------------------------

    async def verified(self, name: str, password: str) -> Verified | None:
        """Give whose password this is; None takes as long for a name that nobody has.

        Raises Unavailable when too many log in at once.
        """
        rows = await self._db.read(OF_NAME, plain(name))
        kept: str | None = rows[0]["hash"] if rows else None
        if not await self._passwords.is_right(password, kept) or kept is None:
            return None
        found = rows[0]
        if self._passwords.is_old(kept):
            harder = await self._passwords.hash(password)
            await self._db.write(REHASH, found["id"], found["version"], harder)
        return Verified(actor_of(found), found["version"])

    async def operator_named(self, name: str) -> str | None:
        """Give the id of the operator of a name, None without one that is not revoked."""
        rows = await self._db.read(OF_NAME, plain(name))
        return rows[0]["id"] if rows else None

    async def set_password(self, operator_id: str, password: str, ask: Ask = COMMAND_LINE) -> None:
        """Set an operator's password and end all its sessions.

        Raises NotFound, InvalidRequest, InUse for one who logs in at an issuer.
        """
        check_password(password, "")
        hashed = await self._passwords.hash(password)
        async with self._changes.begin(ask) as change:
            row = await change.connection.fetchrow(LOCK, plain(operator_id))
            if row is None:
                raise _unknown(operator_id)
            check_password(password, row["name"])
            await _set(change, operator_id, hashed)

    async def change_password(
        self, session: Session, verified: Verified, password: str, ask: Ask
    ) -> int:
        """Set the password of whom a session is, and end the other ones; gives how many ended.

        Raises InvalidRequest, InUse for one who logs in at an issuer, LoginRefused when the
        password was changed meanwhile or the session has ended.
        """
        operator_id = verified.actor.id
        check_password(password, verified.actor.name)
        hashed = await self._passwords.hash(password)
        async with self._changes.begin(ask) as change:
            await change.connection.execute(LOCK, operator_id)
            await _still(change.connection, verified)
            if not await change.connection.fetch(NOT_ENDED, session.id):
                raise LoginRefused("This login has ended; log in again.")
            return await _set(change, operator_id, hashed, keep=session.id)

    # --- sessions --------------------------------------------------------------------------

    async def is_known(self, name: str, sender: str) -> bool:
        """Whether the operator of a name logged in from there lately."""
        since_ms = self._clock.now_ms() - KNOWN_MS
        return bool(await self._db.read(KNOWN, plain(name), self._address(sender), since_ms))

    async def open(
        self, who: Verified, method: str, sender: str, *, replaces: str = "", request_id: str = ""
    ) -> tuple[Session, str]:
        """Open a session, ending the one whose token is ``replaces``; gives it and its token.

        Raises LoginRefused when the operator was revoked or got another password meanwhile.
        """
        token, session_id = SESSION_PREFIX + token_urlsafe(TOKEN_BYTES), new_id("ses")
        by_key = method == ADMIN_KEY_METHOD
        owner = (None, self._admin_key) if by_key else (who.actor.id, None)
        actor = replace(who.actor, session=session_id[:SHOWN])
        async with self._changes.begin(Ask(actor, request_id)) as change:
            if not by_key:
                await _still(change.connection, who)
            about = (*owner, self._address(sender), method, change.at_ms)
            await change.connection.execute(OPEN, self._vault.hash(token), session_id, *about)
            if replaces:
                gone = self._vault.hash(replaces)
                await change.connection.execute(END_REPLACED, gone, change.at_ms)
            kept_ms = max(KNOWN_MS, self.rules.max_ms)
            await change.connection.execute(FORGET, change.at_ms - kept_ms)
            after = {"method": method, "address": sender}
            await change.record("session.login", actor.id, after=after)
        ends_ms = self.rules.ends_ms(change.at_ms, change.at_ms)
        session = Session(session_id, actor, self._csrf(token), method, change.at_ms, ends_ms)
        return session, token

    async def find(self, token: str) -> Session | None:
        """Give the session of a token, None when it ended or its operator was revoked."""
        if not token.startswith(SESSION_PREFIX):
            return None
        hashed, now_ms = self._vault.hash(token), self._clock.now_ms()
        since = (now_ms - self.rules.max_ms, now_ms - self.rules.idle_ms)
        rows = await self._db.read(FIND, hashed, *since)
        actor = self._actor(rows[0]) if rows else None
        if actor is None:
            return None
        row = rows[0]
        if now_ms - row["seen_ms"] >= SEEN_EVERY_MS:
            await self._db.write(SEEN, hashed, now_ms)
        ends_ms = self.rules.ends_ms(row["created_ms"], now_ms)
        about = (row["method"], row["created_ms"], ends_ms)
        return Session(row["session_id"], actor, self._csrf(token), *about)

    async def end(self, session_id: str, ask: Ask) -> None:
        """End a session now, in every process; twice is once."""
        async with self._changes.begin(ask) as change:
            if await change.connection.fetch(END, session_id, change.at_ms):
                await change.record("session.logout", ask.actor.id)

    async def open_page(
        self, operator_id: str, limit: int, cursor: str | None
    ) -> Page[OpenSession]:
        """Give a page of the logins of an operator, or of the admin key, that hold now.

        Newest first. Raises InvalidRequest for a cursor that is none of ours.
        """
        by_key, now_ms = operator_id == ADMIN_KEY.id, self._clock.now_ms()
        sql = PAGE_OF_ADMIN_KEY if by_key else PAGE_OF_OPERATOR
        owner = self._admin_key if by_key else plain(operator_id)
        since = (now_ms - self.rules.max_ms, now_ms - self.rules.idle_ms)
        after = read_cursor(cursor) if cursor else (MICRO_MAX, "")
        rows = await self._db.read(sql, owner, *since, *after, limit + 1)
        found = tuple(self._open(row) for row in rows[:limit])
        return Page(found, cursor_of(found[-1]) if len(rows) > limit else None)

    async def end_one(self, session_id: str, owner: str | None, ask: Ask) -> None:
        """End a login, only one of ``owner`` where that is given. Raises NotFound."""
        async with self._changes.begin(ask) as change:
            found = (plain(session_id), change.at_ms, owner)
            ended = await change.connection.fetchrow(END_ONE, *found)
            if ended is None:
                raise NotFound(f"There is no open login {session_id[:80]!r}.")
            after = {"session": session_id[:SHOWN]}
            await change.record("session.end", ended["owner"], after=after)

    async def end_all(self, operator_id: str, ask: Ask) -> int:
        """End all sessions of an operator, or of the admin key; gives how many. Raises NotFound."""
        async with self._changes.begin(ask) as change:
            if operator_id == ADMIN_KEY.id:
                ended = await change.connection.fetch(END_OF_ADMIN_KEY, change.at_ms)
            elif await change.connection.fetchrow(LOCK, plain(operator_id)) is None:
                raise _unknown(operator_id)
            else:
                ended = await change.connection.fetch(END_OF, operator_id, change.at_ms)
            await change.record("operator.end_sessions", operator_id, after={"ended": len(ended)})
        return len(ended)

    async def refused(self, subject: str, method: str, sender: str, request_id: str) -> None:
        """Write the audit row of a failed login."""
        async with self._changes.begin(Ask(NOBODY, request_id)) as change:
            after = {"method": method, "address": sender}
            await change.record("session.refused", subject, after=after)

    def _open(self, row: Any) -> OpenSession:
        ends_ms = self.rules.ends_ms(row["created_ms"], row["seen_ms"])
        owner = row["operator_id"] or ADMIN_KEY.id
        times = (row["created_ms"], row["seen_ms"], ends_ms)
        return OpenSession(row["id"], owner, row["method"], *times)

    def _actor(self, row: Any) -> Actor | None:
        if row["admin_key"] is not None:
            found = ADMIN_KEY if row["admin_key"] == self._admin_key else None
        else:
            found = None if row["id"] is None else actor_of(row)
        return found and replace(found, session=row["session_id"][:SHOWN])

    def _csrf(self, token: str) -> str:
        return base64.urlsafe_b64encode(self._vault.hash(f"csrf {token}")).decode().rstrip("=")

    def _address(self, sender: str) -> bytes:
        return self._vault.hash(f"address {sender}")


async def _set(change: Change, operator_id: str, hashed: str, keep: str = "") -> int:
    """Set a password and end all sessions but one; gives how many. Raises InUse."""
    if await change.connection.fetch(ELSEWHERE, operator_id):
        raise InUse("This operator logs in at the issuer and has no password here.")
    await change.connection.execute(SET, operator_id, hashed, change.at_ms)
    ended = await change.connection.fetch(END_OTHERS, operator_id, change.at_ms, keep)
    after = {"sessions_ended": len(ended)}
    await change.record("operator.password", operator_id, after=after)
    return len(ended)


async def _still(connection: Any, who: Verified) -> None:
    """Raise LoginRefused unless an operator may still log in as it was verified."""
    held = await connection.fetch(HOLD, who.actor.id)
    # Looked up after the lock was granted: a password set meanwhile is seen.
    if held and who.version is not None:
        held = await connection.fetch(UNCHANGED, who.actor.id, who.version)
    if not held:
        raise LoginRefused


def _unknown(operator_id: str) -> NotFound:
    return NotFound(f"There is no operator {operator_id[:80]!r}.")
