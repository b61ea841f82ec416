"""The asyncpg pool all stores of a process share: reconnects, times out, says when it is away."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import asyncpg
import structlog

from gateway.domain.errors import StoreUnavailable
from gateway.stores.postgres.failures import ConnectionLost, away_as_unavailable, lost_midway

log = structlog.get_logger(__name__)

T = TypeVar("T")

CONNECTIONS_MAX = 10
HOT_CONNECTIONS_MAX = 8
CONNECT_TIMEOUT_S = 3.0
ACQUIRE_TIMEOUT_S = 5.0
COMMAND_TIMEOUT_S = 20.0
# How long a write whose outcome is unknown waits for Postgres to come back and tell.
CERTAINTY_TIMEOUT_S = 8.0
RETRY_PAUSE_S = 0.1
# How often a process that starts asks whether Postgres is there by now.
START_PAUSE_S = 1.0
# The server gives up before the client does, so that a timeout means "not committed". Whole-table
# scans are off because statements here look up by key, and plans are kept while tables grow.
SERVER_SETTINGS = {
    "statement_timeout": "15s",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "30s",
    "jit": "off",
    "enable_seqscan": "off",
}
# Planning one of the long statements of tasks takes longer than running it for a few tasks, and
# PostgreSQL would plan them anew for every batch: a plan for a list of one seems so much cheaper.
HOT_SETTINGS = {"plan_cache_mode": "force_generic_plan"}


class Database:
    """Two pools for one ``postgresql://`` URL (unix-socket form included).

    The second is for ``hot`` statements, which are planned once for each connection: those whose
    plan is good whatever they are given (`tests/stores/postgres/test_plans.py`). Connections are
    made when needed and replaced when Postgres restarted; every method raises StoreUnavailable
    while it is away.
    """

    def __init__(
        self,
        url: str,
        *,
        application_name: str = "gateway",
        connections_max: int = CONNECTIONS_MAX,
    ) -> None:
        """Describe the pool; connects nothing."""
        self.url = url
        self._settings = {**SERVER_SETTINGS, "application_name": application_name}
        self._connections_max = connections_max
        self._pool: Any = None
        self._hot_pool: Any = None

    async def connect(self, wait_s: float = 0) -> None:
        """Open the pool and prove that Postgres answers; one that is away is waited for.

        Raises StoreUnavailable when it does not answer within ``wait_s``.
        """
        if self._pool is None:
            hot = {**self._settings, **HOT_SETTINGS}
            self._hot_pool = await self._new_pool(HOT_CONNECTIONS_MAX, hot)
            self._pool = await self._new_pool(self._connections_max, self._settings)
        loop = asyncio.get_running_loop()
        gives_up = loop.time() + wait_s
        while True:
            try:
                return await self.ping()
            except StoreUnavailable as error:
                left_s = gives_up - loop.time()
                if left_s <= 0:
                    raise
                log.warning("database_awaited", reason=str(error), left_s=round(left_s))
            await asyncio.sleep(min(START_PAUSE_S, left_s))

    async def _new_pool(self, connections_max: int, settings: dict[str, str]) -> Any:
        return await asyncpg.create_pool(
            self.url,
            min_size=0,
            max_size=connections_max,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=COMMAND_TIMEOUT_S,
            server_settings=settings,
            reset=_leave_session,
        )

    async def close(self) -> None:
        """Close every connection; what is running is given two seconds."""
        pools = [pool for pool in (self._pool, self._hot_pool) if pool is not None]
        self._pool = self._hot_pool = None
        await asyncio.gather(*map(_close, pools))

    async def ping(self) -> None:
        """Return when Postgres answers. Raises StoreUnavailable."""
        await self.read("SELECT 1")

    @asynccontextmanager
    async def connection(self, *, hot: bool = False) -> AsyncIterator[Any]:
        """Lend a connection. Raises ConnectionLost when it breaks inside the block."""
        pool = self._hot_pool if hot else self._pool
        connection = await _acquire(pool)
        try:
            with away_as_unavailable(), lost_midway():
                yield connection
        except ConnectionLost:
            _abandon(connection)
            raise
        finally:
            await _release(pool, connection)

    @asynccontextmanager
    async def transaction(
        self, *, isolation: str = "read_committed", readonly: bool = False
    ) -> AsyncIterator[Any]:
        """Lend a connection inside one transaction; committed at the end of the block."""
        async with (
            self.connection() as connection,
            connection.transaction(isolation=isolation, readonly=readonly),
        ):
            yield connection

    async def write(self, statement: str, *arguments: object, hot: bool = False) -> list[Any]:
        """Run one statement as its own transaction, once; gives its rows."""
        async with self.connection(hot=hot) as connection:
            rows: list[Any] = await connection.fetch(statement, *arguments)
            return rows

    async def read(self, statement: str, *arguments: object, hot: bool = False) -> list[Any]:
        """Run one reading statement; a connection found dead is replaced and it is run again.

        Raises StoreUnavailable, never ConnectionLost: nothing can have been written.
        """
        try:
            return await self.write(statement, *arguments, hot=hot)
        except ConnectionLost:
            pass
        try:
            return await self.write(statement, *arguments, hot=hot)
        except ConnectionLost as error:
            raise StoreUnavailable("The database is away.", error.detail) from error

    async def certain(self, work: Callable[[bool], Awaitable[T]]) -> T:
        """Bring a repeatable write to a known end although Postgres may restart under it.

        ``work`` is told whether it is a repetition, after a try that may have been committed;
        it must then recognise what it wrote. Raises ConnectionLost when Postgres does not come
        back within ``CERTAINTY_TIMEOUT_S``: only then is the outcome unknown.
        """
        loop = asyncio.get_running_loop()
        gives_up = loop.time() + CERTAINTY_TIMEOUT_S
        lost: ConnectionLost | None = None
        while True:
            try:
                return await work(lost is not None)
            except ConnectionLost as error:
                lost = error
            except StoreUnavailable:
                if lost is None:
                    raise
            if loop.time() > gives_up:
                raise lost
            await asyncio.sleep(RETRY_PAUSE_S)

    @asynccontextmanager
    async def exclusively(self, name: str) -> AsyncIterator[bool]:
        """Give whether this process alone holds the lock ``name`` for the length of the block.

        Another holder's crash frees it. A connection is kept for as long.
        """
        lock_id = zlib.crc32(name.encode()) - 2**31
        pool = self._pool
        connection = await _acquire(pool)
        try:
            with away_as_unavailable():
                held = await connection.fetchval("SELECT pg_try_advisory_lock($1, 1)", lock_id)
            yield held
            if held:
                with away_as_unavailable():
                    await connection.fetchval("SELECT pg_advisory_unlock($1, 1)", lock_id)
        except BaseException:
            # The lock belongs to the session: ending it frees the lock for certain.
            _abandon(connection)
            raise
        finally:
            await _release(pool, connection)


async def _acquire(pool: Any) -> Any:
    if pool is None:
        raise StoreUnavailable("The database is not connected.")
    with away_as_unavailable():
        return await pool.acquire(timeout=ACQUIRE_TIMEOUT_S)


async def _release(pool: Any, connection: Any) -> None:
    with away_as_unavailable():
        await pool.release(connection)


async def _close(pool: Any) -> None:
    try:
        await asyncio.wait_for(pool.close(), 2.0)
    except TimeoutError:
        pool.terminate()


def _abandon(connection: Any) -> None:
    """End a connection that is broken or holds a lock; one that is gone already stays gone."""
    with suppress(asyncpg.InterfaceError):
        connection.terminate()


async def _leave_session(_connection: Any) -> None:
    """Reset nothing: no code here changes a session, and a reset would cost a round trip."""
