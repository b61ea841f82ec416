"""API keys by their keyed hash, never by their text (port `KeyStore`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gateway.app.ports import Clock
from gateway.domain.access import ApiKey, Principal
from gateway.domain.errors import InvalidRequest, NotFound, Problem, StoreUnavailable
from gateway.stores.coalesce import Coalescer
from gateway.stores.postgres.codec import plain
from gateway.stores.postgres.database import Database
from gateway.stores.postgres.names import checked_name, is_key_text, new_id, new_key_text
from gateway.stores.postgres.vault import Vault

CACHE_MS = 5_000
UNKNOWN_CACHE_MS = 1_000
CACHE_MAX = 10_000
MODES = ("auto", "sync", "async")

# Gives whom keys act for, by their hashes; revoked ones are left out.
PRINCIPALS = """
SELECT k.hash, k.id, k.name, k.default_mode, k.expires_ms, t.id AS team_id, t.name AS team_name,
    t.user_group
FROM api_keys k JOIN teams t ON t.id = k.team_id
WHERE k.hash = ANY($1::bytea[]) AND k.revoked_ms IS NULL
"""

# Adds a key to a team.
CREATE = """
INSERT INTO api_keys (id, team_id, name, hash, last4, default_mode, created_ms, expires_ms)
SELECT $1, t.id, $3, $4, $5, $6, $7, $8 FROM teams t WHERE t.id = $2 RETURNING id
"""

_KEY = """
SELECT k.id, k.team_id, t.name AS team_name, k.name, k.last4, k.created_ms, k.default_mode,
    k.expires_ms, k.revoked_ms
FROM api_keys k JOIN teams t ON t.id = k.team_id
"""

# Gives one key.
KEY = f"{_KEY} WHERE k.id = $1"

# Gives the keys of a team or of all teams, oldest first.
KEYS = f"{_KEY} WHERE $1::text IS NULL OR k.team_id = $1 ORDER BY t.name, k.created_ms, k.id"

# Ends a key now; the first revocation stays.
REVOKE = "UPDATE api_keys SET revoked_ms = coalesce(revoked_ms, $2) WHERE id = $1 RETURNING id"

# Lets a key run out at a time, unless it does so earlier.
EXPIRE = """
UPDATE api_keys SET expires_ms = least(coalesce(expires_ms, $2), $2) WHERE id = $1 RETURNING id
"""


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of a hash: whom it acts for until when, and when that was read."""

    principal: Principal | None
    expires_ms: int | None
    read_ms: int

    def is_fresh(self, now_ms: int) -> bool:
        age_ms = now_ms - self.read_ms
        return 0 <= age_ms < (CACHE_MS if self.principal else UNKNOWN_CACHE_MS)

    def at(self, now_ms: int) -> Principal | None:
        expired = self.expires_ms is not None and self.expires_ms <= now_ms
        return None if expired else self.principal


class PostgresKeys:
    """Keys in PostgreSQL, with a cache: a revocation elsewhere is noticed within five seconds."""

    def __init__(self, database: Database, clock: Clock, vault: Vault) -> None:
        """Take the pool, the clock that ends keys, and what hashes them."""
        self._db = database
        self._clock = clock
        self._vault = vault
        self._known: dict[bytes, _Known] = {}
        self._lookups: Coalescer[bytes, _Known] = Coalescer(
            self._look_up, closed=StoreUnavailable, key=lambda h: h
        )

    async def principal(self, key_text: str) -> Principal | None:
        """Give whom a key acts for; None when mistyped, unknown, revoked or expired."""
        if not is_key_text(key_text):
            return None
        key_hash = self._vault.hash(key_text)
        now_ms = self._clock.now_ms()
        known = self._known.get(key_hash)
        if known is None or not known.is_fresh(now_ms):
            known = await self._lookups.submit(key_hash)
            self._remember(key_hash, known)
        return known.at(now_ms)

    def invalidate(self) -> None:
        """Forget what is cached, so that the next call of every key is read anew."""
        self._known.clear()

    async def _look_up(self, hashes: list[bytes]) -> Sequence[_Known]:
        now_ms = self._clock.now_ms()
        rows = {row["hash"]: row for row in await self._db.read(PRINCIPALS, hashes)}
        return [_known(rows.get(key_hash), now_ms) for key_hash in hashes]

    def _remember(self, key_hash: bytes, known: _Known) -> None:
        self._known.pop(key_hash, None)
        while len(self._known) >= CACHE_MAX:
            self._known.pop(next(iter(self._known)))
        self._known[key_hash] = known

    # --- management ------------------------------------------------------------------------

    async def create(
        self,
        team_id: str,
        name: str = "",
        *,
        default_mode: str = "auto",
        expires_ms: int | None = None,
    ) -> tuple[ApiKey, str]:
        """Add a key; gives it and its text, which is shown this once and never again.

        Raises NotFound for an unknown team, InvalidRequest for a bad name or mode.
        """
        if default_mode not in MODES:
            problem = Problem("default_mode", "This is no mode.", legal=", ".join(MODES))
            raise InvalidRequest(problem)
        key_id, text, now_ms = new_id("key"), new_key_text(), self._clock.now_ms()
        name = checked_name(name) if name else ""
        rows = await self._db.write(
            CREATE,
            key_id,
            team_id,
            name,
            self._vault.hash(text),
            text[-4:],
            default_mode,
            now_ms,
            expires_ms,
        )
        if not rows:
            raise NotFound(f"There is no team {team_id!r}.")
        self.invalidate()
        return await self.key(key_id), text

    async def key(self, key_id: str) -> ApiKey:
        """Give a key as it is shown. Raises NotFound."""
        rows = await self._db.read(KEY, plain(key_id))
        if not rows:
            raise NotFound(f"There is no key {key_id!r}.")
        return ApiKey(**rows[0])

    async def keys(self, team_id: str | None = None) -> Sequence[ApiKey]:
        """Give the keys of a team, or all, revoked ones included."""
        return [ApiKey(**row) for row in await self._db.read(KEYS, team_id)]

    async def revoke(self, key_id: str) -> ApiKey:
        """End a key now. Other processes notice within five seconds. Raises NotFound."""
        await self._db.write(REVOKE, plain(key_id), self._clock.now_ms())
        self.invalidate()
        return await self.key(key_id)

    async def rotate(self, key_id: str, overlap_ms: int) -> tuple[ApiKey, str]:
        """Give a new key like this one, and its text; the old one ends after ``overlap_ms``.

        Raises NotFound, and InvalidRequest when the old one has been revoked.
        """
        old = await self.key(key_id)
        if old.revoked_ms is not None:
            raise InvalidRequest(Problem("key", "A revoked key cannot be rotated."))
        created, text = await self.create(
            old.team_id, old.name, default_mode=old.default_mode, expires_ms=old.expires_ms
        )
        await self._db.write(EXPIRE, old.id, self._clock.now_ms() + overlap_ms)
        self.invalidate()
        return created, text


def _known(row: Any, now_ms: int) -> _Known:
    if row is None:
        return _Known(None, None, now_ms)
    principal = Principal(
        team_id=row["team_id"],
        team_name=row["team_name"],
        key_id=row["id"],
        key_name=row["name"],
        default_mode=row["default_mode"],
        user_group=row["user_group"],
    )
    return _Known(principal, row["expires_ms"], now_ms)
