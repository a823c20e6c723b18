"""The breaker of one shard: whether asking it is worth the wait. Pure; time is a parameter.

    closed ──tripped──▶ open           it failed FAILURES_MAX times within WINDOW_MS
    open ──due──▶ half_open            its time is over
    half_open ──proven──▶ closed       TRIALS_MAX look-ups were answered in time
    half_open ──tripped──▶ open        one was not, and the time is twice as long

What it adds to trust: pings that are answered prove that pushes arrive, so what L1 holds of the shard may be served.
They do not prove that a look-up is answered in time: a shard that answers each command late, or stands still again and
again, stays trusted, and every miss would wait for the reply timeout before the origin is asked. While the breaker is
open a miss goes to the origin at once (I1, and never a 404: I5), while hits go on, and so do pushes and pings.

A failure is a stall, which is one however many look-ups it held up, or a connection that was cut. So one slow fork of
Redis opens nothing, and three within the window do.
"""

import random
from collections import deque
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Final

FAILURES_MAX: Final = 3
WINDOW_MS: Final = 10_000  # Hystrix's rolling window
# How long it stays open: first, and at most. Every edge does the same at the same time, hence the jitter.
OPEN_MS_MIN: Final = 500
OPEN_MS_MAX: Final = 10_000
TRIALS_MAX: Final = 3  # look-ups that may wait in vain each time that the shard is tried again


class State(StrEnum):
    """Whether look-ups go to the shard: all, none, a few."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Event(StrEnum):
    """What a breaker is told, counted up to what matters."""

    TRIPPED = "tripped"
    DUE = "due"
    PROVEN = "proven"


TABLE: Final[Mapping[tuple[State, Event], State]] = {
    (State.CLOSED, Event.TRIPPED): State.OPEN,
    (State.CLOSED, Event.DUE): State.CLOSED,
    (State.CLOSED, Event.PROVEN): State.CLOSED,
    (State.OPEN, Event.TRIPPED): State.OPEN,
    (State.OPEN, Event.DUE): State.HALF_OPEN,
    (State.OPEN, Event.PROVEN): State.OPEN,
    (State.HALF_OPEN, Event.TRIPPED): State.OPEN,
    (State.HALF_OPEN, Event.DUE): State.HALF_OPEN,
    (State.HALF_OPEN, Event.PROVEN): State.CLOSED,
}


class Breaker:
    """Goes through TABLE. `entries` counts how often each state was entered."""

    def __init__(self, jitter: Callable[[float, float], float] = random.uniform) -> None:
        self.state = State.CLOSED
        self.entries = dict.fromkeys(State, 0)
        self._jitter = jitter
        self._failed_ms: deque[int] = deque(maxlen=FAILURES_MAX)
        self._open_ms = 0
        self._open_until_ms = 0
        self._closed_ms = 0
        self._trials = 0
        self._proofs = 0

    def may_admit(self, now_ms: int) -> bool:
        """Whether `admit` would say yes now."""
        match self.state:
            case State.CLOSED:
                return True
            case State.OPEN:
                return now_ms >= self._open_until_ms
            case State.HALF_OPEN:
                return self._trials < TRIALS_MAX

    def admit(self, now_ms: int) -> bool:
        """Whether a look-up may be sent; whoever hears yes sends it."""
        if not self.may_admit(now_ms):
            return False
        if self.state is State.OPEN:
            self._tell(Event.DUE, now_ms)
        if self.state is State.HALF_OPEN:
            self._trials += 1
        return True

    def on_reply(self, now_ms: int) -> None:
        """A look-up was answered in time."""
        if self.state is State.HALF_OPEN:
            self._proofs += 1
            if self._proofs >= TRIALS_MAX:
                self._tell(Event.PROVEN, now_ms)

    def on_failure(self, now_ms: int) -> None:
        """The shard stood still for longer than a look-up waits, or its connection was cut."""
        self._failed_ms.append(now_ms)
        is_often = len(self._failed_ms) == FAILURES_MAX and now_ms - self._failed_ms[0] <= WINDOW_MS
        if is_often or self.state is State.HALF_OPEN:
            self._tell(Event.TRIPPED, now_ms)

    def _tell(self, event: Event, now_ms: int) -> None:
        before, self.state = self.state, TABLE[self.state, event]
        if self.state is before:
            return
        self.entries[self.state] += 1
        match self.state:
            case State.OPEN:
                self._stay_open(now_ms, has_relapsed=before is State.HALF_OPEN)
            case State.HALF_OPEN:
                self._trials = self._proofs = 0
            case State.CLOSED:
                self._closed_ms = now_ms
                self._failed_ms.clear()

    def _stay_open(self, now_ms: int, has_relapsed: bool) -> None:
        """Longer each time, until it has been closed for a whole window."""
        if has_relapsed or (self._open_ms and now_ms - self._closed_ms <= WINDOW_MS):
            self._open_ms = min(2 * self._open_ms, OPEN_MS_MAX)
        else:
            self._open_ms = OPEN_MS_MIN
        self._open_until_ms = now_ms + round(self._open_ms * self._jitter(0.5, 1.0))
