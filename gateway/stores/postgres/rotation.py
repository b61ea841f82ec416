"""`gateway secrets rotate`: seals everything anew under the current master, while all goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.app.ports import Clock
from gateway.domain.administration import Ask
from gateway.stores.postgres.changes import Changes
from gateway.stores.postgres.database import Database
from gateway.stores.postgres.vault import (
    FINGERPRINT,
    MASTER,
    PEPPER,
    Vault,
    WrongSecretKey,
)

BATCH = 100


@dataclass(frozen=True, slots=True)
class Place:
    """A column of sealed values: which rows an old master sealed, and how one is written.

    ``batch`` takes the current mark, the last row seen and a limit and gives ``name``, ``owner``
    and ``sealed``, locked; ``count`` takes the mark; ``write`` the name and the value.
    """

    batch: str
    count: str
    write: str


def _place(table: str, name: str, owner: str) -> Place:
    old = "sealed IS NOT NULL AND substring(sealed FROM 1 FOR 8) <> $1"
    return Place(
        batch=f"SELECT {name} AS name, {owner} AS owner, sealed FROM {table} "
        f"WHERE {old} AND {name} > $2 ORDER BY {name} LIMIT $3 FOR UPDATE",
        count=f"SELECT count(*) FROM {table} WHERE {old}",
        write=f"UPDATE {table} SET sealed = $2 WHERE {name} = $1",
    )


PLACES: Mapping[str, Place] = {
    "webhook_secrets": _place("webhook_secrets", "id", "team_id"),
    "admin_repeats": _place("admin_repeats", "actor_id || ' ' || scope || ' ' || key", "subject"),
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
        counts = [await self._db.read(p.count, self._vault.mark) for p in PLACES.values()]
        return sum(rows[0]["count"] for rows in counts)

    async def rotate(self, ask: Ask, progress: Callable[[int], None] = lambda _: None) -> Rotation:
        """Seal everything anew; ``progress`` is told how many values each batch held.

        A master that was kept in the database goes when nothing is left that only it opens, and
        another one is current.
        """
        resealed, unopenable = 0, []
        for table, place in PLACES.items():
            after = ""
            while True:
                names, failed = await self._batch(place, after)
                if not names:
                    break
                after = names[-1]
                resealed += len(names) - len(failed)
                unopenable += [f"{table} {name}" for name in failed]
                progress(len(names))
        await self._finish(ask, resealed, len(unopenable))
        return Rotation(resealed, tuple(unopenable))

    async def _batch(self, place: Place, after: str) -> tuple[list[str], list[str]]:
        """Seal a batch anew; gives the names of its rows, and of those that do not open."""
        async with self._db.transaction() as connection:
            rows = await connection.fetch(place.batch, self._vault.mark, after, BATCH)
            failed = [row["name"] for row in rows if not await self._reseal(connection, place, row)]
        return [row["name"] for row in rows], failed

    async def _reseal(self, connection: Any, place: Place, row: Any) -> bool:
        try:
            text = self._vault.open(row["sealed"], row["owner"])
        except WrongSecretKey:
            return False
        await connection.execute(place.write, row["name"], self._vault.seal(text, row["owner"]))
        return True

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
