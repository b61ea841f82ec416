"""`gateway secrets rotate`: seals everything anew under the current master, while all goes on."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.app.ports import Clock
from gateway.domain.administration import Ask
from gateway.stores.postgres.changes import Changes
from gateway.stores.postgres.database import Database
from gateway.stores.postgres.urls import MARK_CHARS, mark_of, open_url, seal_url
from gateway.stores.postgres.vault import (
    FINGERPRINT,
    FINGERPRINT_BYTES,
    MASTER,
    PEPPER,
    Vault,
    WrongSecretKey,
)

# Rows sealed anew in one transaction, and rows looked at in one statement.
BATCH = 100
WINDOW = 10_000


@dataclass(frozen=True, slots=True)
class Place:
    """A column of sealed values: which rows an old master sealed, and how one is written.

    All take the last name seen. ``window`` takes the current mark and a limit too and gives the
    last of so many names, and how many of these rows are ``old``; ``batch`` takes the mark, the
    window's last name and a limit and gives ``name``, ``owner`` and ``sealed``, locked;
    ``write`` takes the name and the value.
    """

    window: str
    batch: str
    write: str
    is_url: bool = False


def _place(
    table: str, name: str, owner: str, column: str = "sealed", rows: str | None = None
) -> Place:
    """Describe a column of bytes, or of addresses; those not sealed at all are old too."""
    is_url = column != "sealed"
    rows = rows or f"{column} IS NOT NULL"
    old = f"left({column}, {MARK_CHARS}) <> $1::text"
    if not is_url:
        old = f"substring({column} FROM 1 FOR {FINGERPRINT_BYTES}) <> $1::bytea"
    return Place(
        window=f"SELECT max(name) AS last, count(*) FILTER (WHERE is_old) AS old FROM ("
        f"SELECT {name} AS name, {old} AS is_old FROM {table} "
        f"WHERE {rows} AND {name} > $2 ORDER BY {name} LIMIT $3) seen",
        batch=f"SELECT {name} AS name, {owner} AS owner, {column} AS sealed FROM {table} "
        f"WHERE {rows} AND {old} AND {name} > $2 AND {name} <= $3 "
        f"ORDER BY {name} LIMIT $4 FOR UPDATE",
        write=f"UPDATE {table} SET {column} = $2 WHERE {name} = $1",
        is_url=is_url,
    )


# Of tasks those that have not ended: the others have handed their address to their callback.
PLACES: Mapping[str, Place] = {
    "webhook_secrets": _place("webhook_secrets", "id", "team_id"),
    "admin_repeats": _place("admin_repeats", "actor_id || ' ' || scope || ' ' || key", "subject"),
    "teams": _place("teams", "id", "id", "alert_url"),
    "tasks": _place(
        "tasks",
        "id",
        "team_id",
        "callback_url",
        "status IN ('pending', 'processing') AND callback_url IS NOT NULL",
    ),
    "callbacks": _place("callbacks", "id", "team_id", "url"),
    "batches": _place("batches", "id", "team_id", "callback_url"),
    "batch_lines": _place(
        "batch_lines",
        "batch_id || ' ' || no",
        "(SELECT team_id FROM batches WHERE id = batch_id)",
        "callback_url",
    ),
}

# Writes what says which master is current, and drops the one that was kept in the database.
FACTS = "UPDATE meta SET value = $2 WHERE key = $1"
DROP_MASTER = "DELETE FROM meta WHERE key = $1"


@dataclass(frozen=True, slots=True)
class Rotation:
    """What was sealed anew, and the places of values that no key of the ring opens."""

    resealed: int
    unopenable: tuple[str, ...]


class SecretRotation:
    """Seals anew in PostgreSQL, a batch to a transaction; a broken run is simply run again."""

    def __init__(self, database: Database, clock: Clock, vault: Vault) -> None:
        """Take the pool, the clock that dates the audit row, and the ring."""
        self._db = database
        self._vault = vault
        self._changes = Changes(database, clock, vault)

    async def pending(self) -> int:
        """Give how many values an old master sealed."""
        return sum([old for p in PLACES.values() async for _, _, old in self._windows(p)])

    async def rotate(self, ask: Ask, progress: Callable[[int], None] = lambda _: None) -> Rotation:
        """Seal everything anew; ``progress`` is told how many values each batch held.

        A master that was kept in the database goes when nothing is left that only it opens, and
        another one is current.
        """
        resealed, unopenable = 0, []
        for table, place in PLACES.items():
            async for after, last, old in self._windows(place):
                if not old:
                    continue
                async for names, failed in self._batches(place, after, last):
                    resealed += len(names) - len(failed)
                    unopenable += [f"{table} {name}" for name in failed]
                    progress(len(names))
        await self._finish(ask, resealed, len(unopenable))
        return Rotation(resealed, tuple(unopenable))

    async def _windows(self, place: Place) -> AsyncGenerator[tuple[str, str, int]]:
        """Give, for so many rows after the other, the name before, the last, how many are old."""
        after = ""
        while True:
            (row,) = await self._db.read(place.window, self._mark(place), after, WINDOW)
            if row["last"] is None:
                return
            yield after, row["last"], row["old"]
            after = row["last"]

    async def _batches(
        self, place: Place, after: str, last: str
    ) -> AsyncGenerator[tuple[list[str], list[str]]]:
        """Seal a window anew; gives for each batch what `_batch` gives."""
        while True:
            names, failed = await self._batch(place, after, last)
            if not names:
                return
            after = names[-1]
            yield names, failed

    async def _batch(self, place: Place, after: str, last: str) -> tuple[list[str], list[str]]:
        """Seal a batch anew; gives the names of its rows, and of those that do not open."""
        async with self._db.transaction() as connection:
            rows = await connection.fetch(place.batch, self._mark(place), after, last, BATCH)
            failed = [row["name"] for row in rows if not await self._reseal(connection, place, row)]
        return [row["name"] for row in rows], failed

    async def _reseal(self, connection: Any, place: Place, row: Any) -> bool:
        vault, owner = self._vault, row["owner"]
        value: bytes | str
        try:
            if place.is_url:
                value = seal_url(vault, open_url(vault, row["sealed"], owner), owner)
            else:
                value = vault.seal(vault.open(row["sealed"], owner), owner)
        except WrongSecretKey:
            return False
        await connection.execute(place.write, row["name"], value)
        return True

    def _mark(self, place: Place) -> bytes | str:
        return mark_of(self._vault) if place.is_url else self._vault.mark

    async def _finish(self, ask: Ask, resealed: int, unopenable: int) -> None:
        async with self._changes.begin(ask) as change:
            kept = await change.connection.fetchrow("SELECT value FROM meta WHERE key = $1", MASTER)
            await change.connection.execute(FACTS, PEPPER, self._vault.sealed_pepper())
            await change.connection.execute(FACTS, FINGERPRINT, self._vault.fingerprint)
            is_current = kept is not None and Vault(kept["value"]).mark == self._vault.mark
            if kept is not None and not is_current and not unopenable:
                await change.connection.execute(DROP_MASTER, MASTER)
            facts = {"resealed": resealed, "unopenable": unopenable}
            await change.record("secrets.rotate", self._vault.fingerprint, after=facts)
