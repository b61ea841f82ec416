"""What protects secrets at rest: keyed hashes of API keys, sealed webhook secrets.

Everything derives from one master secret: GATEWAY_SECRET_KEY, or one made once and kept in the
table ``meta``. With the former, a dump of the database holds nothing that signs or authenticates.
"""

from __future__ import annotations

import hmac
import os
from secrets import token_urlsafe

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.domain.errors import GatewayError
from gateway.stores.postgres.database import Database

MASTER = "master_secret"
FINGERPRINT = "master_fingerprint"
NONCE_BYTES = 12

# Keeps a fact unless it is known already; of two processes that start at once, one wins.
_KEEP = "INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING"

# Gives one fact.
_FACT = "SELECT value FROM meta WHERE key = $1"


class WrongSecretKey(GatewayError):
    """GATEWAY_SECRET_KEY is not the one this database was set up with."""

    code = "wrong_secret_key"


class Vault:
    """Hashes and seals with keys derived from one master secret."""

    def __init__(self, master: str) -> None:
        """Derive the keys."""
        self._pepper = _derive(master, "api-key-hash")
        self._cipher = AESGCM(_derive(master, "webhook-secret"))
        self.fingerprint = _derive(master, "fingerprint")[:8].hex()

    def hash(self, text: str) -> bytes:
        """Give the keyed hash (HMAC-SHA256) under which an API key is stored."""
        return hmac.digest(self._pepper, text.encode(), "sha256")

    def seal(self, text: str, owner: str) -> bytes:
        """Encrypt a secret so that it opens for this owner only."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, text.encode(), owner.encode())

    def open(self, sealed: bytes, owner: str) -> str:
        """Decrypt a sealed secret. Raises WrongSecretKey when it was sealed by another master."""
        try:
            text = self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], owner.encode())
        except (InvalidTag, ValueError):
            raise WrongSecretKey from None
        return text.decode()


async def open_vault(database: Database, secret_key: str | None) -> Vault:
    """Give the vault of a database; ``secret_key`` None uses a master kept in the database.

    Raises WrongSecretKey when the key is not the one the database was first opened with: with
    another one no API key would be known and no callback could be signed.
    """
    if secret_key is None and not await database.read(_FACT, FINGERPRINT):
        await database.write(_KEEP, MASTER, token_urlsafe(32))
    kept = await database.read(_FACT, MASTER)
    master = secret_key or (kept[0]["value"] if kept else None)
    if master is None:
        raise WrongSecretKey(
            "This database was set up with a GATEWAY_SECRET_KEY, and none is set now."
        )
    vault = Vault(master)
    await database.write(_KEEP, FINGERPRINT, vault.fingerprint)
    if (await database.read(_FACT, FINGERPRINT))[0]["value"] != vault.fingerprint:
        raise WrongSecretKey(
            "This database was set up with another GATEWAY_SECRET_KEY"
            + (", one it made itself: leave the variable unset." if kept else ".")
        )
    return vault


def _derive(master: str, purpose: str) -> bytes:
    return hmac.digest(master.encode(), purpose.encode(), "sha256")
