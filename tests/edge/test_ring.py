"""XXH64 and the consistent-hash ring."""

import bisect
import itertools
import sys
import threading
from collections import Counter

import pytest
import xxhash
from hypothesis import example, given
from hypothesis import strategies as st

from edge._base62 import CodePermutation
from edge._ring import Ring, xxh64
from wire.topology import VIRTUAL_NODES_DEFAULT, WEIGHT_STEPS, points_of

HASHES = 2**64
Members = list[tuple[str, float]]
WEIGHTS = st.integers(0, 3 * WEIGHT_STEPS).map(lambda steps: steps / WEIGHT_STEPS)
NAMES = st.lists(st.text("abcdefgh.-0123456789ü", min_size=1, max_size=40), min_size=1, max_size=8, unique=True)
ANY_HASH = st.integers(0, HASHES - 1)


@st.composite
def members(draw: st.DrawFn) -> Members:
    """Shards with weights of their own, some of them 0."""
    found = [(name, draw(WEIGHTS)) for name in draw(NAMES)]
    return found if any(weight > 0 for _, weight in found) else [(found[0][0], 1.0), *found[1:]]


@st.composite
def two_rings(draw: st.DrawFn) -> tuple[Members, Members, int]:
    """The same shards with weights on two rings; some take others' places."""
    one = draw(members())
    other = [(name, draw(WEIGHTS)) for name, _ in one]
    if draw(st.booleans()):
        other = [*((name, 0.0) for name, _ in one[:1]), *other[1:], (one[0][0], 1.0)]
    elif not any(weight > 0 for _, weight in other):
        other[-1] = (other[-1][0], 1.0)
    return one, other, draw(st.integers(1, 40))


def plain_points(shards: Members, virtual_nodes: int) -> list[tuple[int, str, int]]:
    """All points sorted: position, name, index of the shard."""
    return sorted(
        (xxhash.xxh64_intdigest(f"{name}#{n}".encode()), name, index)
        for index, (name, weight) in enumerate(shards)
        for n in range(points_of(weight, virtual_nodes))
    )


def plain_owner(points: list[tuple[int, str, int]], key_hash: int) -> int:
    """The obvious ring: the owner of the first point at or above the key, else of the first of all."""
    return points[bisect.bisect_left(points, (key_hash, "", 0)) % len(points)][2]


def _equal(names: list[str]) -> Members:
    return [(name, 1.0) for name in names]


def _eight(count: int = 8) -> Members:
    return _equal([f"shard-{n}" for n in range(count)])


def _owners_by_code(rings: list[Ring], codes: int) -> Counter[tuple[int, ...]]:
    """How many generated codes each combination of owners has."""
    permutation = CodePermutation(bytes(range(16)))
    hashes = (xxh64(b"1:" + permutation.code(n).encode()) for n in range(codes))
    return Counter(tuple(ring.shard(key_hash) for ring in rings) for key_hash in hashes)


@pytest.mark.parametrize(
    ("data", "seed", "digest"),
    [(b"", 0, 0xEF46DB3751D8E999), (b"a", 0, 0xD24EC4F1A98C6E5B), (b"abc", 0, 0x44BC2CF5AD770999)],
)
def test_xxh64_gives_the_published_vectors(data: bytes, seed: int, digest: int) -> None:
    """Vectors that the algorithm's other implementations publish."""
    assert digest == xxh64(data, seed)


@given(st.binary(max_size=300), ANY_HASH)
def test_xxh64_agrees_with_the_reference(data: bytes, seed: int) -> None:
    """All lengths and seeds."""
    assert xxhash.xxh64_intdigest(data, seed) == xxh64(data, seed)


@given(members(), st.integers(1, 40), st.lists(ANY_HASH, max_size=50))
@example([("a", 0.01)], 1, [0])
def test_owner_agrees_with_the_obvious_ring(shards: Members, nodes: int, hashes: list[int]) -> None:
    """Any shards and weights, also at the points themselves and around the wrap."""
    ring, points = Ring(shards, nodes), plain_points(shards, nodes)
    borders = [position for position, _, _ in points[:3] + points[-3:]]
    wanted = [*hashes, *borders, *((border + 1) % HASHES for border in borders), 0, HASHES - 1]
    assert len(points) == len(ring)
    assert [plain_owner(points, key_hash) for key_hash in wanted] == [ring.shard(key_hash) for key_hash in wanted]


def test_order_of_declaration_does_not_matter() -> None:
    """Two processes that list the shards differently agree on every owner."""
    shards = [(f"shard-{n}", 1.0 + n % 3) for n in range(6)]
    one, other = Ring(shards, 256), Ring(shards[::-1], 256)
    for n in range(20_000):
        key_hash = xxh64(b"1:%d" % n)
        assert one.shard_ids[one.shard(key_hash)] == other.shard_ids[other.shard(key_hash)]


def test_a_large_ring_has_its_points_where_the_obvious_one_has() -> None:
    """Tens of thousands of points, and an owner for each."""
    shards = [("a", 1.0), ("b", 0.5), ("c", 0.0), ("d", 2.25)]
    points = plain_points(shards, VIRTUAL_NODES_DEFAULT)
    ring = Ring(shards, VIRTUAL_NODES_DEFAULT)
    assert [index for _, _, index in points] == [ring.shard(position) for position, _, _ in points]
    assert points[0][2] == ring.shard(points[-1][0] + 1)


@given(two_rings(), st.lists(ANY_HASH, max_size=50))
def test_moved_is_where_owners_differ(rings: tuple[Members, Members, int], hashes: list[int]) -> None:
    """Inside a range and at its ends the owners are those it names; outside of all they are the same."""
    one, other, nodes = rings
    here, there = plain_points(one, nodes), plain_points(other, nodes)
    arcs = Ring(one, nodes).moved(Ring(other, nodes))
    borders = [position for position, _, _ in here + there]
    for key_hash in {*hashes, *borders, *((border + 1) % HASHES for border in borders), 0, HASHES - 1}:
        owners = (plain_owner(here, key_hash), plain_owner(there, key_hash))
        named = [(source, target) for first, last, source, target in arcs if first <= key_hash <= last]
        assert named == ([] if owners[0] == owners[1] else [owners])


@given(two_rings())
def test_moved_ranges_ascend_and_neighbours_are_one(rings: tuple[Members, Members, int]) -> None:
    """No range wraps, none overlaps another, and where two touch their owners differ."""
    one, other, nodes = rings
    arcs = Ring(one, nodes).moved(Ring(other, nodes))
    assert all(0 <= first <= last < HASHES and source != target for first, last, source, target in arcs)
    for before, after in itertools.pairwise(arcs):
        assert before[1] < after[0]
        assert before[1] + 1 < after[0] or before[2:] != after[2:]


def test_moved_is_what_the_shares_say() -> None:
    """What a shard gets and gives, by ranges, is the difference of its shares."""
    one = Ring([("a", 1.0), ("b", 2.0), ("c", 0.0)], 500)
    other = Ring([("a", 1.5), ("b", 1.0), ("c", 1.0)], 500)
    shares = one.shares()
    for first, last, source, target in one.moved(other):
        shares[source] -= (last - first + 1) / HASHES
        shares[target] += (last - first + 1) / HASHES
    assert other.shares() == pytest.approx(shares)
    assert pytest.approx(1.0) == sum(other.shares())


def test_a_ring_with_itself_has_nothing_moved() -> None:
    """A single shard owns all."""
    ring = Ring([("a", 1.0)], 1)
    assert ring.moved(ring) == []
    assert ring.shares() == [1.0]
    assert Ring([("a", 1.0), ("b", 0.0)], 1).moved(Ring([("a", 0.0), ("b", 1.0)], 1)) == [(0, HASHES - 1, 0, 1)]


def test_codes_spread_evenly_and_a_ninth_shard_takes_only_its_share() -> None:
    """A million generated codes: the largest of eight shards is within 5 % of the mean; the ninth takes a ninth of the
    keys within 2 %, and none moves between the others."""
    codes = 1_000_000
    one, other = Ring(_eight(8), VIRTUAL_NODES_DEFAULT), Ring(_eight(9), VIRTUAL_NODES_DEFAULT)
    found = _owners_by_code([one, other], codes)
    held = Counter[int]()
    for (owner, _), count in found.items():
        held[owner] += count
    assert max(held.values()) <= 1.05 * codes / 8
    moved = {owners: count for owners, count in found.items() if owners[0] != owners[1]}
    assert {new for _, new in moved} == {8}
    assert sum(moved.values()) <= 1.02 * codes / 9


def test_shares_stay_within_the_bounds_that_codes_do() -> None:
    """Of the whole hash space: eight shards within 5 %, the ninth's share within 2 %."""
    one, other = Ring(_eight(8), VIRTUAL_NODES_DEFAULT), Ring(_eight(9), VIRTUAL_NODES_DEFAULT)
    assert max(one.shares()) <= 1.05 / 8
    assert sum(last - first + 1 for first, last, _, _ in one.moved(other)) / HASHES <= 1.02 / 9


@pytest.mark.parametrize(("weight", "expected"), [(0.5, {(2, 0), (2, 1), (2, 3)}), (1.5, {(0, 2), (1, 2), (3, 2)})])
def test_a_new_weight_moves_only_from_or_to_its_shard(weight: float, expected: set[tuple[int, int]]) -> None:
    """The others give to it, or take from it, and nothing among themselves."""
    shards = _eight(4)
    changed = [*shards[:2], ("shard-2", weight), shards[3]]
    arcs = Ring(shards, VIRTUAL_NODES_DEFAULT).moved(Ring(changed, VIRTUAL_NODES_DEFAULT))
    assert expected == {(source, target) for _, _, source, target in arcs}


def test_a_shard_in_the_place_of_another_takes_just_its_keys() -> None:
    """Same name, another index."""
    before = [("a", 1.0), ("b", 1.0), ("c", 1.0), ("b", 0.0)]
    after = [("a", 1.0), ("b", 0.0), ("c", 1.0), ("b", 1.0)]
    one, other = Ring(before, VIRTUAL_NODES_DEFAULT), Ring(after, VIRTUAL_NODES_DEFAULT)
    arcs = one.moved(other)
    assert {(source, target) for _, _, source, target in arcs} == {(1, 3)}
    assert one.shares()[1] == pytest.approx(sum(last - first + 1 for first, last, _, _ in arcs) / HASHES)


def _goes_on_beside_a_build() -> bool:
    """Whether this thread ran while another one built a ring of a million points."""
    began, ended = threading.Event(), threading.Event()

    def build() -> None:
        began.set()
        Ring(_eight(64), VIRTUAL_NODES_DEFAULT)
        ended.set()

    thread = threading.Thread(target=build)
    thread.start()
    began.wait()
    has_ended = ended.is_set()
    thread.join()
    return not has_ended


def test_a_ring_is_built_without_the_interpreter_lock() -> None:
    """Another thread goes on, though none is made to give way. A busy machine may hold that one up: once is proof."""
    switch_interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    try:
        assert any(_goes_on_beside_a_build() for _ in range(5))
    finally:
        sys.setswitchinterval(switch_interval_s)


def test_a_ring_states_its_bytes() -> None:
    """Ten a point, four a bucket, and there are up to two buckets a point."""
    size = sys.getsizeof(Ring(_eight(8), VIRTUAL_NODES_DEFAULT))
    assert 14 * 8 * VIRTUAL_NODES_DEFAULT <= size <= 18 * 8 * VIRTUAL_NODES_DEFAULT + 1000


@pytest.mark.parametrize(
    ("shards", "nodes"),
    [
        ([], 1),
        ([("a", 1), ("a", 1)], 1),
        ([("a", 0)], 1),
        ([("a", -1), ("b", 1)], 1),
        ([("a", 1)], 0),
        ([("a", 1000)], 100_000),
        ([("a" * 256, 1)], 1),
    ],
)
def test_rings_that_cannot_be_are_refused(shards: Members, nodes: int) -> None:
    """No shard, a name twice, no weight or one below 0, no point, too many points, a name that is too long."""
    with pytest.raises(ValueError, match=r"shard|at least 1|at most"):
        Ring(shards, nodes)
