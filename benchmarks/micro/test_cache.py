"""L1, by number of entries. The compiled one is timed through its Python methods, which the edge does not use."""

import random

import pytest

from benchmarks.micro import plain
from benchmarks.micro.compare import Compare
from edge import _cache

PAYLOAD = b"x" * 120
CACHE_BYTES = 64 * 2**20
_choose = random.Random(1)


def _keys(count: int) -> list[bytes]:
    return [b"1:%s" % plain.base62_encode(62**6 + number * 7919).encode() for number in range(count)]


@pytest.mark.parametrize("count", [1000, 100_000])
def test_lookup(compare: Compare, count: int) -> None:
    """Keys that are held, in random order."""
    compiled, written = _cache.Cache(CACHE_BYTES), plain.Cache(CACHE_BYTES)
    keys = _keys(count)
    for key in keys:
        compiled.put(key, PAYLOAD)
        written.put(key, PAYLOAD)
    compare(f"cache lookup, {count:,} entries", compiled.get, written.get, _choose.choices(keys, k=1000))


def test_miss(compare: Compare) -> None:
    """Keys that are not held."""
    compiled, written = _cache.Cache(CACHE_BYTES), plain.Cache(CACHE_BYTES)
    keys = _keys(2000)
    for key in keys[:1000]:
        compiled.put(key, PAYLOAD)
        written.put(key, PAYLOAD)
    compare("cache miss", compiled.get, written.get, keys[1000:])


def test_insert(compare: Compare) -> None:
    """Keys that are not held, into a cache that is full, so that each drops another."""
    compiled, written = _cache.Cache(2**18), plain.Cache(2**18)

    def insert_compiled(key: bytes) -> bool:
        return compiled.put(key, PAYLOAD)

    def insert_written(key: bytes) -> bool:
        return written.put(key, PAYLOAD)

    compare("cache insert with eviction", insert_compiled, insert_written, _keys(10_000))
