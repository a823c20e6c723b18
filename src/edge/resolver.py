"""The miss: single flight, one MGET per shard and loop turn, then the origin, then stale, then 503.

    Front ──resolve──▶ flight (one per key) ──batch of this loop turn──▶ shard
    Front ──refresh──▶ flight, no waiter ────┘                            │ final by its fence: answered
                         origin ◀── not usable, breaker open, late, or doubtful; a refresh just ends
                           │ record or none: final
                           └─ not reachable or full ──▶ stale entry within the limit ──▶ else 503

Invariants:
- I1: a request waits for a shard at most reply_timeout_ms and for the origin at most origin_timeout_ms;
- I5: 404 is said only for a tombstone, for a final miss, or by PostgreSQL;
- each call of `resolve` leads to just one `connection.answer`, later;
- a refresh reads a shard or nothing: PostgreSQL answers requests alone, and what L1 holds stays as it is until a shard
  has answered finally.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import structlog

from edge._connection import Tier
from edge._counters import Counters
from edge._front import ORIGIN_SHARD, Answer, Front
from edge.clock import monotonic_ms
from edge.config import EdgeConfig
from edge.origin import Lookup, Origin
from edge.shards import Shard
from edge.topology import Map
from edge.verdict import Verdict
from wire.errors import FormatError

log = structlog.get_logger("edge.resolver")

SHARE_MAX: Final = 256  # waiters of one flight answered in one loop turn: a millisecond or two
BATCH_MAX: Final = 256  # keys of one MGET: longer ones would hold up the shard's other clients


class Waiter(Protocol):
    """A request of the door, or of another server (rsgi.py)."""

    def answer(self, answer: Answer, tier: Tier) -> None:
        """Take the answer; called once."""


@dataclass(slots=True)
class Flight:
    """One key that is being looked up, and the connections that wait for it."""

    key: bytes
    key_hash: int
    is_refresh: bool
    waiters: list[Waiter] = field(default_factory=list)
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
        self._boarding: list[Flight] = []
        self._misses = 0
        self._refreshes = 0
        self._waiters = 0
        self._call_soon: Callable[..., object] = asyncio.get_running_loop().call_soon

    def bind(self, front: Front) -> None:
        """Set the Front, which was made with this resolver's `resolve`."""
        self._front = front

    def route(self, new_map: Map, shards: dict[int, Shard]) -> None:
        """Look keys up by this map and these shards from now on."""
        self._map = new_map
        self._shards = shards

    def report(self) -> None:
        """Show what is under way to the supervisor."""
        self._counters.set("misses_under_way", self._misses)
        self._counters.set("refreshes_under_way", self._refreshes)
        self._counters.set("waiters", self._waiters)

    # ---- from the Front

    def resolve(self, key: bytes, key_hash: int, waiter: Waiter) -> None:
        """Called by Front on a miss."""
        if self._waiters >= self._config.waiters_max:
            self._reject(waiter)
            return
        flight = self._flights.get(key)
        if flight is not None:
            self._counters.add("flights_joined")
        elif self._misses < self._config.flights_max:
            flight = self._board(Flight(key, key_hash, is_refresh=False))
            self._misses += 1
        else:
            self._reject(waiter)
            return
        self._waiters += 1
        flight.waiters.append(waiter)

    def refresh(self, key: bytes, key_hash: int) -> bool:
        """Look the key up at its shard though nobody waits for it; whether that is under way now.

        False: refreshes_max are, or the shard cannot be asked. L1 keeps what it has unless the shard answers finally.
        """
        if key in self._flights:
            return True
        shard = self._shards.get(self._owner(key_hash))
        if self._refreshes >= self._config.refreshes_max or shard is None or not shard.may_admit(monotonic_ms()):
            self._counters.add("refreshes_rejected")
            return False
        self._board(Flight(key, key_hash, is_refresh=True))
        self._refreshes += 1
        self._counters.add("refreshes_started")
        return True

    def on_invalidated(self, key: bytes) -> None:
        """A push came for the key: later requests must not join, nor L1 keep, what was read before it.

        1. The origin is read; 2. the link changes and is projected; 3. this push comes; 4. the origin's answer comes,
        which is from before 2. For a shard's reply this cannot happen: it comes before the push.
        """
        self._front.forget(key)
        flight = self._flights.pop(key, None)
        if flight is not None:
            flight.is_cacheable = False

    def _reject(self, waiter: Waiter) -> None:
        self._counters.add("flights_rejected")
        self._call_soon(waiter.answer, self._front.unresolved(), "none")

    # ---- the shard

    def _owner(self, key_hash: int) -> int:
        """The number of the shard that owns the key; -1 before there is a topology."""
        return -1 if self._map is None else self._map.number(key_hash)

    def _board(self, flight: Flight) -> Flight:
        self._flights[flight.key] = flight
        if not self._boarding:
            self._call_soon(self._depart)
        self._boarding.append(flight)
        return flight

    def _depart(self) -> None:
        """Send what this loop turn has gathered.

        The owners are looked up only here: 1. a flight boards; 2. a topology is adopted, and all that L1 has is
        distrusted; 3. were the flight to go to the owner of 1, its answer would stay in L1 as one that this shard's
        pushes cover, though its writes now go to another.
        """
        flights, self._boarding = self._boarding, []
        groups: dict[int, list[Flight]] = {}
        for flight in sorted(flights, key=lambda flight: flight.is_refresh):  # who waits goes first
            groups.setdefault(self._owner(flight.key_hash), []).append(flight)
        for number, group in groups.items():
            for start in range(0, len(group), BATCH_MAX):
                self._ask_shard(number, group[start : start + BATCH_MAX])

    def _ask_shard(self, number: int, flights: Sequence[Flight]) -> None:
        shard = self._shards.get(number)
        if shard is None or not shard.admit(monotonic_ms()):
            self._leave_shard(flights)
            return

        def on_values(verdict: Verdict, generation: int, values: Sequence[bytes | None]) -> None:
            if verdict.is_epoch_behind:
                shard.refresh_documents()
            for flight, value in zip(flights, values, strict=True):
                self._on_value(flight, value, verdict, number, generation)

        shard.lookup([flight.key for flight in flights], on_values, lambda: self._leave_shard(flights))

    def _on_value(self, flight: Flight, value: bytes | None, verdict: Verdict, number: int, generation: int) -> None:
        answer = self._read(flight.key, value)
        is_final = verdict.are_misses_final if value is None else verdict.are_hits_final
        if answer is None or not is_final:
            self._leave_shard([flight])
            return
        ttl_ms = self._config.absence_ttl_ms if answer.is_absent else self._config.ttl_ms
        self._settle(flight, answer, "shard", Source(number, generation, jittered(ttl_ms)))

    # ---- the origin, and what is left without it

    def _leave_shard(self, flights: Sequence[Flight]) -> None:
        """The shard does not decide: whoever waits is answered by the origin, and nobody else loads it."""
        for flight in flights:
            if flight.waiters:
                self._ask_origin(flight)
            else:
                self._close(flight)

    def _ask_origin(self, flight: Flight) -> None:
        generation = self._front.generation(ORIGIN_SHARD)

        def on_record(record: bytes | None) -> None:
            answer = self._read(flight.key, record)
            if answer is None:
                self._fall_back(flight)
            else:
                source = Source(ORIGIN_SHARD, generation, jittered(self._config.origin_ttl_ms))
                self._settle(flight, answer, "origin", source)

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
        self._close(flight)
        if flight.is_cacheable and source is not None:
            self._front.remember(flight.key, answer, source.shard, source.generation, source.ttl_ms)
        self._answer(flight.waiters, answer, tier)

    def _answer(self, waiters: Sequence[Waiter], answer: Answer, tier: Tier) -> None:
        """Answer a herd in shares, so that the others' requests do not wait for all of it."""
        for waiter in waiters[:SHARE_MAX]:
            waiter.answer(answer, tier)
        if len(waiters) > SHARE_MAX:
            self._call_soon(self._answer, waiters[SHARE_MAX:], answer, tier)

    def _close(self, flight: Flight) -> None:
        """Let nobody join any more, and give the flight's place free."""
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]
        if flight.is_refresh:
            self._refreshes -= 1
        else:
            self._misses -= 1
        self._waiters -= len(flight.waiters)


def jittered(ttl_ms: int) -> int:
    """A tenth less at most, so that what was filled together does not end together."""
    return round(ttl_ms * random.uniform(0.9, 1.0))  # noqa: S311  jitter is no secret
