"""L1 on recorded requests: never more misses than a plain LRU of as many entries."""

import pytest

from benchmarks.eviction import shipped, traces
from benchmarks.eviction.policies import lru
from benchmarks.eviction.traces import Recording

MEAN_LESS = 0.03


@pytest.mark.skipif(not traces.is_there(), reason=f"no traces in {traces.DIRECTORY}: set POINTSMAN_TEST_DATA")
@pytest.mark.parametrize("recording", traces.SHORT_RECORDINGS, ids=lambda recording: recording.name)
def test_misses_less_than_lru_at_every_size(recording: Recording) -> None:
    """At each number of entries, and by three in a hundred on average."""
    trace = traces.read(recording)
    changes = [
        shipped.misses(trace, capacity) / lru(trace.requests, trace.keys, capacity) - 1 for capacity in trace.capacities
    ]
    assert max(changes) < 0
    assert sum(changes) / len(changes) < -MEAN_LESS


def test_scan_of_unknown_codes_leaves_the_hot_links_where_they_are() -> None:
    """As many unknown codes as requests move the hit ratio of the hottest links by less than a hundredth."""
    trace = traces.zipf(0.9, 5000, 50_000)
    apart, _ = shipped.scans(trace, 500)
    assert abs(apart["quiet"] - apart["scanned"]) < 0.01
    assert apart["quiet"] > 0.9
