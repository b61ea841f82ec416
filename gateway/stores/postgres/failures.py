"""Which of the driver's errors mean that Postgres is away, and which that one row is at fault."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from gateway.domain.errors import StoreUnavailable

# 08 connection, 25006 read-only (a standby), 28 and 3D refused at login, 40 rolled back,
# 53 no resources, 55P03 lock timeout, 57 shutdown or statement timeout.
_AWAY = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.LockNotAvailableError,
    asyncpg.TransactionRollbackError,
    asyncpg.PostgresConnectionError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    OSError,
    asyncio.TimeoutError,
)
# InternalClientError: the server's farewell arrived, the end of the connection not yet.
_MIDWAY = (
    asyncpg.InternalClientError,
    asyncpg.ConnectionDoesNotExistError,
    asyncpg.ConnectionFailureError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    ConnectionError,
    asyncio.TimeoutError,
)

# One row is at fault, never the connection: the others of its batch can still pass.
ROW_FAULTS = (asyncpg.IntegrityConstraintViolationError, asyncpg.DataError)


class ConnectionLost(StoreUnavailable):
    """The database went away in the middle of a write, which may have been committed or not."""

    outcome_known = False


@contextmanager
def away_as_unavailable() -> Iterator[None]:
    """Turn the driver's connection failures inside the block into StoreUnavailable."""
    try:
        yield
    except _AWAY as error:
        raise StoreUnavailable("The database is away.", _detail(error)) from error
    except asyncpg.InterfaceError as error:
        if not _is_closed(error):
            raise
        raise StoreUnavailable("The database is away.", _detail(error)) from error


@contextmanager
def lost_midway() -> Iterator[None]:
    """Turn a connection that breaks under a running statement into ConnectionLost."""
    try:
        yield
    except _MIDWAY as error:
        raise ConnectionLost("", _detail(error)) from error
    except asyncpg.InterfaceError as error:
        if not _is_closed(error):
            raise
        raise ConnectionLost("", _detail(error)) from error


def _is_closed(error: asyncpg.InterfaceError) -> bool:
    """Tell a closed connection or pool from a mistake in our own call, which share one type."""
    text = str(error)
    return "closed" in text or "closing" in text or "released" in text


def _detail(error: BaseException) -> str:
    """Give the driver's words; they may name hosts and accounts, which callers are not told."""
    return f"{type(error).__name__}: {error}"
