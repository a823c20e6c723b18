"""The hash of keys and the ring, by number of shards."""

import random
import sys
import time

import pytest

from benchmarks.micro import plain
from benchmarks.micro.compare import Compare
from edge import _ring
from wire.topology import VIRTUAL_NODES_DEFAULT

_choose = random.Random(1)
HASHES = [_choose.getrandbits(64) for _ in range(1000)]
KEYS = [b"1:%s" % plain.base62_encode(_choose.randrange(62**6, 62**7)).encode() for _ in range(1000)]


def _shards(count: int) -> list[tuple[str, float]]:
    return [(f"shard-{number}", 1.0) for number in range(count)]


def test_hash(compare: Compare) -> None:
    """Keys of links."""
    compare("xxh64 of a key", _ring.xxh64, plain.xxh64, KEYS)


@pytest.mark.parametrize("count", [3, 8, 16, 64])
def test_lookup(compare: Compare, count: int) -> None:
    """Hashes to shards; with what a ring of that size takes in memory, and once in time."""
    started = time.perf_counter()
    compiled = _ring.Ring(_shards(count), VIRTUAL_NODES_DEFAULT)
    build_ms = (time.perf_counter() - started) * 1000
    size = {"points": len(compiled), "ring_bytes": sys.getsizeof(compiled), "build_ms": build_ms}
    compare.benchmark.extra_info.update(size)
    written = plain.Ring(_shards(count), VIRTUAL_NODES_DEFAULT)
    compare(f"ring lookup, {count} shards", compiled.shard, written.shard, HASHES)


@pytest.mark.parametrize("count", [3, 8, 16])
def test_build(compare: Compare, count: int) -> None:
    """A ring with the default number of points, judged by where it places some hashes."""

    def compiled(shards: list[tuple[str, float]]) -> list[int]:
        ring = _ring.Ring(shards, VIRTUAL_NODES_DEFAULT)
        return [ring.shard(key_hash) for key_hash in HASHES[:10]]

    def written(shards: list[tuple[str, float]]) -> list[int]:
        ring = plain.Ring(shards, VIRTUAL_NODES_DEFAULT)
        return [ring.shard(key_hash) for key_hash in HASHES[:10]]

    compare(f"ring build, {count} shards", compiled, written, [_shards(count)])


def test_moved(compare: Compare) -> None:
    """What a ninth shard takes."""
    before, after = _shards(8), _shards(9)
    compiled = tuple(_ring.Ring(shards, VIRTUAL_NODES_DEFAULT) for shards in (before, after))
    written = tuple(plain.Ring(shards, VIRTUAL_NODES_DEFAULT) for shards in (before, after))
    compare(
        "arcs that move, 8 to 9 shards",
        lambda _: compiled[0].moved(compiled[1]),
        lambda _: written[0].moved(written[1]),
        [None],
    )
