"""The miss: single flight, one MGET per shard and loop turn, then the origin, then stale, then 503.

    Front ──resolve──▶ flight (one per key) ──batch of this loop turn──▶ shard
                                                                          │ final by its fence: answered
                         origin ◀── shard not usable, late, or doubtful ──┘
                           │ record or none: final
                           └─ not reachable or full ──▶ stale entry within the limit ──▶ else 503

Invariants:
- I1: a request waits for a shard at most reply_timeout_ms and for the origin at most origin_timeout_ms;
- I5: 404 is said only for a tombstone, for a final miss, or by PostgreSQL;
- each call of `resolve` leads to just one `connection.answer`, later.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from edge._counters import Counters
from edge._connection import Connection, Tier
from edge._front import ORIGIN_SHARD, Answer, Front
from edge.config import EdgeConfig
from edge.origin import Lookup, Origin
from edge.shards import Shard
from edge.topology import Map
from edge.verdict import Verdict
from wire.errors import FormatError

log = structlog.get_logger("edge.resolver")

BATCH_MAX = 256  # keys of one MGET: longer ones would hold up the shard's other clients


@dataclass(slots=True)
class Flight:
    """One key that is being looked up, and the connections that wait for it."""

    key: bytes
    waiters: list[Connection] = field(default_factory=list)
    is_cacheable: bool = True  # no push came for the key since the flight began


@dataclass(frozen=True, slots=True)
class Source:
    """Where an answer that L1 may hold came from, and for how long it may be held."""

    shard: int
    generation: int
    ttl_ms: int


class Resolver:
    """Looks up what L1 does not hold."""

    def __init__(self, config: EdgeConfig, counters: Counters, origin: Origin) -> None:
        self._config = config
        self._counters = counters
        self._origin = origin
        self._front: Front
        self._map: Map | None = None
        self._shards: dict[int, Shard] = {}
        self._flights: dict[bytes, Flight] = {}
        self._batches: dict[int, list[Flight]] = {}
        self._waiters = 0
        self._call_soon: Callable[..., object] = asyncio.get_running_loop().call_soon

    def bind(self, front: Front) -> None:
        """Set the Front, which was made with this resolver's `resolve`."""
        self._front = front

    def route(self, new_map: Map, shards: dict[int, Shard]) -> None:
        """Look keys up by this map and these shards from now on."""
        self._map = new_map
        self._shards = shards

    # ---- from the Front

    def resolve(self, key: bytes, key_hash: int, connection: Connection) -> None:
        """Called by Front on a miss."""
        if self._waiters >= self._config.waiters_max:
            self._reject(connection)
            return
        flight = self._flights.get(key)
        if flight is not None:
            self._counters.add("flights_joined")
        elif len(self._flights) < self._config.flights_max:
            flight = self._flights[key] = Flight(key)
            self._board(flight, key_hash)
        else:
            self._reject(connection)
            return
        self._waiters += 1
        flight.waiters.append(connection)

    def on_invalidated(self, key: bytes) -> None:
        """A push came for the key: later requests must not join, nor L1 keep, what was read before it.

        1. The origin is read; 2. the link changes and is projected; 3. this push comes; 4. the origin's answer comes,
        which is from before 2. For a shard's reply this cannot happen: it comes before the push.
        """
        self._front.forget(key)
        flight = self._flights.pop(key, None)
        if flight is not None:
            flight.is_cacheable = False

    def _reject(self, connection: Connection) -> None:
        self._counters.add("flights_rejected")
        self._call_soon(connection.answer, self._front.unresolved(), "none")

    # ---- the shard

    def _board(self, flight: Flight, key_hash: int) -> None:
        """Put the flight into its shard's batch of this loop turn, or send it to the origin."""
        number = self._map.number(key_hash) if self._map is not None else None
        shard = self._shards.get(number) if number is not None else None
        if number is None or shard is None or not shard.is_usable:
            # Not from within: a failing origin answers at once, and `resolve` must have returned before.
            self._call_soon(self._ask_origin, flight)
            return
        batch = self._batches.setdefault(number, [])
        if not batch:
            self._call_soon(self._depart, number)
        batch.append(flight)

    def _depart(self, number: int) -> None:
        flights = self._batches.pop(number)
        for start in range(0, len(flights), BATCH_MAX):
            self._ask_shard(number, flights[start : start + BATCH_MAX])

    def _ask_shard(self, number: int, flights: list[Flight]) -> None:
        shard = self._shards.get(number)

        def on_values(verdict: Verdict, generation: int, values: Sequence[bytes | None]) -> None:
            if verdict.is_epoch_behind and shard is not None:
                shard.refresh_documents()
            for flight, value in zip(flights, values, strict=True):
                self._on_value(flight, value, verdict, number, generation)

        def on_failure() -> None:
            for flight in flights:
                self._ask_origin(flight)

        if shard is None or not shard.is_usable:
            on_failure()
        else:
            shard.lookup([flight.key for flight in flights], on_values, on_failure)

    def _on_value(self, flight: Flight, value: bytes | None, verdict: Verdict, number: int, generation: int) -> None:
        answer = self._read(flight.key, value)
        is_final = verdict.are_misses_final if value is None else verdict.are_hits_final
        if answer is None or not is_final:
            self._ask_origin(flight)
            return
        ttl_ms = self._config.absence_ttl_ms if answer.is_absent else self._config.ttl_ms
        self._settle(flight, answer, "shard", Source(number, generation, _jittered(ttl_ms)))

    # ---- the origin, and what is left without it

    def _ask_origin(self, flight: Flight) -> None:
        def on_record(record: bytes | None) -> None:
            answer = self._read(flight.key, record)
            if answer is None:
                self._fall_back(flight)
            else:
                self._settle(flight, answer, "origin", Source(ORIGIN_SHARD, 0, self._config.origin_ttl_ms))

        def on_failure() -> None:
            self._fall_back(flight)

        if not self._origin.lookup(Lookup(flight.key, on_record, on_failure)):
            self._fall_back(flight)

    def _fall_back(self, flight: Flight) -> None:
        stale = self._front.stale(flight.key, self._config.stale_ms)
        if stale is not None:
            self._settle(flight, stale, "stale", None)
        else:
            self._settle(flight, self._front.unresolved(), "none", None)

    # ---- the end of a flight

    def _read(self, key: bytes, record: bytes | None) -> Answer | None:
        """The answer that a record means; None for one that this build cannot read."""
        if record is None:
            return self._front.absent()
        try:
            return self._front.read(record)
        except FormatError as error:
            self._counters.add("record_failures")
            log.debug("link record refused", key=key.decode("ascii"), error=str(error))
            return None

    def _settle(self, flight: Flight, answer: Answer, tier: Tier, source: Source | None) -> None:
        """Answer all that wait; without a source the answer is for them alone."""
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]
        if flight.is_cacheable and source is not None:
            self._front.remember(flight.key, answer, source.shard, source.generation, source.ttl_ms)
        self._waiters -= len(flight.waiters)
        for connection in flight.waiters:
            connection.answer(answer, tier)


def _jittered(ttl_ms: int) -> int:
    """A tenth less at most, so that what was filled together does not end together."""
    return round(ttl_ms * random.uniform(0.9, 1.0))  # noqa: S311  jitter is no secret
