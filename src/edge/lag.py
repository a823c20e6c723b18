"""How late the worker's loop is: what a request waits for before any work of its own begins."""

from typing import Final

from edge._counters import Counters

# The maximum shown is that of the running window and of the one before: a scrape every 15 s, Prometheus' usual
# interval, misses none.
WINDOW_MS: Final = 15_000


class Lag:
    """Takes the lateness of a timer at each of its turns. The clock is a parameter."""

    def __init__(self, counters: Counters, now_ms: int) -> None:
        self._counters = counters
        self._window_end_ms = now_ms + WINDOW_MS
        self._max_us = 0
        self._last_max_us = 0

    def note(self, lag_us: int, now_ms: int) -> None:
        """One turn came this much too late."""
        if now_ms >= self._window_end_ms:
            self._window_end_ms = now_ms + WINDOW_MS
            self._last_max_us, self._max_us = self._max_us, 0
        self._max_us = max(self._max_us, lag_us)
        self._counters.add("loop_lag_us", lag_us)
        self._counters.add("loop_lags")
        self._counters.set("loop_lag_us_max", max(self._max_us, self._last_max_us))
