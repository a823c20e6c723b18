"""The miss: single flight, one MGET per shard and loop turn, then the origin, then stale, then 503.

    Front ──resolve──▶ flight (one per key) ──batch of this loop turn──▶ shard
    Front ──refresh──▶ flight, no waiter ────┘     ▲                      │ final by its fence: answered
                 a newer topology, or its owner ───┤                      │
                 is another one by now             └── parked ◀── behind ─┤ the fence is newer than the topology held,
                                                                          │ or this worker stood still, and has not
                                                                          │ heard the shard again yet
                                                                          │
                         old owner, in mode cut-over ◀────────────────────┤ not usable, breaker open, late, doubtful,
                           │ final: answered, not kept                    │ or in mode cut-over absent
            replica of an unusable owner ◀────────────────────────────────┘ a refresh just ends
                           │ has the link: answered, not kept
                         origin
                           │ record or none: final
                           └─ not reachable or full ──▶ stale entry within the limit ──▶ else 503

Invariants:
- I1: a request waits for each shard or replica that it is sent to at most reply_timeout_ms, for a newer topology or to
  hear its shard again at most PARK_MS, and for the origin at most origin_timeout_ms; its flight departs DEPARTURES_MAX
  times at most;
- I5: 404 is said only for a tombstone, for a final miss, or by PostgreSQL;
- a shard's answer counts only if the shard is an owner of the key by the topology held when the answer comes, and L1
  keeps only what the owner on the ring that is read has said;
- each call of `resolve` leads to just one `connection.answer`, later;
- a refresh reads a shard or nothing: PostgreSQL answers requests alone, and what L1 holds stays as it is until a shard
  has answered finally.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from edge._connection import Tier
from edge._counters import Counters
from edge._front import ORIGIN_SHARD, Answer, Front
from edge.clock import monotonic_ms
from edge.config import EdgeConfig
from edge.flight import Flight, Flights, Source, Waiter
from edge.inspection import Inspector
from edge.origin import Lookup, Origin
from edge.parking import Parking
from edge.sampling import Sampler
from edge.shards import Shard
from edge.topology import Map
from edge.verdict import Verdict
from wire.errors import FormatError

log = structlog.get_logger("edge.resolver")

SHARE_MAX: Final = 256  # waiters of one flight answered in one loop turn: a millisecond or two
BATCH_MAX: Final = 256  # keys of one MGET: longer ones would hold up the shard's other clients
# To its owner, behind a newer topology to the next one, and once more for one that comes on its heels.
DEPARTURES_MAX: Final = 3

# Gets the number of the shard, the generation at the sending, the verdict, and for each flight its value.
OnValues = Callable[[int, int, Verdict, Sequence[Flight], Sequence[bytes | None]], None]
OnLeft = Callable[[int, Sequence[Flight]], None]


class Resolver:
    """Looks up what L1 does not hold."""

    def __init__(self, config: EdgeConfig, counters: Counters, origin: Origin) -> None:
        self._config = config
        self._counters = counters
        self._origin = origin
        self._sampler = Sampler(counters)
        self._front: Front
        self._inspector: Inspector
        self._map: Map | None = None
        self._shards: dict[int, Shard] = {}
        self._flights = Flights(config, counters)
        self._boarding: list[Flight] = []
        self._parked = Parking()  # until there is a newer topology
        self._unheard = Parking()  # until the owner is heard again
        self._call_soon: Callable[..., object] = asyncio.get_running_loop().call_soon

    def bind(self, front: Front) -> None:
        """Set the Front, which was made with this resolver's `resolve`."""
        self._front = front
        self._inspector = Inspector(front)

    def route(self, new_map: Map, shards: dict[int, Shard]) -> None:
        """Look keys up by this map and these shards from now on."""
        self._map = new_map
        self._shards = shards
        self._sampler.route(new_map, shards)
        self._inspector.route(shards)
        for flight in (*self._parked.leave_all(), *self._unheard.leave_all()):
            self._queue(flight)

    def sweep(self, now_ms: int) -> None:
        """End the waiting of flights that it is over for, one way or the other."""
        for flight in self._unheard.leave(lambda flight: not self._is_unheard(flight, now_ms)):
            self._queue(flight)
        self._leave_shards([*self._parked.leave_overdue(now_ms), *self._unheard.leave_overdue(now_ms)])

    def report(self) -> None:
        """Show what is under way to the supervisor."""
        self._flights.report()

    def inspect(self) -> None:
        """Compare an entry of L1 with its shard; called once a second."""
        self._inspector.inspect()

    # ---- from the Front

    def resolve(self, key: bytes, key_hash: int, waiter: Waiter) -> None:
        """Called by Front on a miss."""
        if not self._flights.may_wait:
            self._reject(waiter)
            return
        flight = self._flights.joinable(key)
        if flight is not None:
            self._counters.add("flights_joined")
        else:
            flight = self._flights.begin(key, key_hash, is_refresh=False)
            if flight is None:
                self._reject(waiter)
                return
            self._queue(flight)
        self._flights.wait(flight, waiter)

    def refresh(self, key: bytes, key_hash: int) -> bool:
        """Look the key up at its shard though nobody waits for it; whether that is under way now.

        False: refreshes_max are, or the shard cannot be asked. L1 keeps what it has unless the shard answers finally.
        """
        if key in self._flights:
            return True
        shard = self._shards.get(self._owner(key_hash))
        can_ask = shard is not None and shard.may_admit(monotonic_ms())
        flight = self._flights.begin(key, key_hash, is_refresh=True) if can_ask else None
        if flight is None:
            self._counters.add("refreshes_rejected")
            return False
        self._queue(flight)
        self._counters.add("refreshes_started")
        return True

    def on_invalidated(self, key: bytes) -> None:
        """A push came for the key: later requests must not join, nor L1 keep, what was read before it.

        1. The origin is read; 2. the link changes and is projected; 3. this push comes; 4. the origin's answer comes,
        which is from before 2. For a shard's reply this cannot happen: it comes before the push.
        """
        self._front.forget(key)
        self._inspector.on_invalidated(key)
        self._flights.outdate(key)

    def _reject(self, waiter: Waiter) -> None:
        self._counters.add("flights_rejected")
        self._call_soon(waiter.answer, self._front.unresolved(), "none")

    # ---- the way to a shard

    def _owner(self, key_hash: int) -> int:
        """The number of the shard that owns the key; -1 before there is a topology."""
        return -1 if self._map is None else self._map.number(key_hash)

    def _old_owner(self, key_hash: int) -> int:
        """The number of the shard that owned it before, while edges may ask there; else that of its owner."""
        if self._map is None or self._map.topology.mode != "cut-over":
            return self._owner(key_hash)
        return self._map.second_number(key_hash)

    def _queue(self, flight: Flight) -> None:
        if not self._boarding:
            self._call_soon(self._depart)
        self._boarding.append(flight)

    def _depart(self) -> None:
        """Send what this loop turn has gathered.

        The owners are looked up only here: 1. a flight boards; 2. a topology is adopted; 3. were the flight to go to
        the owner of 1, it would have to be sent again.
        """
        flights, self._boarding = self._boarding, []
        now_ms = monotonic_ms()
        groups: dict[int, list[Flight]] = {}
        for flight in sorted(flights, key=lambda flight: flight.is_refresh):  # who waits goes first
            flight.departures += 1
            flight.departed_ms = now_ms
            flight.absence = flight.sample = None
            groups.setdefault(self._owner(flight.key_hash), []).append(flight)
        for number, group in groups.items():
            self._ask(number, group, self._on_owner, self._leave_owner)
        self._sampler.choose(flights)

    def _ask(self, number: int, flights: Sequence[Flight], on_values: OnValues, on_left: OnLeft) -> None:
        for start in range(0, len(flights), BATCH_MAX):
            self._ask_batch(number, flights[start : start + BATCH_MAX], on_values, on_left)

    def _ask_batch(self, number: int, flights: Sequence[Flight], on_values: OnValues, on_left: OnLeft) -> None:
        shard = self._shards.get(number)
        now_ms = monotonic_ms()
        if shard is None or not shard.admit(now_ms):
            # A former owner is not waited for: without it the owner's word counts.
            if shard is not None and shard.is_unheard(now_ms) and self._owner(flights[0].key_hash) == number:
                self._park(flights, self._unheard)
            else:
                on_left(number, flights)
            return
        epoch = shard.epoch

        def on_reply(verdict: Verdict, generation: int, values: Sequence[bytes | None]) -> None:
            if not verdict.is_epoch_behind:
                on_values(number, generation, verdict, flights, values)
            elif shard.epoch > epoch:
                self._again(flights)  # a newer topology was adopted meanwhile
            else:
                shard.refresh_documents()
                self._park(flights, self._parked)

        shard.lookup([flight.key for flight in flights], on_reply, lambda: on_left(number, flights))

    def _again(self, flights: Sequence[Flight]) -> None:
        """Look up anew by the topology that is held now, unless that has been done often enough."""
        for flight in flights:
            if flight.departures < DEPARTURES_MAX:
                self._queue(flight)
            else:
                self._leave_shards([flight])

    def _park(self, flights: Sequence[Flight], parking: Parking) -> None:
        """Have them wait: PostgreSQL would get all misses of a shard at once."""
        self._counters.add("flights_parked", len(flights))
        now_ms = monotonic_ms()
        for flight in flights:
            if flight.waiters and flight.departures < DEPARTURES_MAX:
                parking.enter(flight, now_ms)
            else:
                self._leave_shards([flight])

    def _is_unheard(self, flight: Flight, now_ms: int) -> bool:
        shard = self._shards.get(self._owner(flight.key_hash))
        return shard is not None and shard.is_unheard(now_ms)

    # ---- the owner's answer

    def _on_owner(
        self, number: int, generation: int, verdict: Verdict, flights: Sequence[Flight], values: Sequence[bytes | None]
    ) -> None:
        left = []
        for flight, value in zip(flights, values, strict=True):
            if flight.sample is not None:
                self._sampler.tell(flight.sample, number, verdict, value)
            if self._owner(flight.key_hash) != number:
                self._again([flight])
            elif not self._take(flight, value, verdict, number, generation):
                left.append(flight)
        self._leave_owner(number, left)

    def _take(self, flight: Flight, value: bytes | None, verdict: Verdict, number: int, generation: int) -> bool:
        """Whether what the owner has said is the answer."""
        answer = self._read(flight.key, value)
        if answer is None or not verdict.is_final(value):
            return False
        ttl_ms = self._config.absence_ttl_ms if answer.is_absent else self._config.ttl_ms
        source = Source(number, generation, jittered(ttl_ms))
        if value is None and self._old_owner(flight.key_hash) != number:
            flight.absence = source
            return False
        self._settle(flight, answer, "shard", source)
        return True

    def _leave_owner(self, number: int, flights: Sequence[Flight]) -> None:
        """The owner does not decide: while links move, the old owner may."""
        groups: dict[int, list[Flight]] = {}
        for flight in flights:
            if self._owner(flight.key_hash) != number:
                self._again([flight])
            else:
                groups.setdefault(self._old_owner(flight.key_hash), []).append(flight)
        self._leave_shards(groups.pop(number, []))
        for old, group in groups.items():
            self._ask_old_owner(old, group)

    # ---- the old owner's

    def _ask_old_owner(self, number: int, flights: Sequence[Flight]) -> None:
        waited_for = [flight for flight in flights if flight.waiters]
        self._leave_shards([flight for flight in flights if not flight.waiters])
        self._ask(number, waited_for, self._on_old_owner, self._leave_old_owner)

    def _on_old_owner(
        self, number: int, _generation: int, verdict: Verdict, flights: Sequence[Flight], values: Sequence[bytes | None]
    ) -> None:
        for flight, value in zip(flights, values, strict=True):
            answer = self._read(flight.key, value)
            if self._old_owner(flight.key_hash) != number:
                self._again([flight])
            elif answer is not None and verdict.is_final(value):
                self._counters.add("fallbacks", int(not answer.is_absent))
                self._settle(flight, answer, "shard", flight.absence if value is None else None)
            elif value is None:
                self._leave_old_owner(number, [flight])
            else:
                self._leave_shards([flight])

    def _leave_old_owner(self, number: int, flights: Sequence[Flight]) -> None:
        """The old owner does not decide: then the owner has, or PostgreSQL does."""
        for flight in flights:
            if self._old_owner(flight.key_hash) != number:
                self._again([flight])
            elif flight.absence is not None:
                self._settle(flight, self._front.absent(), "shard", flight.absence)
            else:
                self._leave_shards([flight])

    # ---- the origin, and what is left without it

    def _leave_shards(self, flights: Sequence[Flight]) -> None:
        """No shard decides: whoever waits is answered by a replica or the origin, and nobody else loads them."""
        groups: dict[int, list[Flight]] = {}
        for flight in flights:
            if flight.waiters:
                groups.setdefault(self._owner(flight.key_hash), []).append(flight)
            else:
                self._flights.end(flight)
        for number, group in groups.items():
            for start in range(0, len(group), BATCH_MAX):
                self._ask_replica(number, group[start : start + BATCH_MAX])

    def _ask_replica(self, number: int, flights: Sequence[Flight]) -> None:
        shard = self._shards.get(number)
        replica = None if shard is None else shard.admit_replica(monotonic_ms())
        if shard is None or replica is None:
            self._ask_origin(flights)
            return

        def on_records(records: Sequence[bytes | None]) -> None:
            for flight, record in zip(flights, records, strict=True):
                answer = None if record is None else self._read(flight.key, record)
                if answer is None or answer.is_absent or self._owner(flight.key_hash) != number:
                    self._ask_origin([flight])
                else:
                    self._settle(flight, answer, "replica", None)

        replica.lookup([flight.key for flight in flights], shard.epoch, on_records, lambda: self._ask_origin(flights))

    def _ask_origin(self, flights: Sequence[Flight]) -> None:
        for flight in flights:
            self._ask_origin_for(flight)

    def _ask_origin_for(self, flight: Flight) -> None:
        generation = self._front.generation(ORIGIN_SHARD)
        asked_ms = monotonic_ms()

        def on_record(record: bytes | None) -> None:
            answer = self._read(flight.key, record)
            if answer is None:
                self._fall_back(flight)
            else:
                # From the asking on, because no push covers it: the worker may have slept before it saw the answer.
                ttl_ms = jittered(self._config.origin_ttl_ms) - (monotonic_ms() - asked_ms)
                source = Source(ORIGIN_SHARD, generation, ttl_ms) if ttl_ms > 0 else None
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
        self._flights.end(flight)
        if flight.is_cacheable and source is not None and self._may_keep(flight, source):
            self._front.remember(flight.key, answer, source.shard, source.generation, source.ttl_ms)
        self._answer(flight.waiters, answer, tier)

    def _may_keep(self, flight: Flight, source: Source) -> bool:
        """Whether pushes will cover it: those of the shard from which the key is read."""
        return source.shard in (ORIGIN_SHARD, self._owner(flight.key_hash))

    def _answer(self, waiters: Sequence[Waiter], answer: Answer, tier: Tier) -> None:
        """Answer a herd in shares, so that the others' requests do not wait for all of it."""
        for waiter in waiters[:SHARE_MAX]:
            waiter.answer(answer, tier)
        if len(waiters) > SHARE_MAX:
            self._call_soon(self._answer, waiters[SHARE_MAX:], answer, tier)


def jittered(ttl_ms: int) -> int:
    """A tenth less at most, so that what was filled together does not end together."""
    return round(ttl_ms * random.uniform(0.9, 1.0))  # noqa: S311  jitter is no secret
