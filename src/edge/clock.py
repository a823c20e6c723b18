"""The monotonic clock, in the milliseconds in which deadlines are counted here."""

import time


def monotonic_ms() -> int:
    """Milliseconds since some instant in the past; the compiled door reads the same clock."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000_000


def monotonic_us() -> int:
    """The same clock in the microseconds in which durations are measured here."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
