"""Passwords are kept as argon2id of their keyed hash: slow to guess, and not without the pepper."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from secrets import token_hex
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from gateway.domain.errors import Unavailable
from gateway.stores.postgres.vault import Vault

T = TypeVar("T")

# Each takes 64 MiB and a tenth of a second of processor time.
HASHES_AT_ONCE = 2
WAITING_MAX = 64


class Passwords:
    """Hashes and checks passwords on threads of their own, a few at a time."""

    def __init__(self, vault: Vault, hasher: PasswordHasher | None = None) -> None:
        """Take what has the pepper; ``hasher`` says how hard hashing is (RFC 9106, 64 MiB)."""
        self._vault = vault
        self._hasher = hasher or PasswordHasher()
        self._threads = ThreadPoolExecutor(HASHES_AT_ONCE, thread_name_prefix="password")
        self._under_way = 0
        self._nobodys: str | None = None

    async def hash(self, password: str) -> str:
        """Give what is kept of a password. Raises Unavailable when too many wait."""
        return await self._off_loop(lambda: self._hasher.hash(self._keyed(password)))

    async def is_right(self, password: str, kept: str | None) -> bool:
        """Whether a password is the one that is kept; None takes as long and is not.

        Raises Unavailable when too many wait.
        """
        return await self._off_loop(lambda: self._judge(password, kept))

    def is_old(self, kept: str) -> bool:
        """Whether a password was hashed less hard, or otherwise, than it would be now."""
        return self._hasher.check_needs_rehash(kept)

    def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _judge(self, password: str, kept: str | None) -> bool:
        if self._nobodys is None:
            self._nobodys = self._hasher.hash(token_hex())
        try:
            self._hasher.verify(kept or self._nobodys, self._keyed(password))
        except (VerificationError, InvalidHashError):
            return False
        return kept is not None

    def _keyed(self, password: str) -> bytes:
        """Give the keyed hash of a password, however its letters are composed."""
        return self._vault.hash(f"password {unicodedata.normalize('NFKC', password)}")

    async def _off_loop(self, work: Callable[[], T]) -> T:
        if self._under_way >= WAITING_MAX:
            raise Unavailable("Too many logins at once; try again in a moment.")
        self._under_way += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._under_way -= 1
