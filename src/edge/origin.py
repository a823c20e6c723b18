"""The origin: read-only look-ups in PostgreSQL, for links whose shard cannot answer, behind a bulkhead.

A bounded queue and a fixed number of connections: a lost shard must not become PostgreSQL's overload. When PostgreSQL
does not answer either, look-ups fail at once until the next attempt is due, so that no request waits for it (I1).
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import asyncpg
import structlog

from edge._counters import Counters
from edge.clock import monotonic_ms
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


@dataclass(frozen=True, slots=True)
class Lookup:
    """One key that waits for PostgreSQL; one of the two callbacks is called, once."""

    key: bytes
    on_record: OnRecord
    on_failure: Callable[[], None]


class Origin:
    """Look-ups by cache key in the view edge_link."""

    def __init__(self, config: EdgeConfig, counters: Counters) -> None:
        self._config = config
        self._counters = counters
        self._queue: asyncio.Queue[Lookup] = asyncio.Queue(config.origin_queue_max)
        self._failed_until_ms = 0
        self._retry_ms = RETRY_MS_MIN
        self._was_reported = False
        counters.set("is_origin_reachable", 0)

    def lookup(self, lookup: Lookup) -> bool:
        """Queue a look-up; False, and no callback, if it cannot even be tried now."""
        if not self._config.origin_url or monotonic_ms() < self._failed_until_ms:
            return False
        try:
            self._queue.put_nowait(lookup)
        except asyncio.QueueFull:
            self._counters.add("origin_rejections")
            return False
        self._counters.add("origin_lookups")
        return True

    async def run(self) -> None:
        """Serve the queue until cancelled."""
        if not self._config.origin_url:
            return
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._config.origin_connections):
                tasks.create_task(self._serve())

    async def _serve(self) -> None:
        """One connection's life: connect early, so that the first shard that is lost finds it open."""
        connection: asyncpg.Connection[Any] | None = None
        try:
            while True:
                if connection is None or connection.is_closed():
                    connection = await self._connect()
                batch = await self._take()
                try:
                    await self._read(connection, batch)
                except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                    self._report(error)
                    _fail(batch)
                    connection.terminate()
        finally:
            if connection is not None:
                connection.terminate()

    async def _connect(self) -> "asyncpg.Connection[Any]":
        """Connect, however long it takes; what is queued meanwhile fails at once."""
        timeout_s = self._config.origin_timeout_ms / 1000
        while True:
            try:
                connection = await asyncpg.connect(
                    self._config.origin_url,
                    timeout=timeout_s,
                    command_timeout=timeout_s,
                    server_settings={"application_name": "pointsman-edge", "default_transaction_read_only": "on"},
                )
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                self._report(error)
                self._fail_queue()
                await asyncio.sleep(self._retry_ms / 1000)
                self._retry_ms = min(self._retry_ms * 2, RETRY_MS_MAX)
            else:
                self._failed_until_ms = 0
                self._retry_ms = RETRY_MS_MIN
                self._was_reported = False
                self._counters.set("is_origin_reachable", 1)
                return connection

    async def _take(self) -> list[Lookup]:
        batch = [await self._queue.get()]
        while len(batch) < BATCH_MAX and not self._queue.empty():
            batch.append(self._queue.get_nowait())
        return batch

    async def _read(self, connection: "asyncpg.Connection[Any]", batch: list[Lookup]) -> None:
        domains, codes = zip(*(_split(lookup.key) for lookup in batch), strict=True)
        rows = await connection.fetch(QUERY, domains, codes)
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
            lookup.on_failure()
        else:
            lookup.on_record(record)

    def _report(self, error: Exception) -> None:
        self._failed_until_ms = monotonic_ms() + self._retry_ms
        self._counters.set("is_origin_reachable", 0)
        self._counters.add("origin_failures")
        if not self._was_reported:
            self._was_reported = True
            log.warning("PostgreSQL unreachable, links of a lost shard answer 503", error=str(error) or "timeout")

    def _fail_queue(self) -> None:
        _fail([self._queue.get_nowait() for _ in range(self._queue.qsize())])


def encode(row: Any) -> bytes:
    """The link record of a row of edge_link, just as control would project it."""
    return wire_record.encode(
        wire_record.LinkRecord(
            link_id=row["link_id"],
            version=row["version"],
            status=row["status"],
            target=row["target"].encode("ascii"),
            is_disabled=not row["is_enabled"],
            not_before_ms=_milliseconds(row["not_before"]),
            not_after_ms=_milliseconds(row["not_after"]),
            cache_max_age_s=row["cache_max_age_s"],
        )
    )


def _milliseconds(instant: datetime | None) -> int | None:
    return None if instant is None else int(instant.timestamp() * 1000)


def _split(key: bytes) -> tuple[int, str]:
    domain, _, code = key.partition(b":")
    return int(domain), code.decode("ascii")


def _fail(batch: Sequence[Lookup]) -> None:
    for lookup in batch:
        lookup.on_failure()
