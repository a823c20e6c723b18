"""The look-ups that are under way, one for each key, and where an answer came from."""

from dataclasses import dataclass, field
from typing import Protocol

from edge._connection import Tier
from edge._counters import Counters
from edge._front import Answer
from edge.clock import monotonic_ms
from edge.config import EdgeConfig


class Waiter(Protocol):
    """A request of the door, or of another server (rsgi.py)."""

    def answer(self, answer: Answer, tier: Tier) -> None:
        """Take the answer; called once."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where an answer that L1 may hold came from, and for how long it may be held."""

    shard: int
    generation: int
    ttl_ms: int


@dataclass(slots=True)
class Sample:
    """A key that is looked up at both of its owners; by owner what they said, while that is final."""

    key: bytes
    key_hash: int
    is_second_look: bool = False
    values: dict[int, bytes | None] = field(default_factory=dict)


@dataclass(slots=True)
class Flight:
    """One key that is being looked up, and the connections that wait for it."""

    key: bytes
    key_hash: int
    is_refresh: bool
    waiters: list[Waiter] = field(default_factory=list)
    is_cacheable: bool = True  # no push came for the key since the flight began
    departures: int = 0
    departed_ms: int = 0  # the last time
    parked_ms: int = 0
    absence: Source | None = None  # the owner's final word that there is no link, while the old owner is asked
    sample: Sample | None = None


class Flights:
    """Those of one worker, and how many requests wait for them, within the bounds of the settings."""

    def __init__(self, config: EdgeConfig, counters: Counters) -> None:
        self._config = config
        self._counters = counters
        self._by_key: dict[bytes, Flight] = {}
        self._misses = 0
        self._refreshes = 0
        self._waiters = 0
        # Who comes later than this is told nothing that was read before: it takes so long only if the worker slept.
        self._join_ms = max(config.reply_timeout_ms, config.origin_timeout_ms)

    def __contains__(self, key: bytes) -> bool:
        return key in self._by_key

    def report(self) -> None:
        """Show what is under way to the supervisor."""
        self._counters.set("misses_under_way", self._misses)
        self._counters.set("refreshes_under_way", self._refreshes)
        self._counters.set("waiters", self._waiters)

    def begin(self, key: bytes, key_hash: int, is_refresh: bool) -> Flight | None:
        """A flight for the key, None if there are as many as there may be."""
        if is_refresh:
            if self._refreshes >= self._config.refreshes_max:
                return None
            self._refreshes += 1
        else:
            if self._misses >= self._config.flights_max:
                return None
            self._misses += 1
        flight = self._by_key[key] = Flight(key, key_hash, is_refresh)
        return flight

    def joinable(self, key: bytes) -> Flight | None:
        """The flight that looks the key up, if what it brings will not be from long ago.

        1. A shard is asked; 2. the worker sleeps; 3. the shard answers; 4. the link changes; 5. a request comes; 6. the
        worker wakes, and sees the request before the answer.
        """
        flight = self._by_key.get(key)
        if flight is not None and flight.departures and monotonic_ms() - flight.departed_ms > self._join_ms:
            self.outdate(key)
            return None
        return flight

    @property
    def may_wait(self) -> bool:
        """Whether another request may wait."""
        return self._waiters < self._config.waiters_max

    def wait(self, flight: Flight, waiter: Waiter) -> None:
        """Have a request wait for the flight."""
        self._waiters += 1
        flight.waiters.append(waiter)

    def outdate(self, key: bytes) -> None:
        """Let nobody join the key's flight any more, and L1 keep nothing of it."""
        flight = self._by_key.pop(key, None)
        if flight is not None:
            flight.is_cacheable = False

    def end(self, flight: Flight) -> None:
        """Let nobody join any more, and give the flight's place free."""
        if self._by_key.get(flight.key) is flight:
            del self._by_key[flight.key]
        if flight.is_refresh:
            self._refreshes -= 1
        else:
            self._misses -= 1
        self._waiters -= len(flight.waiters)
