"""The origin: read-only look-ups in PostgreSQL, for links whose shard cannot answer, behind a bulkhead.

A bounded queue and a fixed number of connections: a lost shard must not become PostgreSQL's overload. Each look-up ends
within origin_timeout_ms, its time in the queue included. While no connection is open look-ups fail at once, so that no
request waits for a PostgreSQL that does not answer either (I1).
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
import structlog

from edge._counters import Counters
from edge.clock import monotonic_us
from edge.config import EdgeConfig
from wire import record as wire_record

log = structlog.get_logger("edge.origin")

BATCH_MAX: Final = 128
RETRY_MS_MIN: Final = 100
RETRY_MS_MAX: Final = 2000

QUERY: Final = """
    SELECT domain_id, code, link_id, version, status, target, is_enabled, not_before, not_after,
           cache_max_age_s
    FROM edge_link JOIN unnest($1::int[], $2::text[]) AS wanted (domain_id, code) USING (domain_id, code)
"""

# Gets the record of the link, None if PostgreSQL says that there is none.
OnRecord = Callable[[bytes | None], None]
ERRORS: Final = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)


@dataclass(slots=True)
class Lookup:
    """One key that waits for PostgreSQL; one of the two callbacks is called, once."""

    key: bytes
    on_record: OnRecord
    on_failure: Callable[[], None]
    started_us: int = 0
    is_over: bool = False


class Origin:
    """Look-ups by cache key in the view edge_link."""

    def __init__(self, config: EdgeConfig, counters: Counters) -> None:
        self._config = config
        self._counters = counters
        self._queue: deque[Lookup] = deque()
        self._wake = asyncio.Event()  # set when something is queued or a connection is lost
        self._under_way: deque[Lookup] = deque()  # in the order in which their time ends; some may be over before
        self._connected = 0
        self._is_away = False  # before the first attempt to connect has ended, look-ups wait for it
        self._was_reported = False
        self._show_reachability()

    def lookup(self, lookup: Lookup) -> bool:
        """Queue a look-up; False, and no callback, if it cannot even be tried now."""
        if not self._config.origin_url or self._is_away:
            return False
        if len(self._queue) >= self._config.origin_queue_max:
            self._counters.add("origin_rejections")
            return False
        lookup.started_us = monotonic_us()
        self._queue.append(lookup)
        self._wake.set()
        self._under_way.append(lookup)
        self._counters.add("origin_lookups")
        return True

    def sweep(self, now_ms: int) -> None:
        """Fail the look-ups whose time is over, wherever they are."""
        while self._under_way and (self._under_way[0].is_over or self._is_overdue(self._under_way[0], now_ms)):
            lookup = self._under_way.popleft()
            if not lookup.is_over:
                self._counters.add("origin_timeouts")
                self._fail([lookup])
        while self._queue and self._queue[0].is_over:  # else they would take the places of others
            self._queue.popleft()

    def _is_overdue(self, lookup: Lookup, now_ms: int) -> bool:
        return now_ms - lookup.started_us // 1000 >= self._config.origin_timeout_ms

    async def run(self) -> None:
        """Serve the queue until cancelled."""
        if not self._config.origin_url:
            return
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._config.origin_connections):
                tasks.create_task(self._serve())

    async def _serve(self) -> None:
        """Keep one connection open, also while there is nothing to do: the first shard that is lost needs it."""
        while True:
            connection = await self._connect()
            try:
                while not connection.is_closed():
                    batch = self._take()
                    if batch:
                        await self._read(connection, batch)
                    else:
                        self._wake.clear()
                        await self._wake.wait()
            finally:
                connection.terminate()

    async def _connect(self) -> "asyncpg.Connection[Any]":
        """Connect, however long it takes."""
        timeout_s = self._config.origin_timeout_ms / 1000
        retry_ms = RETRY_MS_MIN
        while True:
            try:
                connection = await asyncpg.connect(
                    self._config.origin_url,
                    timeout=timeout_s,
                    command_timeout=timeout_s,
                    server_settings={"application_name": "pointsman-edge", "default_transaction_read_only": "on"},
                )
            except ERRORS as error:
                self._report(error)
                self._lose()
                await asyncio.sleep(retry_ms / 1000 * random.uniform(0.5, 1.0))  # noqa: S311  jitter is no secret
                retry_ms = min(retry_ms * 2, RETRY_MS_MAX)
            else:
                connection.add_termination_listener(self._on_lost)
                self._connected += 1
                self._is_away = self._was_reported = False
                self._show_reachability()
                return connection

    def _take(self) -> list[Lookup]:
        batch: list[Lookup] = []
        while self._queue and len(batch) < BATCH_MAX:
            lookup = self._queue.popleft()
            if not lookup.is_over:
                batch.append(lookup)
        return batch

    async def _read(self, connection: "asyncpg.Connection[Any]", batch: Sequence[Lookup]) -> None:
        """Read the links of a batch; when that fails so do they, and the connection with them."""
        domains, codes = zip(*(_split(lookup.key) for lookup in batch), strict=True)
        try:
            rows = await connection.fetch(QUERY, domains, codes)
        except ERRORS as error:
            self._report(error)
            connection.terminate()
            self._fail(batch)
            return
        found = {b"%d:%s" % (row["domain_id"], row["code"].encode()): row for row in rows}
        for lookup in batch:
            self._settle(lookup, found.get(lookup.key))

    def _settle(self, lookup: Lookup, row: Any | None) -> None:
        """Give the row's record; a row that no record can hold fails alone, and is neither a link nor a 404."""
        try:
            record = None if row is None else encode(row)
        except ValueError as error:
            self._counters.add("record_failures")
            log.debug("row of edge_link refused", key=lookup.key.decode("ascii"), error=str(error))
            self._fail([lookup])
            return
        if self._end(lookup):
            lookup.on_record(record)

    def _fail(self, lookups: Iterable[Lookup]) -> None:
        for lookup in lookups:
            if self._end(lookup):
                lookup.on_failure()

    def _end(self, lookup: Lookup) -> bool:
        """Whether the look-up ends here, and has not ended before."""
        if lookup.is_over:
            return False
        lookup.is_over = True
        self._counters.observe("origin_lookup", monotonic_us() - lookup.started_us)
        return True

    def _on_lost(self, _connection: Any) -> None:
        """Called by asyncpg, once for each connection, whichever side has ended it."""
        self._connected -= 1
        self._lose()
        self._wake.set()

    def _lose(self) -> None:
        """Without any connection, what is queued fails, and what comes is refused, until there is one again."""
        self._is_away = self._connected == 0
        self._show_reachability()
        if self._is_away:
            lookups, self._queue = self._queue, deque()
            self._fail(lookups)

    def _show_reachability(self) -> None:
        self._counters.set("is_origin_reachable", int(self._connected > 0))

    def _report(self, error: Exception) -> None:
        self._counters.add("origin_failures")
        if not self._was_reported:
            self._was_reported = True
            log.warning("PostgreSQL unreachable, links of a lost shard answer 503", error=str(error) or "timeout")


def encode(row: Any) -> bytes:
    """The link record of a row of edge_link, just as control would project it."""
    return wire_record.encode(
        wire_record.LinkRecord(
            link_id=row["link_id"],
            version=row["version"],
            status=row["status"],
            target=row["target"].encode("ascii"),
            is_disabled=not row["is_enabled"],
            not_before_ms=wire_record.milliseconds(row["not_before"]),
            not_after_ms=wire_record.milliseconds(row["not_after"]),
            cache_max_age_s=row["cache_max_age_s"],
        )
    )


def _split(key: bytes) -> tuple[int, str]:
    domain, _, code = key.partition(b":")
    return int(domain), code.decode("ascii")
