"""Changes by operators: what changes, its audit row and its Idempotency-Key commit together."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from gateway.app.ports import Clock
from gateway.app.ports.admin import Page
from gateway.domain.administration import Ask, AuditEntry
from gateway.domain.errors import IdempotencyConflict, RepeatedChange, VersionConflict
from gateway.domain.money import MICRO_MAX
from gateway.stores.postgres.codec import plain
from gateway.stores.postgres.database import Database
from gateway.stores.postgres.vault import Vault

REPEAT_MS = 24 * 3_600_000

# Claims an Idempotency-Key, one that is older than a day too; gives nothing when it is in use,
# also in plain text ($7), as versions before stored it. Of two claims at once the second waits
# for the first one's commit.
CLAIM = """
INSERT INTO admin_repeats AS r (actor_id, scope, key, fingerprint, created_ms)
SELECT $1::text, $2::text, $3::text, $4::bytea, $5::bigint
WHERE NOT EXISTS (
    SELECT FROM admin_repeats o WHERE o.actor_id = $1::text AND o.scope = $2::text
    AND o.key = $7 AND o.created_ms >= $5::bigint - $6
)
ON CONFLICT (actor_id, scope, key) DO UPDATE
SET fingerprint = excluded.fingerprint, subject = NULL, sealed = NULL,
    created_ms = excluded.created_ms
WHERE r.created_ms < excluded.created_ms - $6
RETURNING key
"""

# Gives what was made under an Idempotency-Key.
MADE = """
SELECT fingerprint, subject, sealed FROM admin_repeats
WHERE actor_id = $1 AND scope = $2 AND key = ANY($3::text[]) ORDER BY created_ms DESC LIMIT 1
"""

# Keeps what was made under a claimed key.
KEEP = """
UPDATE admin_repeats SET subject = $4, sealed = $5
WHERE actor_id = $1 AND scope = $2 AND key = $3
"""

# Writes one line of the audit log.
RECORD = """
INSERT INTO audit (at_ms, actor_id, actor_name, session, action, subject, request_id, before, after)
VALUES ($1, $2, $3, nullif($4, ''), $5, $6, $7, $8::jsonb, $9::jsonb)
"""

# Gives a page of the audit log, newest first.
AUDIT = """
SELECT id, at_ms, actor_id, actor_name, session, action, subject, request_id, before, after
FROM audit WHERE id < $1 AND ($2::text IS NULL OR subject = $2)
    AND ($3::text IS NULL OR actor_id = $3)
ORDER BY id DESC LIMIT $4
"""


@dataclass(frozen=True, slots=True)
class Change:
    """A change under way, inside its transaction."""

    connection: Any
    ask: Ask
    at_ms: int
    vault: Vault

    async def record(
        self,
        action: str,
        subject: str,
        *,
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
    ) -> None:
        """Write the audit row; ``before`` and ``after`` hold no secrets."""
        await self.connection.execute(
            RECORD,
            self.at_ms,
            self.ask.actor.id,
            self.ask.actor.name,
            self.ask.actor.session,
            action,
            subject,
            self.ask.request_id,
            None if before is None else json.dumps(before),
            None if after is None else json.dumps(after),
        )

    async def made(self, subject: str, secret: str | None = None) -> None:
        """Keep what was made, so that a repetition of the call is answered with the same."""
        if (mark := self.ask.mark) is not None:
            sealed = None if secret is None else self.vault.seal(secret, subject)
            key = self.vault.repeat_key(self.ask.actor.id, mark.key)
            keys = (self.ask.actor.id, mark.scope, key)
            await self.connection.execute(KEEP, *keys, subject, sealed)

    def expect(self, version: int) -> None:
        """Raise VersionConflict unless the caller saw this version, or did not say."""
        if self.ask.version is not None and self.ask.version != version:
            raise VersionConflict


class Changes:
    """Begins changes, and reads the log they leave."""

    def __init__(self, database: Database, clock: Clock, vault: Vault) -> None:
        """Take the pool, the clock that dates changes, and what seals kept secrets."""
        self._db = database
        self._clock = clock
        self._vault = vault

    @asynccontextmanager
    async def begin(self, ask: Ask) -> AsyncGenerator[Change]:
        """Give a change, committed at the end of the block and undone by any error in it.

        Raises RepeatedChange when the same call was made before, IdempotencyConflict when
        another one was under its key.
        """
        now_ms = self._clock.now_ms()
        async with self._db.transaction() as connection:
            if ask.mark is not None:
                await self._claim(connection, ask, now_ms)
            yield Change(connection, ask, now_ms, self._vault)

    async def _claim(self, connection: Any, ask: Ask, now_ms: int) -> None:
        mark = ask.mark
        assert mark is not None
        scope = (ask.actor.id, mark.scope)
        key = self._vault.repeat_key(ask.actor.id, mark.key)
        claim = (*scope, key, mark.fingerprint, now_ms, REPEAT_MS, mark.key)
        if await connection.fetch(CLAIM, *claim):
            return
        made = await connection.fetchrow(MADE, *scope, [key, mark.key])
        if made["fingerprint"] != mark.fingerprint:
            raise IdempotencyConflict
        subject, sealed = made["subject"], made["sealed"]
        raise RepeatedChange(subject, sealed and self._vault.open(sealed, subject))

    async def log(
        self,
        limit: int,
        before_id: int | None = None,
        *,
        subject: str | None = None,
        actor_id: str | None = None,
    ) -> Page[AuditEntry]:
        """Give a page of the audit log, newest first; ``cursor`` is the last entry's id."""
        rows = await self._db.read(
            AUDIT,
            MICRO_MAX if before_id is None else before_id,
            subject and plain(subject),
            actor_id and plain(actor_id),
            limit + 1,
        )
        entries = tuple(_entry(row) for row in rows[:limit])
        return Page(entries, str(entries[-1].id) if len(rows) > limit else None)


def _entry(row: Any) -> AuditEntry:
    fields = dict(row)
    for name in ("before", "after"):
        fields[name] = None if fields[name] is None else json.loads(fields[name])
    return AuditEntry(**fields)
