"""A look-up that is under way, and where an answer came from."""

from dataclasses import dataclass, field
from typing import Protocol

from edge._connection import Tier
from edge._front import Answer


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
