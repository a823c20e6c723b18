"""Requests a second by what heartbeats count: never negative, and never absurd."""

from control.shards.rate import SPAN_MIN_S, Rate, following
from wire.heartbeat import Heartbeat


def beat(requests: int, started_ms: int = 1) -> Heartbeat:
    """A heartbeat that counts so many."""
    return Heartbeat(edge_id="a", build="test", epoch=1, sequence=0, started_ms=started_ms, requests=requests)


def rate_of(*heard: tuple[float, Heartbeat]) -> float | None:
    """What it comes to when these were heard, at these times."""
    held: Rate | None = None
    for heard_s, found in heard:
        held = following(held, found, heard_s)
    return held.requests_s if held is not None else None


def test_rate_is_of_the_last_two_heartbeats() -> None:
    """Nothing before the second one; one that counts no more is zero."""
    assert rate_of((10.0, beat(500))) is None
    assert rate_of((10.0, beat(500)), (11.0, beat(700))) == 200.0
    assert rate_of((10.0, beat(500)), (11.0, beat(700)), (13.0, beat(760))) == 30.0
    assert rate_of((10.0, beat(500)), (11.0, beat(500))) == 0.0


def test_count_that_begins_anew_gives_no_rate() -> None:
    """Another process under the same id, whether it has counted less or more; or a count that fell."""
    assert rate_of((10.0, beat(500)), (11.0, beat(600)), (12.0, beat(3, started_ms=2))) is None
    assert rate_of((10.0, beat(500)), (11.0, beat(600)), (12.0, beat(900, started_ms=2))) is None
    assert rate_of((10.0, beat(500)), (11.0, beat(3))) is None
    assert rate_of((10.0, beat(500)), (11.0, beat(3)), (12.0, beat(5))) == 2.0


def test_heartbeats_that_come_together_are_counted_over_the_whole_time() -> None:
    """Held up on their way, or heard a second time: not a second's requests in a millisecond."""
    early = 11.0 + SPAN_MIN_S / 10
    assert rate_of((10.0, beat(0)), (11.0, beat(100)), (early, beat(200))) == 100.0
    assert rate_of((10.0, beat(0)), (11.0, beat(100)), (early, beat(200)), (13.0, beat(300))) == 100.0
