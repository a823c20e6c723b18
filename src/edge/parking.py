"""Flights that wait a moment, in the order of their coming, because PostgreSQL would get all of them at once."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from edge.flight import Flight

# A topology is read in a round trip, and its rings are made in tens of milliseconds; on a busy machine in more. A shard
# is heard again within a sweep and a round trip.
PARK_MS: Final = 250


class Parking:
    """It has as many places as there can be flights."""

    def __init__(self) -> None:
        self._parked: deque[Flight] = deque()

    def enter(self, flight: Flight, now_ms: int) -> None:
        """Have it wait, for PARK_MS at most."""
        flight.parked_ms = now_ms
        self._parked.append(flight)

    def leave(self, may_leave: Callable[[Flight], bool]) -> Sequence[Flight]:
        """Those that need wait no more."""
        leaving: list[Flight] = []
        staying: deque[Flight] = deque()
        for flight in self._parked:
            (leaving if may_leave(flight) else staying).append(flight)
        self._parked = staying
        return leaving

    def leave_all(self) -> Sequence[Flight]:
        """All of them."""
        leaving, self._parked = self._parked, deque()
        return leaving

    def leave_overdue(self, now_ms: int) -> Sequence[Flight]:
        """Those that have waited long enough."""
        leaving: list[Flight] = []
        while self._parked and now_ms - self._parked[0].parked_ms >= PARK_MS:
            leaving.append(self._parked.popleft())
        return leaving
