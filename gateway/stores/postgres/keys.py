"""API keys by their keyed hash, never by their text (port `KeyStore`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from gateway.app.ports import Clock
from gateway.app.ports.admin import Page
from gateway.domain.access import ANYTHING, CAPS, RULES, ApiKey, KeyRules, Principal
from gateway.domain.administration import COMMAND_LINE, Ask
from gateway.domain.caps import Counts, month_number
from gateway.domain.errors import InvalidRequest, NotFound, Problem, StoreUnavailable
from gateway.domain.money import MICRO_MAX, format_micro
from gateway.stores.coalesce import Coalescer
from gateway.stores.postgres.changes import Change, Changes
from gateway.stores.postgres.codec import plain
from gateway.stores.postgres.cursors import cursor_of, read_cursor
from gateway.stores.postgres.database import Database
from gateway.stores.postgres.names import checked_name, is_key_text, new_id, new_key_text
from gateway.stores.postgres.vault import Vault

# A revocation, by whatever process, must bite everywhere within a second. Looking again this
# often needs no message that could be lost, and costs a busy key one shared query a second.
CACHE_MS = 750
UNKNOWN_CACHE_MS = 1_000
# While the database is away nobody revokes a key either: polling goes on with what was known.
AWAY_CACHE_MS = 600_000
CACHE_MAX = 10_000
MODES = ("auto", "sync", "async")

_RULES = ", ".join(f"k.{name}" for name in RULES)

_PRINCIPAL = f"""
SELECT k.hash, k.id, k.name, k.default_mode, k.expires_ms, t.id AS team_id, t.name AS team_name,
    t.user_group, t.suspended_ms IS NOT NULL AS suspended, k.limits_id, {_RULES}
FROM api_keys k JOIN teams t ON t.id = k.team_id
"""

# Gives whom keys act for, by their hashes; revoked ones are left out.
PRINCIPALS = f"{_PRINCIPAL} WHERE k.hash = ANY($1::bytea[]) AND k.revoked_ms IS NULL"

# The same of one key, by its id.
PRINCIPAL_OF = f"{_PRINCIPAL} WHERE k.id = $1 AND k.revoked_ms IS NULL"

# Adds a key to a team; one that replaces another ($9) shares what is counted for its limits.
CREATE = f"""
INSERT INTO api_keys (id, team_id, name, hash, last4, default_mode, created_ms, expires_ms,
    limits_id, {", ".join(RULES)})
SELECT $1, t.id, $3, $4, $5, $6, $7, $8, $9, {", ".join(f"${10 + no}" for no in range(len(RULES)))}
FROM teams t WHERE t.id = $2 RETURNING id
"""

_KEY = f"""
SELECT k.id, k.team_id, t.name AS team_name, k.name, k.last4, k.created_ms, k.default_mode,
    k.expires_ms, k.revoked_ms, k.version, k.limits_id, c.running, c.held, c.spent, c.month,
    c.month_spent, {_RULES}
FROM api_keys k JOIN teams t ON t.id = k.team_id JOIN key_counts c ON c.key_id = k.limits_id
"""

# Gives one key.
KEY = f"{_KEY} WHERE k.id = $1"

# Gives one key and keeps it from changing until the commit.
LOCK = f"{KEY} FOR UPDATE OF k"

# Gives the keys of a team or of all teams, oldest first.
KEYS = f"{_KEY} WHERE $1::text IS NULL OR k.team_id = $1 ORDER BY t.name, k.created_ms, k.id"

# Gives a page of keys, newest first, after a (created_ms, id).
PAGE = f"""
{_KEY} WHERE (k.created_ms, k.id) < ($1, $2) AND ($3::text IS NULL OR k.team_id = $3)
ORDER BY k.created_ms DESC, k.id DESC LIMIT $4
"""

# Changes a key.
UPDATE = f"""
UPDATE api_keys SET version = version + 1, name = $2, default_mode = $3, expires_ms = $4,
    revoked_ms = $5, {", ".join(f"{name} = ${6 + no}" for no, name in enumerate(RULES))}
WHERE id = $1
"""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What of a key can be changed."""

    name: str
    default_mode: str
    expires_ms: int | None
    revoked_ms: int | None
    rules: KeyRules


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
    """Keys in PostgreSQL, with a cache: a revocation elsewhere is noticed within a second."""

    def __init__(self, database: Database, clock: Clock, vault: Vault) -> None:
        """Take the pool, the clock that ends keys, and what hashes them."""
        self._db = database
        self._clock = clock
        self._vault = vault
        self._changes = Changes(database, clock, vault)
        self._known: dict[bytes, _Known] = {}
        self._lookups: Coalescer[bytes, _Known] = Coalescer(self._look_up, closed=StoreUnavailable)

    async def principal(self, key_text: str) -> Principal | None:
        """Give whom a key acts for; None when mistyped, unknown, revoked or expired.

        Raises StoreUnavailable for a key that was not seen in the last ten minutes.
        """
        key_hash = self._vault.hash(key_text)
        now_ms = self._clock.now_ms()
        known = self._known.get(key_hash)
        if known is None or not known.is_fresh(now_ms):
            if not is_key_text(key_text):
                return None
            known = await self._read(key_hash, known, now_ms)
        return known.at(now_ms)

    async def principal_of(self, key_id: str) -> Principal | None:
        """Give whom a key acts for now; None when revoked or expired. Raises StoreUnavailable."""
        now_ms = self._clock.now_ms()
        rows = await self._db.read(PRINCIPAL_OF, key_id)
        return _known(rows[0] if rows else None, now_ms).at(now_ms)

    async def _read(self, key_hash: bytes, old: _Known | None, now_ms: int) -> _Known:
        try:
            known = await self._lookups.submit(key_hash)
        except StoreUnavailable:
            if old is None or old.principal is None or now_ms - old.read_ms > AWAY_CACHE_MS:
                raise
            return old
        self._remember(key_hash, known)
        return known

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
        rules: KeyRules = ANYTHING,
        ask: Ask = COMMAND_LINE,
    ) -> tuple[ApiKey, str]:
        """Add a key; gives it and its text, which is shown this once and never again.

        Raises NotFound for an unknown team, InvalidRequest for bad fields, RepeatedChange when
        the same call made it before.
        """
        wanted = _Wanted(_checked(name), default_mode, expires_ms, None, rules)
        _judge(wanted)
        async with self._changes.begin(ask) as change:
            key_id, text = await self._add(change, "key.create", team_id, wanted)
        return await self.key(key_id), text

    async def key(self, key_id: str) -> ApiKey:
        """Give a key as it is shown. Raises NotFound."""
        return self._one(await self._db.read(KEY, plain(key_id)), key_id)

    async def keys(self, team_id: str | None = None) -> Sequence[ApiKey]:
        """Give the keys of a team, or all, revoked ones included."""
        return [self._key(row) for row in await self._db.read(KEYS, team_id)]

    async def key_page(
        self, limit: int, cursor: str | None = None, team_id: str | None = None
    ) -> Page[ApiKey]:
        """Give a page of keys, newest first. Raises InvalidRequest for a cursor not of ours."""
        after = read_cursor(cursor) if cursor else (MICRO_MAX, "")
        rows = await self._db.read(PAGE, *after, team_id and plain(team_id), limit + 1)
        keys = tuple(self._key(row) for row in rows[:limit])
        return Page(keys, cursor_of(keys[-1]) if len(rows) > limit else None)

    async def update(
        self, key_id: str, fields: Mapping[str, Any], ask: Ask = COMMAND_LINE
    ) -> ApiKey:
        """Change ``name``, ``default_mode``, ``expires_ms`` or any rule; the rest stays.

        Raises NotFound, VersionConflict, and InvalidRequest for bad fields or a revoked key.
        """
        async with self._changes.begin(ask) as change:
            old = await self._locked(change, key_id)
            if old.revoked_ms is not None:
                raise InvalidRequest(Problem("key", "A revoked key cannot be changed."))
            rules = replace(old.rules, **{n: v for n, v in fields.items() if n in RULES})
            rest = {n: v for n, v in fields.items() if n not in RULES}
            wanted = replace(_wanted(old), rules=rules, **rest)
            wanted = replace(wanted, name=_checked(wanted.name))
            _judge(wanted)
            await self._put(change, "key.update", old, wanted)
        return await self._after(key_id)

    async def revoke(self, key_id: str, ask: Ask = COMMAND_LINE) -> ApiKey:
        """End a key now, in every process within a second; the first revocation stays.

        Raises NotFound, VersionConflict.
        """
        async with self._changes.begin(ask) as change:
            old = await self._locked(change, key_id)
            if old.revoked_ms is None:
                wanted = replace(_wanted(old), revoked_ms=change.at_ms)
                await self._put(change, "key.revoke", old, wanted)
        return await self._after(key_id)

    async def rotate(
        self, key_id: str, overlap_ms: int, ask: Ask = COMMAND_LINE
    ) -> tuple[ApiKey, str]:
        """Give a new key like this one, and its text; the old one ends after ``overlap_ms``.

        Both share what is counted for their limits.
        Raises NotFound, VersionConflict, RepeatedChange, and InvalidRequest when the old one
        has been revoked.
        """
        async with self._changes.begin(ask) as change:
            old = await self._locked(change, key_id)
            if old.revoked_ms is not None:
                raise InvalidRequest(Problem("key", "A revoked key cannot be rotated."))
            new_key, text = await self._add(
                change, "key.create", old.team_id, _wanted(old), old.limits_id
            )
            ends_ms = change.at_ms + overlap_ms
            if old.expires_ms is not None:
                ends_ms = min(ends_ms, old.expires_ms)
            await self._put(change, "key.rotate", old, replace(_wanted(old), expires_ms=ends_ms))
        await self._after(key_id)
        return await self.key(new_key), text

    async def _locked(self, change: Change, key_id: str) -> ApiKey:
        found = self._one(await change.connection.fetch(LOCK, plain(key_id)), key_id)
        change.expect(found.version)
        return found

    async def _add(
        self,
        change: Change,
        action: str,
        team_id: str,
        wanted: _Wanted,
        limits_id: str | None = None,
    ) -> tuple[str, str]:
        key_id, text = new_id("key"), new_key_text()
        secrets = (self._vault.hash(text), text[-4:])
        about = (wanted.default_mode, change.at_ms, wanted.expires_ms, limits_id)
        rows = await change.connection.fetch(
            CREATE, key_id, plain(team_id), wanted.name, *secrets, *about, *_rule_values(wanted)
        )
        if not rows:
            raise NotFound(f"There is no team {team_id!r}.")
        await change.record(action, key_id, after={"team_id": team_id, **_facts(wanted)})
        await change.made(key_id, text)
        return key_id, text

    async def _put(self, change: Change, action: str, old: ApiKey, wanted: _Wanted) -> None:
        values = (wanted.name, wanted.default_mode, wanted.expires_ms, wanted.revoked_ms)
        await change.connection.execute(UPDATE, old.id, *values, *_rule_values(wanted))
        await change.record(action, old.id, before=_facts(_wanted(old)), after=_facts(wanted))

    async def _after(self, key_id: str) -> ApiKey:
        self.invalidate()
        return await self.key(key_id)

    def _one(self, rows: Sequence[Any], key_id: str) -> ApiKey:
        if not rows:
            raise NotFound(f"There is no key {key_id!r}.")
        return self._key(rows[0])

    def _key(self, row: Any) -> ApiKey:
        fields = {name: value for name, value in dict(row).items() if name not in RULES}
        counted = {name: fields.pop(name) for name in ("running", "held", "spent", "month_spent")}
        if fields.pop("month") < month_number(self._clock.now_ms()):
            counted["month_spent"] = 0
        return ApiKey(**fields, rules=_rules(row), counts=Counts(**counted))


def _checked(name: str) -> str:
    return checked_name(name) if name else ""


def _judge(wanted: _Wanted) -> None:
    """Raise InvalidRequest with everything that is wrong."""
    problems = list(wanted.rules.problems())
    if wanted.default_mode not in MODES:
        problems.append(Problem("default_mode", "This is no mode.", legal=", ".join(MODES)))
    if problems:
        raise InvalidRequest(*problems)


def _wanted(key: ApiKey) -> _Wanted:
    return _Wanted(key.name, key.default_mode, key.expires_ms, key.revoked_ms, key.rules)


def _facts(wanted: _Wanted) -> dict[str, Any]:
    """Give what the audit log says of a key; credits as decimal texts."""
    facts = asdict(wanted)
    for name in CAPS:
        cap = facts["rules"][name]
        facts["rules"][name] = None if cap is None else format_micro(cap)
    return facts


def _rule_values(wanted: _Wanted) -> tuple[object, ...]:
    return tuple(getattr(wanted.rules, name) for name in RULES)


def _rules(row: Any) -> KeyRules:
    return KeyRules(**{name: _tupled(row[name]) for name in RULES})


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


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
        rules=_rules(row),
        suspended=row["suspended"],
        limits_id=row["limits_id"],
    )
    return _Known(principal, row["expires_ms"], now_ms)
