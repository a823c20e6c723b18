"""The walk over L1 that ends what is not its owner's any more, while L1 changes."""

import random

import pytest

from edge._cache import Cache
from edge._counters import BLOCK_BYTES, Counters
from edge._fast import Ring, xxh64
from edge._front import ORIGIN_SHARD, Front
from edge._owners import OwnerWalk
from edge.clock import monotonic_ms
from edge.config import EdgeConfig
from wire import record

OLD = Ring([("a", 1.0), ("b", 1.0)], 64)
NEW = Ring([("a", 1.0), ("b", 1.0), ("c", 1.0)], 64)
NUMBERS = (4, 0, 7)  # not those of the rings: a Front's numbers are its own
HOUR_MS = 3_600_000


def front(link_bytes: int = 2**22, absence_bytes: int = 2**21) -> Front:
    """A Front that trusts three shards."""
    counters = Counters(bytearray(BLOCK_BYTES), 0)
    config = EdgeConfig(seeds=())
    made = Front(counters, Cache(link_bytes), Cache(absence_bytes), lambda *_: None, lambda *_: None, config)
    for number in NUMBERS:
        made.trust(number, monotonic_ms() + HOUR_MS)
    return made


def owner(ring: Ring, key: bytes) -> int:
    """The Front's number of the key's owner."""
    return NUMBERS[ring.shard(xxh64(key))]


def fill(target: Front, key: bytes, number: int, is_absent: bool = False) -> None:
    """Hold a link or an absence that this shard has told."""
    data = record.encode(record.LinkRecord(link_id=1, version=1, status=302, target=b"https://example.com/" + key))
    answer = target.absent() if is_absent else target.read(data)
    assert target.remember(key, answer, number, target.generation(number), HOUR_MS)


def finish(walk: OwnerWalk, entries: int = 1000) -> int:
    """Walk to the end; how many entries it has ended."""
    ended = 0
    while not walk.is_over:
        ended += walk.take(entries)
    return ended


@pytest.mark.parametrize("slice_entries", [1, 7, 100_000])
def test_entries_of_former_owners_end_and_no_others(slice_entries: int) -> None:
    """Links and absences; in slices of any size."""
    target = front()
    keys = [b"1:code%d" % n for n in range(3000)]
    for n, key in enumerate(keys):
        fill(target, key, owner(OLD, key), is_absent=n % 3 == 0)
    moved = {key for key in keys if owner(OLD, key) != owner(NEW, key)}
    walk = OwnerWalk(target, NEW, NUMBERS)
    assert walk.left_bytes > 0
    assert finish(walk, slice_entries) == len(moved)
    assert {key for key in keys if target.find(key) is None} == moved
    assert (walk.left_bytes, walk.take(1)) == (0, 0)
    # Nobody can be asked: then a link is served that was true a moment ago, never an absence.
    assert {key for key in moved if target.stale(key, HOUR_MS) is not None} == {
        key for n, key in enumerate(keys) if n % 3 and key in moved
    }


def test_what_cannot_be_answered_anyway_is_left_alone() -> None:
    """PostgreSQL's answers, which no owner matters to, and entries of a generation that is over."""
    target = front()
    keys = [b"1:code%d" % n for n in range(200)]
    for key in keys[:100]:
        fill(target, key, ORIGIN_SHARD)
    for key in keys[100:]:
        fill(target, key, owner(OLD, key))
    for number in NUMBERS:
        target.distrust(number)
    assert finish(OwnerWalk(target, NEW, NUMBERS)) == 0
    assert all(target.find(key) for key in keys[:100])


@pytest.mark.parametrize("seed", range(8))
def test_no_entry_is_missed_while_l1_changes(seed: int) -> None:
    """Between two slices entries are asked for, come, and push others from log to log, and out."""
    chosen = random.Random(seed)
    target = front(link_bytes=2**18, absence_bytes=2**16)
    keys = [b"1:code%d" % n for n in range(6000)]
    for key in keys[:3000]:
        fill(target, key, owner(OLD, key), is_absent=chosen.random() < 0.2)
    walk = OwnerWalk(target, NEW, NUMBERS)
    while not walk.is_over:
        walk.take(chosen.choice((1, 10, 50)))
        for key in chosen.sample(keys[:3000], 40):
            target.find(key)
        for key in chosen.sample(keys, 20):  # come from their owner: the resolver sees to that
            fill(target, key, owner(NEW, key), is_absent=chosen.random() < 0.2)
    held = [key for key in keys if target.find(key) is not None]
    assert held
    # Whatever is answered now stays when its owner is trusted alone.
    for number in NUMBERS:
        target.trust(number, 0)
    for number in NUMBERS:
        target.trust(number, monotonic_ms() + HOUR_MS)
        for key in held:
            assert (target.find(key) is not None) == (owner(NEW, key) == number), key
        target.trust(number, 0)


def test_numbers_must_match_the_ring() -> None:
    """Fewer than the ring has shards, or more than there can be."""
    for numbers in ((0, 1), tuple(range(257))):
        with pytest.raises(ValueError, match="numbers"):
            OwnerWalk(front(), NEW, numbers)
