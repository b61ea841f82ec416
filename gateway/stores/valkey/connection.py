"""The connection to Valkey that all stores of a process share.

Every command goes through one coalescer: what is asked while a batch is under way travels as
the next pipeline, and no caller's cancellation can leave a half-read connection behind.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import structlog
from hiredis import pack_command
from redis.asyncio import BlockingConnectionPool, Connection, Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    MasterDownError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from gateway.domain.errors import IndexUnavailable
from gateway.stores.coalesce import Coalescer
from gateway.stores.valkey.scripts import Script

log = structlog.get_logger(__name__)

Argument = str | bytes | int

CONNECTIONS_MAX = 8
CONNECT_TIMEOUT_S = 1.0
REPLY_TIMEOUT_S = 2.0
BATCH_MAX = 256
BATCH_BYTES_MAX = 4 * 1024 * 1024
BATCHES_IN_FLIGHT = 2
LINGER_S = 0.001
# After a failure nobody knocks for this long: callers are refused at once, no retry storm.
AWAY_PAUSE_S = 0.2
# Error replies of a server that is there but cannot serve: full, a replica, failing over, stuck.
AWAY_ERRORS = (OutOfMemoryError, ReadOnlyError, MasterDownError)
AWAY_WORDS = ("OOM", "READONLY", "MASTERDOWN", "MISCONF", "NOREPLICAS", "BUSY")


@dataclass(frozen=True, slots=True)
class _Command:
    """A command as it goes over the wire, and the script it runs, if it runs one."""

    packed: bytes
    script: Script | None = None

    def __len__(self) -> int:
        return len(self.packed)


class Valkey:
    """Commands and scripts on one ``redis://``, ``rediss://`` or ``unix://`` server.

    Connects when needed and again when the server is back. Everything raises IndexUnavailable
    while it is away; a call that fails so may nevertheless have been executed.
    """

    def __init__(self, url: str, *, clock: Callable[[], int] | None = None) -> None:
        """Describe the server; connects nothing. ``clock`` (UTC ms) replaces its time in tests."""
        self.url = url
        self._clock = clock
        self._away_until = 0.0
        self._is_away = False
        # One limit for a whole batch: the driver would start a task for each of its own.
        self._pool = _pool(url, CONNECTIONS_MAX, reply_timeout_s=None)
        self._coalescer: Coalescer[_Command, Any] = Coalescer(
            self._run_batch,
            closed=IndexUnavailable,
            weigh=len,
            size_max=BATCH_MAX,
            weight_max=BATCH_BYTES_MAX,
            in_flight_max=BATCHES_IN_FLIGHT,
            linger_s=LINGER_S,
        )

    def now_ms(self) -> int:
        """Give this process's UTC milliseconds (the test clock's, if there is one)."""
        return self._clock() if self._clock else time.time_ns() // 1_000_000

    async def execute(self, *command: Argument) -> Any:
        """Run one command and give its raw reply. Raises IndexUnavailable."""
        return await self._submit(_Command(_pack(command)))

    async def run(self, script: Script, keys: Sequence[str], *arguments: Argument) -> Any:
        """Run a script atomically and give its raw reply. Raises IndexUnavailable."""
        clock = str(self._clock()) if self._clock else ""
        packed = _pack(("EVALSHA", script.sha, len(keys), *keys, clock, *arguments))
        return await self._submit(_Command(packed, script))

    async def _submit(self, command: _Command) -> Any:
        try:
            return await self._coalescer.submit(command)
        except ResponseError as error:
            if _says_away(error):
                raise IndexUnavailable("", f"Valkey cannot serve: {error}") from error
            raise

    async def ping(self) -> None:
        """Return when the server answers. Raises IndexUnavailable."""
        await self.execute("PING")

    async def aclose(self) -> None:
        """Finish what was asked, then close every connection."""
        await self._coalescer.close()
        await self._pool.aclose()

    @asynccontextmanager
    async def subscribed(self, channel: str) -> AsyncIterator[PubSub]:
        """Listen to a channel on a connection of its own. Raises IndexUnavailable, body too."""
        pool = _pool(self.url, 1, reply_timeout_s=REPLY_TIMEOUT_S)
        pubsub: Any = Redis(connection_pool=pool).pubsub()
        try:
            await pubsub.subscribe(channel)
            yield pubsub
        except (RedisError, OSError) as error:
            raise IndexUnavailable("", f"Valkey is away: {error}") from error
        finally:
            with suppress(RedisError, OSError):
                await pubsub.aclose()
            with suppress(RedisError, OSError):
                await pool.aclose()

    # --- one batch -----------------------------------------------------------------------

    async def _run_batch(self, commands: list[_Command]) -> list[Any]:
        """Send a pipeline and give one reply, or ResponseError, per command."""
        if time.monotonic() < self._away_until:
            raise IndexUnavailable
        try:
            replies = await self._on_connection(lambda one: self._exchange(one, commands))
        except (RedisError, OSError) as error:
            self._away_until = time.monotonic() + AWAY_PAUSE_S
            if not self._is_away:
                self._is_away = True
                log.warning("valkey_away", reason=str(error))
            raise IndexUnavailable("", f"Valkey is away: {error}") from error
        if self._is_away:
            self._is_away = False
            log.info("valkey_back")
        return replies

    async def _on_connection(self, work: Callable[[Connection], Awaitable[list[Any]]]) -> list[Any]:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S + REPLY_TIMEOUT_S):
                connection: Connection = await self._pool.get_connection()
                try:
                    return await work(connection)
                finally:
                    await self._pool.release(connection)
        except TimeoutError as error:
            raise RedisError("no answer in time") from error

    async def _exchange(self, connection: Connection, commands: list[_Command]) -> list[Any]:
        replies = await _pipeline(connection, commands)
        unknown = [no for no, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:
            scripts = {command.script for no in unknown if (command := commands[no]).script}
            loads = [_Command(_pack(("SCRIPT", "LOAD", script.source))) for script in scripts]
            await _pipeline(connection, loads)
            again = await _pipeline(connection, [commands[no] for no in unknown])
            for no, reply in zip(unknown, again, strict=True):
                replies[no] = reply
        if any(isinstance(reply, ResponseError) and _says_away(reply) for reply in replies):
            # The address may lead to another server by now (a new primary): connect anew.
            await connection.disconnect()
        return replies


def _pool(url: str, connections: int, *, reply_timeout_s: float | None) -> Any:
    """Give a pool that waits when it is empty; Any, for redis-py leaves its methods untyped."""
    return BlockingConnectionPool.from_url(
        url,
        max_connections=connections,
        timeout=REPLY_TIMEOUT_S,
        socket_timeout=reply_timeout_s,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        driver_info=None,
    )


def _pack(command: tuple[Argument, ...]) -> bytes:
    """Give a command's bytes; in C, for the connection's own packer is twenty times slower."""
    # The stub of the packer says a tuple of one.
    packed: bytes = pack_command(command)  # type: ignore[arg-type]
    return packed


async def _pipeline(connection: Connection, commands: Sequence[_Command]) -> list[Any]:
    await connection.send_packed_command(b"".join([command.packed for command in commands]))
    replies: list[Any] = []
    for _ in commands:
        try:
            replies.append(await connection.read_response())
        except ResponseError as error:
            replies.append(error)
    return replies


def _says_away(error: ResponseError) -> bool:
    """Whether an error reply means that the server cannot serve anybody now.

    Redis before 7 wraps the reply of a command inside a script in a longer text.
    """
    text = str(error)
    return isinstance(error, AWAY_ERRORS) or any(
        text.startswith(f"{word} ") or f"-{word} " in text for word in AWAY_WORDS
    )
