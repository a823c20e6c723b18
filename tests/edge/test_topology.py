"""The topology that a worker holds, its files, and what a fence allows."""

from pathlib import Path

import pytest

from edge.topology import Store, build, placement, read_domains, read_topology
from edge.verdict import judge
from wire import fence, keys, topology

RUN_ID = "a" * 40


def make(*ids: str, epoch: int = 1, weight: int = 1) -> topology.Topology:
    """A topology of shards with these ids."""
    shards = tuple(topology.Shard(id=name, url=f"redis://{name}", weight=weight) for name in ids)
    return topology.Topology(epoch=epoch, shards=shards, virtual_nodes=16)


def test_shards_keep_their_numbers_over_changes() -> None:
    """A number stands for one shard's pushes and trust: a shard that stays keeps it, a new one gets a free one."""
    first = build(make("a", "b", "c"), {})
    assert first.numbers == (0, 1, 2)
    second = build(make("d", "c", "a"), {"a": 0, "c": 2})
    assert second.numbers == (1, 2, 0)


def test_every_shard_may_be_replaced_at_once() -> None:
    """With more than half of all numbers in use: those of the shards that leave are given on."""
    before, after = (make(*(f"{name}-{n}" for n in range(topology.SHARDS_MAX - 6))) for name in ("old", "new"))
    held = dict(zip((shard.id for shard in before.shards), build(before, {}).numbers, strict=True))
    numbers = build(after, held).numbers
    assert len(set(numbers)) == len(numbers) == topology.SHARDS_MAX - 6
    assert numbers[:6] == tuple(range(topology.SHARDS_MAX - 6, topology.SHARDS_MAX))


def test_placement_depends_on_ids_and_weights_only() -> None:
    """Another URL or order moves no key; another weight or shard does."""
    assert placement(make("a", "b")) == placement(make("b", "a", epoch=9))
    assert placement(make("a", "b")) != placement(make("a", "b", weight=2))
    assert placement(make("a", "b")) != placement(make("a"))


def test_only_a_newer_topology_is_taken() -> None:
    """An old document of a shard that was away changes nothing, nor does one that cannot be read."""
    held = make("a", epoch=5)
    assert read_topology(topology.encode(make("b", epoch=4)), held) is None
    assert read_topology(topology.encode(make("b", epoch=5)), held) is None
    assert read_topology(b"2{}", held) is None
    assert read_domains(b"1{", None) is None
    assert read_topology(topology.encode(make("b", epoch=6)), held) == make("b", epoch=6)


def test_store_keeps_the_last_document(tmp_path: Path) -> None:
    """Written whole, read back, absent before."""
    store = Store(str(tmp_path / "state"))
    assert store.read(keys.TOPOLOGY) is None
    store.write(keys.TOPOLOGY, b"1{}")
    store.write(keys.TOPOLOGY, b"1{...}")
    assert store.read(keys.TOPOLOGY) == b"1{...}"
    assert [file.name for file in (tmp_path / "state").iterdir()] == ["topology.json"]


@pytest.mark.parametrize(
    ("state", "epoch", "run_id", "expected"),
    [
        ("complete", 3, RUN_ID, (True, True, False)),
        ("filling", 3, RUN_ID, (True, False, False)),
        ("complete", 2, RUN_ID, (True, False, False)),
        ("complete", 4, RUN_ID, (False, False, True)),
        ("complete", 3, "b" * 40, (False, False, False)),
        ("complete", 4, "b" * 40, (False, False, True)),
    ],
)
def test_fence_decides_what_is_final(
    state: fence.FenceState, epoch: int, run_id: str, expected: tuple[bool, bool, bool]
) -> None:
    """Hits and misses are final only under the fence of this epoch, this server and a complete shard (I5)."""
    verdict = judge(fence.encode(fence.Fence(epoch=epoch, state=state, run_id=run_id)), 3, RUN_ID)
    assert (verdict.are_hits_final, verdict.are_misses_final, verdict.is_epoch_behind) == expected


@pytest.mark.parametrize("value", [None, b"", b"9{}", b"1{}", b"junk"])
def test_no_fence_allows_nothing(value: bytes | None) -> None:
    """Absent, of another version, or malformed: neither hits nor misses are final."""
    verdict = judge(value, 3, RUN_ID)
    assert (verdict.are_hits_final, verdict.are_misses_final) == (False, False)
