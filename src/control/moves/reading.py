"""Going through the links of arcs: pages are streamed from PostgreSQL, and each is worked on while the next is read.

What is in memory are two pages, however many links a range holds: COPY waits until there is room for its rows.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

from control.db import Connection
from control.errors import Error
from control.links.model import HASH_OFFSET
from control.moves._pages import COLUMNS, PENDING_BYTES_MAX, Batch, Faulty, Reader
from control.moves.arcs import Range, Walk
from control.moves.throttle import Throttle
from control.projection.model import HAS_TOMBSTONE

# Within this PostgreSQL sends something, unless it is we who wait.
SILENCE_MAX_S: Final = 10.0
# asyncpg wants a limit for the whole, and counts our waits; SILENCE_MAX_S is the one that is meant to be reached.
_COPY_TIMEOUT_S: Final = 3600.0
# The audit asks a shard for a batch at once, and so does a move at a high rate: within a shard's REPLY_TIMEOUT_S, also
# over a network of 100 Mbit/s and however long the targets are. It has room in what may be pending, with what comes
# after it.
_BATCH_BYTES_MAX: Final = 4 * 2**20
assert 2 * _BATCH_BYTES_MAX <= PENDING_BYTES_MAX
# Each range is a descent of the index. The planner takes a range of unknown ends for a good part of the table, and
# would read all of it, or compile the statement.
_SETTINGS: Final = "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_material = off; SET jit = off"
ALL_LINKS: Final = f"""
SELECT {COLUMNS}
FROM (SELECT first, last, 0 AS target FROM unnest($1::bigint[], $2::bigint[]) AS range (first, last)) AS arc
CROSS JOIN LATERAL (SELECT * FROM links WHERE key_hash BETWEEN arc.first AND arc.last OFFSET 0) AS l
"""  # noqa: S608 (constant)
WITHOUT_LONG_DELETED: Final = f"{ALL_LINKS}WHERE {HAS_TOMBSTONE}"

Work = Callable[[Batch], Awaitable[None]]


class Border(NamedTuple):
    """The end of a page: all up to the hash `last` is done, and another process may begin behind it."""

    last: int
    rows: int
    faulty_count: int
    faulty: Sequence[Faulty]
    width_done: int  # of the walk


OnDone = Callable[[Border | None], Awaitable[None]]


async def prepare(connection: Connection) -> None:
    """Make a connection of one's own fit for reading arcs."""
    await connection.execute(_SETTINGS)


class Passage:
    """One way through the links of a walk."""

    def __init__(
        self,
        connection: Connection,
        walk: Walk,
        throttle: Throttle,
        reader: Callable[[], Reader],
        query: str = ALL_LINKS,
    ) -> None:
        self._connection = connection
        self._query = query
        self._walk = walk
        self._throttle = throttle
        self._new_reader = reader

    async def go(self, work: Work, on_done: OnDone) -> None:
        """Give every batch to `work`, one after the other; `on_done` is called after each, with the border that is
        reached by it, if any.
        """
        relay = _Relay(work, on_done)
        try:
            while ranges := self._walk.page(self._throttle.page_links):
                reader = self._new_reader()
                await self._read(reader, ranges, relay)
                self._walk.learn(reader.rows)
                border = Border(ranges[-1][1], reader.rows, reader.faulty_count, reader.faulty, self._walk.width_done)
                await relay.hand_over(reader.take(0), border)
            await relay.settle()
        finally:
            await relay.close()

    async def _read(self, reader: Reader, ranges: Sequence[Range], relay: "_Relay") -> None:
        """Read a page; what of it does not fit into a batch is handed over under way."""
        loop = asyncio.get_running_loop()
        pending = 0
        async with asyncio.timeout(SILENCE_MAX_S) as silence:

            async def take(data: bytes) -> None:
                nonlocal pending
                silence.reschedule(None)
                pending += reader.feed(data)
                if pending >= self._throttle.page_links or reader.pending_bytes > _BATCH_BYTES_MAX:
                    pending = 0
                    await relay.hand_over(reader.take(0), None)
                silence.reschedule(loop.time() + SILENCE_MAX_S)

            await self._connection.copy_from_query(
                self._query,
                [first - HASH_OFFSET for first, _ in ranges],
                [last - HASH_OFFSET for _, last in ranges],
                output=take,
                format="binary",
                timeout=_COPY_TIMEOUT_S,
            )
        try:
            reader.finish()
        except ValueError as error:
            raise Error("database_unavailable", f"PostgreSQL has not sent all of a page: {error}") from error


class _Relay:
    """Works on one batch at a time, while its user reads the next one."""

    def __init__(self, work: Work, on_done: OnDone) -> None:
        self._work = work
        self._on_done = on_done
        self._working: asyncio.Future[None] | None = None
        self._border: Border | None = None

    async def hand_over(self, batch: Batch, border: Border | None) -> None:
        """Wait for the batch before, and begin with this one."""
        await self.settle()
        self._border = border
        self._working = asyncio.ensure_future(self._work(batch))

    async def settle(self) -> None:
        """Wait until nothing is at work."""
        if self._working is not None:
            await self._working
            self._working = None
            await self._on_done(self._border)

    async def close(self) -> None:
        """Give up what is at work."""
        if self._working is not None:
            self._working.cancel()
            await asyncio.gather(self._working, return_exceptions=True)
