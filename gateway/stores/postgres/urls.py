"""Addresses that callers want to be told at, sealed at rest: they often carry tokens.

A sealed one is a text, in the column where a plain one would stand: ``sealed:``, the fingerprint
of its master, and what `Vault.seal` gave, in base64. It opens for its team only, in whichever
table it stands: statements and triggers copy it unopened.
"""

from __future__ import annotations

import base64
from hashlib import sha256

import structlog

from gateway.stores.postgres.codec import plain
from gateway.stores.postgres.database import Database
from gateway.stores.postgres.vault import FINGERPRINT_BYTES, Vault, WrongSecretKey

log = structlog.get_logger(__name__)

PREFIX = "sealed:"
MARK_CHARS = len(PREFIX) + 2 * FINGERPRINT_BYTES + 1
BATCH = 100

# Versions before wrote addresses as they were sent. Indexes of just these rows keep looking for
# them cheap when there are none.
PLAIN = {
    "callbacks": f"""
SELECT id, team_id, url FROM callbacks WHERE url NOT LIKE '{PREFIX}%'
ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED
""",
    "teams": f"""
SELECT id, id AS team_id, alert_url AS url FROM teams WHERE alert_url NOT LIKE '{PREFIX}%'
ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED
""",
}
SEAL = {
    "callbacks": "UPDATE callbacks SET url = $2 WHERE id = $1",
    "teams": "UPDATE teams SET alert_url = $2 WHERE id = $1",
}

# A task that ended has handed its address to its callback.
DROP = """
UPDATE tasks SET callback_url = NULL WHERE id IN (
    SELECT id FROM tasks WHERE callback_url IS NOT NULL AND finished_ms IS NOT NULL
    ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED
) RETURNING id
"""


def seal_url(vault: Vault, url: str, team_id: str) -> str:
    """Give an address as it is stored."""
    sealed = base64.b64encode(vault.seal(plain(url), _owner(team_id))).decode()
    return f"{mark_of(vault)}{sealed}"


def open_url(vault: Vault, stored: str, team_id: str) -> str:
    """Give the address of what is stored, sealed or not.

    Raises WrongSecretKey when no master of the ring sealed it for this team.
    """
    if not stored.startswith(PREFIX):
        return stored
    try:
        sealed = base64.b64decode(stored[MARK_CHARS:], validate=True)
    except ValueError:
        raise WrongSecretKey from None
    return vault.open(sealed, _owner(team_id))


def readable_url(vault: Vault, stored: str, team_id: str) -> str:
    """Give the address of what is stored, and an empty text when it cannot be opened."""
    try:
        return open_url(vault, stored, team_id)
    except WrongSecretKey:
        log.exception("url_unopenable", team_id=team_id)
        return ""


def mark_of(vault: Vault) -> str:
    """Give what every address begins with that the current master sealed."""
    return f"{PREFIX}{vault.fingerprint}:"


def receiver_hash(url: str) -> bytes:
    """Give what a receiver that is gone is remembered by."""
    return sha256(url.encode()).digest()


def _owner(team_id: str) -> str:
    return f"url {team_id}"


class OldUrls:
    """Addresses that versions before left in plain text."""

    def __init__(self, database: Database, vault: Vault) -> None:
        """Take the pool and what seals."""
        self._db = database
        self._vault = vault

    async def seal(self) -> int:
        """Seal them all, and drop those of ended tasks, a batch to a transaction; gives how many.

        Harmless while everything goes on, in any number of processes at once.
        """
        count = 0
        for table in PLAIN:
            while sealed := await self._seal(table):
                count += sealed
        while dropped := await self._db.write(DROP, BATCH):
            count += len(dropped)
        if count:
            log.info("old_urls_sealed", count=count)
        return count

    async def _seal(self, table: str) -> int:
        async with self._db.transaction() as connection:
            rows = await connection.fetch(PLAIN[table], BATCH)
            sealed = [(row["id"], self._sealed(row["url"], row["team_id"])) for row in rows]
            await connection.executemany(SEAL[table], sealed)
        return len(sealed)

    def _sealed(self, url: str, team_id: str) -> str:
        return seal_url(self._vault, url, team_id)
