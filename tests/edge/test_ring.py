"""XXH64 and the consistent-hash ring."""

import bisect
from collections import Counter

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from edge._ring import Ring, xxh64

SHARDS = st.lists(
    st.tuples(st.text("abcdefgh-0123456789", min_size=1, max_size=12), st.integers(1, 5)),
    min_size=1,
    max_size=8,
    unique_by=lambda shard: shard[0],
)


def plain_owner(shards: list[tuple[str, int]], virtual_nodes: int, key_hash: int) -> str:
    """The obvious ring: all points sorted, the first at or above the key, else the first of all."""
    points = sorted(
        (xxhash.xxh64_intdigest(f"{shard}#{n}".encode()), shard)
        for shard, weight in shards
        for n in range(virtual_nodes * weight)
    )
    at = bisect.bisect_left(points, (key_hash, ""))
    return points[at % len(points)][1]


@pytest.mark.parametrize(
    ("data", "seed", "digest"),
    [(b"", 0, 0xEF46DB3751D8E999), (b"a", 0, 0xD24EC4F1A98C6E5B), (b"abc", 0, 0x44BC2CF5AD770999)],
)
def test_xxh64_gives_the_published_vectors(data: bytes, seed: int, digest: int) -> None:
    """Vectors that the algorithm's other implementations publish."""
    assert digest == xxh64(data, seed)


@given(st.binary(max_size=300), st.integers(0, 2**64 - 1))
def test_xxh64_agrees_with_the_reference(data: bytes, seed: int) -> None:
    """All lengths and seeds."""
    assert xxhash.xxh64_intdigest(data, seed) == xxh64(data, seed)


@given(SHARDS, st.integers(1, 40), st.lists(st.integers(0, 2**64 - 1), max_size=50))
def test_owner_agrees_with_the_obvious_ring(shards: list[tuple[str, int]], nodes: int, hashes: list[int]) -> None:
    """Any shards and weights, also at the points themselves and around the wrap."""
    ring = Ring(shards, nodes)
    edges = [xxhash.xxh64_intdigest(f"{shards[0][0]}#{n}".encode()) for n in range(min(nodes, 5))]
    for key_hash in [*hashes, *edges, *((edge + 1) % 2**64 for edge in edges), 0, 2**64 - 1]:
        assert plain_owner(shards, nodes, key_hash) == ring.shard_ids[ring.shard(key_hash)]


def test_order_of_declaration_does_not_matter() -> None:
    """Two processes that list the shards differently agree on every owner."""
    shards = [(f"shard-{n}", 1 + n % 3) for n in range(6)]
    one, other = Ring(shards, 256), Ring(shards[::-1], 256)
    for n in range(20_000):
        key_hash = xxh64(b"1:%d" % n)
        assert one.shard_ids[one.shard(key_hash)] == other.shard_ids[other.shard(key_hash)]


def test_keys_spread_evenly_and_a_new_shard_takes_only_its_share() -> None:
    """Eight shards: the largest within 6 % of the mean; the ninth takes keys from others and moves no other key."""
    hashes = [xxh64(b"1:%d" % n) for n in range(200_000)]
    old = Ring([(f"shard-{n}", 1) for n in range(8)], 2048)
    new = Ring([(f"shard-{n}", 1) for n in range(9)], 2048)
    share = Counter(old.shard(key_hash) for key_hash in hashes)
    assert max(share.values()) < 1.06 * len(hashes) / 8
    moved = [key_hash for key_hash in hashes if old.shard(key_hash) != new.shard(key_hash)]
    assert {8} == {new.shard(key_hash) for key_hash in moved}
    assert len(moved) < 1.06 * len(hashes) / 9


@pytest.mark.parametrize(
    ("shards", "nodes"),
    [([], 1), ([("a", 1), ("a", 1)], 1), ([("a", 0)], 1), ([("a", 1)], 0), ([("a", 1000)], 100_000)],
)
def test_rings_that_cannot_be_are_refused(shards: list[tuple[str, int]], nodes: int) -> None:
    """No shard, an id twice, no weight, no point, too many points."""
    with pytest.raises(ValueError, match=r"shards|at least 1|at most"):
        Ring(shards, nodes)
