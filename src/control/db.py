"""PostgreSQL: the pool, its deadlines, and the one place where a lost database is told from every other error."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import IntEnum, unique
from typing import Any, Final

import asyncpg

from control.errors import Error

POOL_SIZE_MAX: Final = 16
CONNECT_TIMEOUT_S: Final = 2.0
ACQUIRE_TIMEOUT_S: Final = 2.0
CLOSE_TIMEOUT_S: Final = 1.0
# No statement of the API or of a background task comes near this on a healthy database; the long ones are paged.
COMMAND_TIMEOUT_S: Final = 10.0

# asyncpg's connections from a pool are proxies with the methods of a connection.
Connection = Any

_UNAVAILABLE: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.ReadOnlySQLTransactionError,
    # What asyncpg raises on a connection that a dying server has sent its goodbye to, until the socket is closed.
    asyncpg.InternalClientError,
)


@unique
class LockKind(IntEnum):
    """The first numbers of advisory locks that are pairs; here together, so that no two features take the same one."""

    BATCHES = 0x504D01
    KEEPER = 0x504D02
    PLACEMENT = 0x504D03
    DRIVER = 0x504D05
    AUDITOR = 0x504D06


class Database:
    """A pool whose users see Error("database_unavailable") when PostgreSQL cannot be used now."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", url: str) -> None:
        self._pool = pool
        self._url = url

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection without a transaction, for single statements."""
        async with _translated(), self._pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as connection:
            try:
                yield connection
            except asyncpg.InternalClientError:
                connection.terminate()  # out of step with its server; the pool must not give it to anybody else
                raise

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A connection inside a READ COMMITTED transaction, committed unless the block raises."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    @asynccontextmanager
    async def dedicated(self) -> AsyncIterator[Connection]:
        """A connection outside the pool, for LISTEN and for session locks, which must not outlive their user."""
        async with _translated():
            connection = await _connect(self._url)
            try:
                yield connection
            finally:
                # Not close(): a graceful goodbye waits for a server that may be the reason why we leave.
                connection.terminate()

    async def close(self) -> None:
        """Close every connection; those still in use after a moment are cut."""
        try:
            await asyncio.wait_for(self._pool.close(), CLOSE_TIMEOUT_S)
        except TimeoutError:
            self._pool.terminate()


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    try:
        yield
    except asyncpg.ClientConfigurationError as error:
        raise Error("setting_invalid", f"POINTSMAN_DATABASE_URL is no PostgreSQL URL: {error}") from error
    except _UNAVAILABLE as error:
        raise Error("database_unavailable", f"PostgreSQL cannot be used now: {_reason(error)}") from error
    except asyncpg.InterfaceError as error:
        if "closed" not in str(error):  # asyncpg has no class of its own for a connection that was lost earlier
            raise
        raise Error("database_unavailable", "PostgreSQL closed the connection") from error


def _reason(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


async def _connect(url: str) -> Connection:
    return await asyncpg.connect(url, timeout=CONNECT_TIMEOUT_S, command_timeout=COMMAND_TIMEOUT_S)


async def _leave_as_is(_: Connection) -> None:
    """Instead of asyncpg's reset, a round trip at each release: users of the pool leave no session state behind."""


async def open_database(url: str) -> Database:
    """A database handle; connects when first used, so that control starts while PostgreSQL is down."""
    async with _translated():
        pool = await asyncpg.create_pool(
            url,
            min_size=0,
            max_size=POOL_SIZE_MAX,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=COMMAND_TIMEOUT_S,
            reset=_leave_as_is,
        )
    return Database(pool, url)
