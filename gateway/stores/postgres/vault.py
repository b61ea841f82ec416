"""What protects secrets at rest: keyed hashes (API keys, Idempotency-Keys), sealed values.

A *master* secret is GATEWAY_SECRET_KEY, or one made once and kept in the table ``meta``. The ring
holds the current master, which seals, and older ones, which only open. A sealed value begins with
the fingerprint of its master, so that `rotation.py` finds what is left to seal anew. The pepper of
key hashes is itself sealed in ``meta``: keys go on working under another master. With a
GATEWAY_SECRET_KEY a dump of the database holds nothing that signs or authenticates.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from collections.abc import Sequence
from secrets import token_urlsafe

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.domain.errors import GatewayError
from gateway.stores.postgres.database import Database

MASTER = "master_secret"
FINGERPRINT = "master_fingerprint"
PEPPER = "key_pepper"
NONCE_BYTES = 12
FINGERPRINT_BYTES = 8
HASH_BLOCK = 64

# Keeps a fact unless it is known already; of two processes that start at once, one wins.
_KEEP = "INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING"

# Gives one fact.
_FACT = "SELECT value FROM meta WHERE key = $1"


class WrongSecretKey(GatewayError):
    """GATEWAY_SECRET_KEY is not the one this database was set up with."""

    code = "wrong_secret_key"


class Master:
    """One master secret, and what is derived from it."""

    def __init__(self, text: str) -> None:
        """Derive the keys."""
        self.pepper = _derive(text, "api-key-hash")
        self.mark = _derive(text, "fingerprint")[:FINGERPRINT_BYTES]
        self._cipher = AESGCM(_derive(text, "webhook-secret"))

    def seal(self, text: str, owner: str) -> bytes:
        """Encrypt a text so that it opens for this owner only."""
        nonce = os.urandom(NONCE_BYTES)
        return self.mark + nonce + self._cipher.encrypt(nonce, text.encode(), owner.encode())

    def open(self, sealed: bytes, owner: str) -> str | None:
        """Decrypt what this master sealed, before there were marks too; None if it did not."""
        body = sealed.removeprefix(self.mark)
        try:
            nonce, text = body[:NONCE_BYTES], body[NONCE_BYTES:]
            return self._cipher.decrypt(nonce, text, owner.encode()).decode()
        except (InvalidTag, ValueError):
            return None


class KeyedHash:
    """HMAC-SHA256 (RFC 2104) under one key, whose two pads are hashed once: a key is looked up by
    its hash for every call, and preparing the key takes four times as long as hashing with it.
    """

    def __init__(self, key: bytes) -> None:
        """Take the key."""
        block = (hashlib.sha256(key).digest() if len(key) > HASH_BLOCK else key).ljust(
            HASH_BLOCK, b"\0"
        )
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))

    def digest(self, message: bytes) -> bytes:
        """Give the hash of a message."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(message)
        outer.update(inner.digest())
        return outer.digest()


class Vault:
    """Hashes and seals; opens what any master of the ring sealed."""

    def __init__(self, master: str, old: Sequence[str] = (), pepper: bytes | None = None) -> None:
        """Take the master that seals, those that only open, and the pepper (None: the master's)."""
        self._ring = [Master(text) for text in dict.fromkeys((master, *old))]
        self._pepper = self._ring[0].pepper if pepper is None else pepper
        self._keyed = KeyedHash(self._pepper)

    @property
    def mark(self) -> bytes:
        """What everything begins with that the current master sealed."""
        return self._ring[0].mark

    @property
    def fingerprint(self) -> str:
        """The current master, recognisable and nothing more."""
        return self.mark.hex()

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """Every master of the ring."""
        return tuple(master.mark.hex() for master in self._ring)

    def hash(self, text: str) -> bytes:
        """Give a keyed hash (HMAC-SHA256); an API key is stored under its own."""
        return self._keyed.digest(text.encode())

    def repeat_key(self, owner: str, key: str) -> str:
        """Give what an owner's Idempotency-Key is stored as: its keyed hash in hexadecimal."""
        return self.hash(f"idempotency-key {owner} {key}").hex()

    def seal(self, text: str, owner: str) -> bytes:
        """Encrypt a secret so that it opens for this owner only."""
        return self._ring[0].seal(text, owner)

    def open(self, sealed: bytes, owner: str) -> str:
        """Decrypt a sealed secret. Raises WrongSecretKey when no master of the ring sealed it."""
        for master in self._ring:
            if (text := master.open(sealed, owner)) is not None:
                return text
        raise WrongSecretKey

    def sealed_pepper(self) -> str:
        """Give the pepper as ``meta`` keeps it."""
        text = base64.b64encode(self._pepper).decode()
        return base64.b64encode(self.seal(text, PEPPER)).decode()


async def open_vault(database: Database, secret_key: str | None, old: Sequence[str] = ()) -> Vault:
    """Give the vault of a database; ``secret_key`` None uses a master kept in the database.

    Raises WrongSecretKey when neither the key nor one of ``old`` is the one that the database's
    secrets were sealed with: with another one no API key would be known and no callback signed.
    """
    if secret_key is None and not await database.read(_FACT, FINGERPRINT):
        await database.write(_KEEP, MASTER, token_urlsafe(32))
    kept = [row["value"] for row in await database.read(_FACT, MASTER)]
    masters = [*([] if secret_key is None else [secret_key]), *kept, *old]
    if not masters:
        raise WrongSecretKey(
            "This database was set up with a GATEWAY_SECRET_KEY, and none is set now."
        )
    vault = Vault(masters[0], masters[1:])
    await database.write(_KEEP, FINGERPRINT, vault.fingerprint)
    stored = (await database.read(_FACT, FINGERPRINT))[0]["value"]
    if stored not in vault.fingerprints:
        raise WrongSecretKey(
            "This database was set up with another GATEWAY_SECRET_KEY; name that one in "
            "GATEWAY_OLD_SECRET_KEYS until `gateway secrets rotate` is done."
        )
    first = masters[vault.fingerprints.index(stored)]
    return Vault(masters[0], masters[1:], await _pepper(database, vault, first))


async def _pepper(database: Database, vault: Vault, first: str) -> bytes:
    """Give the pepper of key hashes; in a database without one it is that of its first master."""
    await database.write(_KEEP, PEPPER, Vault(first).sealed_pepper())
    sealed = base64.b64decode((await database.read(_FACT, PEPPER))[0]["value"])
    return base64.b64decode(vault.open(sealed, PEPPER))


def _derive(master: str, purpose: str) -> bytes:
    return hmac.digest(master.encode(), purpose.encode(), "sha256")
