"""The counters in shared memory: each writer's block is its own, and a shard's place carries its id."""

import mmap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge._counters import BLOCK_BYTES, BOUNDS_MS, Counters
from wire import topology


@pytest.fixture
def memory() -> mmap.mmap:
    """Room for two workers."""
    return mmap.mmap(-1, 2 * BLOCK_BYTES)


def test_blocks_of_two_workers_do_not_touch(memory: mmap.mmap) -> None:
    """What one worker writes, up to its last shard, the other does not see."""
    first, second = Counters(memory, 0), Counters(memory, 1)
    last = topology.SHARDS_MAX - 1
    first.add("beat_ms", 7)
    first.shard(last).take("a" * 63)
    first.shard(last).observe("lookup", 10**9)
    assert (set(second.read().values()), second.shards()) == ({0}, {})
    assert (first.get("beat_ms"), list(first.shards())) == (7, ["a" * 63])


def test_mapping_without_the_block_is_refused(memory: mmap.mmap) -> None:
    """Rather than written past its end."""
    with pytest.raises(ValueError, match="writable bytes"):
        Counters(memory, 2)
    with pytest.raises(ValueError, match="not in 0"):
        Counters(memory, 1).shard(topology.SHARDS_MAX)


@pytest.mark.parametrize("shard_id", ["", "a" * 64])
def test_shard_id_that_does_not_fit_is_refused(memory: mmap.mmap, shard_id: str) -> None:
    """And the place stays free."""
    row = Counters(memory, 0).shard(0)
    with pytest.raises(ValueError, match=r"1\.\.63"):
        row.take(shard_id)
    assert row.id == ""


def test_place_that_is_taken_again_starts_at_zero(memory: mmap.mmap) -> None:
    """A shard does not inherit the counts of the one that had its number before."""
    counters = Counters(memory, 0)
    counters.shard(3).take("old-shard")
    counters.shard(3).observe("lookup", 5)
    counters.shard(3).take("new")
    assert counters.shard(3).id == "new"
    assert set(counters.shards()["new"].values()) == {0}
    counters.clear()
    assert counters.shards() == {}


@given(st.integers(0, 2_000_000))
def test_duration_is_counted_in_the_first_bucket_that_holds_it(duration_us: int) -> None:
    """As a linear search over the bounds would say."""
    counters = Counters(bytearray(BLOCK_BYTES), 0)
    counters.observe("origin_lookup", duration_us)
    bounds = [f"{bound:g}" for bound in BOUNDS_MS if duration_us <= bound * 1000]
    counted = {name: value for name, value in counters.read().items() if value}
    expected = {f"origin_lookup_{[*bounds, 'inf'][0]}": 1, "origin_lookup_sum_us": duration_us}
    assert counted == {name: value for name, value in expected.items() if value}


def test_unknown_name_is_refused(memory: mmap.mmap) -> None:
    """A counter that nobody reads is a mistake."""
    counters = Counters(memory, 0)
    for call in (counters.add, counters.get):
        with pytest.raises(KeyError):
            call("nothing")
    with pytest.raises(KeyError):
        counters.observe("nothing", 1)
