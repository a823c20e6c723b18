"""How many requests a second a worker answers, by what its heartbeats count; pure."""

from dataclasses import dataclass
from typing import Final

from wire import heartbeat
from wire.heartbeat import Heartbeat

# Two heartbeats that are heard sooner after each other were held up on their way: over so short a time a difference of
# a second's requests would come to any number.
SPAN_MIN_S: Final = heartbeat.INTERVAL_MS / 1000 / 2


@dataclass(frozen=True, slots=True)
class Rate:
    """From where is counted, and what it came to before; None until that is known."""

    started_ms: int
    requests: int
    heard_s: float  # by the clock of whoever hears: heartbeats carry no time, and clocks of others step
    requests_s: float | None = None


def following(held: Rate | None, beat: Heartbeat, heard_s: float) -> Rate:
    """The rate when `beat` was heard after those of `held`. Another process, or a count that fell, is begun anew."""
    if held is None or held.started_ms != beat.started_ms or beat.requests < held.requests:
        return Rate(beat.started_ms, beat.requests, heard_s)
    span_s = heard_s - held.heard_s
    if span_s < SPAN_MIN_S:
        return held
    return Rate(beat.started_ms, beat.requests, heard_s, (beat.requests - held.requests) / span_s)
