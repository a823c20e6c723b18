"""L1 against a slow, obvious model, and its bounds."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge._cache import Cache
from tests.edge.plain_cache import CrowdedError, PlainCache

KEYS = st.integers(0, 120).map(lambda n: b"1:%03d" % n)
PAYLOADS = st.integers(0, 300).map(lambda size: b"x" * size)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), KEYS, PAYLOADS),
        st.tuples(st.just("get"), KEYS, st.just(b"")),
        st.tuples(st.just("discard"), KEYS, st.just(b"")),
    ),
    max_size=600,
)
SIZES = st.sampled_from([6000, 8192, 40_000])


def step(cache: Cache | PlainCache, action: str, key: bytes, payload: bytes) -> object:
    """One step; what it gave."""
    if action == "put":
        return cache.put(key, payload)
    return cache.get(key) if action == "get" else cache.discard(key)


@settings(max_examples=200)
@given(STEPS, SIZES)
def test_holds_what_was_put_or_nothing(steps: list[tuple[str, bytes, bytes]], size: int) -> None:
    """A look-up gives the last payload of its key or None, never another one; keys are unique; bytes are bounded."""
    cache = Cache(size)
    held: dict[bytes, bytes] = {}
    for action, key, payload in steps:
        was_held = key in cache.keys()  # noqa: SIM118  the cache is no mapping
        given_back = step(cache, action, key, payload)
        if action == "put":
            assert cache.get(key) == (payload if given_back else None)
            held[key] = payload
        elif action == "get":
            assert given_back == (held[key] if was_held else None)
        else:
            assert given_back == was_held
            assert cache.get(key) is None
        assert cache.used_bytes <= cache.bytes_max
    keys = cache.keys()
    assert len(keys) == len(set(keys)) == len(cache)
    assert all(held[key] == cache.get(key) for key in keys)


@settings(max_examples=200, deadline=None)
@given(STEPS, SIZES)
def test_decides_as_the_plain_model(steps: list[tuple[str, bytes, bytes]], size: int) -> None:
    """After every step of any kind and size it holds the same keys in the same places, and as many bytes."""
    cache, model = Cache(size), PlainCache(size)
    for action, key, payload in steps:
        try:
            expected = step(model, action, key, payload)
        except CrowdedError:
            return
        assert expected == step(cache, action, key, payload)
        assert model.keys() == cache.keys()
        assert (model.evictions, model.used_bytes) == (cache.eviction_count, cache.used_bytes)


@pytest.mark.parametrize("sizes", [(60, 60), (1, 9000)])
def test_decides_as_the_plain_model_under_skewed_load(sizes: tuple[int, int]) -> None:
    """Through tens of thousands of evictions, second chances and returns from the ghost."""
    bytes_max = 300_000
    cache, model = Cache(bytes_max), PlainCache(bytes_max)
    draw = random.Random(7)
    for _ in range(60_000):
        key = b"k:%07d" % int(20_000 ** draw.random())  # Zipf of exponent 1
        expected = model.get(key)
        assert expected == cache.get(key)
        if expected is None:
            payload = b"x" * draw.randint(*sizes)
            assert model.put(key, payload) == cache.put(key, payload)
        assert cache.used_bytes <= bytes_max
    assert model.keys() == cache.keys()
    assert cache.eviction_count == model.evictions > 5000


def test_never_exceeds_its_bytes_under_any_sizes() -> None:
    """A hundred thousand inserts of random sizes stay within the bound and keep the newest."""
    cache = Cache(1_000_000)
    draw = random.Random(3)
    for n in range(100_000):
        payload = draw.randbytes(draw.randrange(9000))
        assert cache.put(b"1:%d" % n, payload)
        assert payload == cache.get(b"1:%d" % n)
        assert cache.used_bytes <= 1_000_000
    assert len(cache) > 150


@pytest.mark.parametrize("size", [1, 20, 50, 72, 150, 500, 2000])
def test_overhead_of_an_entry_is_at_most_64_bytes(size: int) -> None:
    """Filled with links of one size, the whole cache spends at most 64 bytes an entry besides key and payload."""
    cache = Cache(16 * 2**20)
    n = 0
    while cache.eviction_count < 10_000:
        cache.put(b"1:%07d" % n, b"x" * size)
        n += 1
    assert cache.bytes_max / len(cache) - 9 - size <= 64


def test_index_costs_what_the_entries_need() -> None:
    """With entries of 9 KB it is a small part of what it is with small ones."""
    large, small = Cache(16 * 2**20), Cache(16 * 2**20)
    for n in range(1000):
        large.put(b"1:%07d" % n, b"x" * 9000)
    for n in range(100_000):
        small.put(b"1:%07d" % n, b"")
    assert large.used_bytes - 1000 * 9052 < 30_000
    assert small.used_bytes - 100_000 * 52 > 1_000_000


def test_a_change_to_far_smaller_entries_is_bounded_by_the_index() -> None:
    """A full log of large entries leaves the index no room to grow; small ones then crowd each other out, no more."""
    cache = Cache(200_000)
    for n in range(1000):
        cache.put(b"large:%d" % n, b"x" * 5000)
    for n in range(20_000):
        assert cache.put(b"%d" % n, b"")
        assert cache.get(b"%d" % n) == b""
    assert cache.used_bytes <= 200_000
    assert len(cache.keys()) == len(cache) > 20


def test_scan_of_keys_asked_for_once_leaves_the_hot_ones() -> None:
    """Ten times the cache's size of keys that nobody asks for again drop no more than chance has it in the ghost."""
    cache = Cache(100_000)
    hot = [b"hot:%d" % n for n in range(300)]
    for key in [*hot, *hot]:
        if cache.get(key) is None:
            cache.put(key, b"x" * 60)
    for n in range(10_000):
        cache.put(b"scan:%d" % n, b"x" * 60)
        cache.get(hot[n % len(hot)])
    # A newcomer whose 16-bit fingerprint is another's, one in 8,192, goes to the main log and drops one.
    assert sum(cache.get(key) is not None for key in hot) >= 295


def test_entry_larger_than_a_sixteenth_is_refused_and_replaces_nothing_else() -> None:
    """Too large an entry is not held, and neither is the old one of its key."""
    cache = Cache(8192)
    cache.put(b"a", b"old")
    cache.put(b"b", b"kept")
    assert not cache.put(b"a", b"x" * 500)
    assert cache.get(b"a") is None
    assert cache.get(b"b") == b"kept"


def test_time_finds_counts_what_it_found() -> None:
    """The timing for benchmarks looks up what it is given, as often as it is told."""
    cache = Cache(8192)
    cache.put(b"a", b"payload")
    nanoseconds, found = cache.time_finds([b"a", b"b"], 10)
    assert nanoseconds > 0
    assert found == 10


@pytest.mark.parametrize("size", [0, 4095, 2**34 + 1])
def test_size_outside_the_bounds_is_refused(size: int) -> None:
    """From 4 KiB to 16 GiB."""
    with pytest.raises(ValueError, match="a cache has"):
        Cache(size)
