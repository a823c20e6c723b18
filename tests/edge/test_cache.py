"""L1 against a slow, obvious model, and its bounds."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge._cache import Cache

KEYS = st.integers(0, 40).map(lambda n: b"1:%d" % n)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), KEYS, st.binary(max_size=300)),
        st.tuples(st.just("get"), KEYS, st.just(b"")),
        st.tuples(st.just("discard"), KEYS, st.just(b"")),
    ),
    max_size=400,
)


class PlainClock:
    """Second chance without bytes: a list of [key, is visited] from the hand on, and a dict."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.order: list[list[object]] = []
        self.values: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        """Look up and mark."""
        for item in self.order:
            if item[0] == key:
                item[1] = True
        return self.values.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        """Insert behind all others; a key that is held keeps its place."""
        if key in self.values:
            self.values[key] = value
            return
        chances = 32
        while len(self.order) >= self.capacity:
            oldest, is_visited = self.order.pop(0)
            if is_visited and chances > 0:
                self.order.append([oldest, False])
            else:
                del self.values[oldest]  # type: ignore[arg-type]
            chances -= 1
        self.order.append([key, False])
        self.values[key] = value


@settings(max_examples=300)
@given(STEPS, st.sampled_from([4096, 5000, 40_000]))
def test_holds_what_was_put_or_nothing(steps: list[tuple[str, bytes, bytes]], size: int) -> None:
    """A look-up gives the last payload of its key or None, never another one; keys are unique; bytes are bounded."""
    cache = Cache(size)
    held: dict[bytes, bytes] = {}
    for step, key, payload in steps:
        if step == "put":
            assert cache.put(key, payload)
            held[key] = payload
            assert payload == cache.get(key)
        elif step == "get":
            assert cache.get(key) in (None, held.get(key))
        else:
            was_held = cache.get(key) is not None
            assert was_held == cache.discard(key)
            assert cache.get(key) is None
            held.pop(key, None)
        assert cache.used_bytes <= cache.bytes_max
    keys = cache.keys()
    assert len(keys) == len(set(keys)) == len(cache)
    assert all(held[key] == cache.get(key) for key in keys)


def test_evicts_as_second_chance_does() -> None:
    """With entries of one size the content is that of the obvious model, at every step of a skewed load."""
    # 88 bytes an entry. This size has an arena of just 83 of them, so that none is lost at the arena's end.
    cache = Cache(8216)
    for n in range(84):
        assert cache.eviction_count == 0
        cache.put(b"fill:%04d" % n, b"x" * 39)
    capacity = len(cache)
    cache = Cache(8216)
    model = PlainClock(capacity)
    draw = random.Random(7)
    for _ in range(20_000):
        key = b"k:%07d" % min(int(draw.paretovariate(0.6)), 2000)
        expected = model.get(key)
        assert expected == cache.get(key)
        if expected is None:
            payload = draw.randbytes(39)
            model.put(key, payload)
            cache.put(key, payload)
    assert cache.eviction_count > 1000


def test_never_exceeds_its_bytes_under_any_sizes() -> None:
    """A hundred thousand inserts of random sizes stay within the bound and keep the newest."""
    cache = Cache(1_000_000)
    draw = random.Random(3)
    for n in range(100_000):
        payload = draw.randbytes(draw.randrange(2000))
        assert cache.put(b"1:%d" % n, payload)
        assert payload == cache.get(b"1:%d" % n)
        assert cache.used_bytes <= 1_000_000
    assert len(cache) > 500


def test_overhead_of_an_entry_is_at_most_64_bytes() -> None:
    """Filled with typical links, the cache spends at most 64 bytes an entry besides key and payload."""
    cache = Cache(16 * 2**20)
    n = 0
    while cache.eviction_count == 0:
        cache.put(b"1:%07d" % n, b"x" * 50)
        n += 1
    assert cache.bytes_max / len(cache) - 9 - 50 <= 64


def test_small_entries_fill_the_index_and_still_come_and_go() -> None:
    """Entries far smaller than typical run into the index's bound instead of the arena's."""
    cache = Cache(65_536)
    for n in range(20_000):
        assert cache.put(b"%d" % n, b"")
        assert cache.get(b"%d" % n) == b""
    assert cache.used_bytes <= 65_536
    assert cache.eviction_count > 0


def test_entry_larger_than_an_eighth_is_refused_and_replaces_nothing_else() -> None:
    """Too large an entry is not held, and neither is the old one of its key."""
    cache = Cache(8192)
    cache.put(b"a", b"old")
    cache.put(b"b", b"kept")
    assert not cache.put(b"a", b"x" * 2000)
    assert cache.get(b"a") is None
    assert cache.get(b"b") == b"kept"


@pytest.mark.parametrize("size", [0, 4095, 2**34 + 1])
def test_size_outside_the_bounds_is_refused(size: int) -> None:
    """From 4 KiB to 16 GiB."""
    with pytest.raises(ValueError, match="a cache has"):
        Cache(size)
