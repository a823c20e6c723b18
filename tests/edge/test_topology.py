"""The topology that a worker holds, its files, and what a fence allows."""

import asyncio
from pathlib import Path

import pytest

from edge.topology import (
    Adoption,
    Foundry,
    Map,
    Rings,
    Store,
    build,
    placement,
    read_domains,
    read_topology,
    second_placement,
)
from edge.verdict import EPOCH_UNREADABLE, epoch_of, judge
from tests.edge.rig import rings_of, until
from wire import fence, keys, topology

RUN_ID = "a" * 40


def make(*ids: str, epoch: int = 1, weight: int = 1) -> topology.Topology:
    """A topology of shards with these ids."""
    shards = tuple(topology.Shard(id=name, url=f"redis://{name}", weight=weight) for name in ids)
    return topology.Topology(epoch=epoch, shards=shards, virtual_nodes=16)


def made(described: topology.Topology, taken: dict[str, int]) -> Map:
    """Its map."""
    return build(described, rings_of(described), taken)


def adopted(offers: list[list[bytes]]) -> list[tuple[int, Rings]]:
    """What an adoption hands on of documents; those of a list come while the rings of its first are made."""
    told: list[tuple[int, Rings]] = []

    async def run() -> None:
        adoption = Adoption(lambda described, rings: told.append((described.epoch, rings)))
        task = asyncio.create_task(adoption.run())
        for first, *others in offers:
            count = len(told)
            is_newer = adoption.offer(first)
            await asyncio.sleep(0)  # the making begins
            if any([is_newer, *(adoption.offer(data) for data in others)]):
                await until(lambda: len(told) > count)  # noqa: B023  it is waited for here
        task.cancel()

    asyncio.run(run())
    return told


def test_shards_keep_their_numbers_over_changes() -> None:
    """A number stands for one shard's pushes and trust: a shard that stays keeps it, a new one gets a free one."""
    first = made(make("a", "b", "c"), {})
    assert first.numbers == (0, 1, 2)
    second = made(make("d", "c", "a"), {"a": 0, "c": 2})
    assert second.numbers == (1, 2, 0)


def test_every_shard_may_be_replaced_at_once() -> None:
    """With more than half of all numbers in use: those of the shards that leave are given on."""
    before, after = (make(*(f"{name}-{n}" for n in range(topology.SHARDS_MAX - 6))) for name in ("old", "new"))
    held = dict(zip((shard.id for shard in before.shards), made(before, {}).numbers, strict=True))
    numbers = made(after, held).numbers
    assert len(set(numbers)) == len(numbers) == topology.SHARDS_MAX - 6
    assert numbers[:6] == tuple(range(topology.SHARDS_MAX - 6, topology.SHARDS_MAX))


def test_placement_depends_on_ids_and_weights_only() -> None:
    """Another URL or order moves no key; another weight or shard does."""
    assert placement(make("a", "b")) == placement(make("b", "a", epoch=9))
    assert placement(make("a", "b")) != placement(make("a", "b", weight=2))
    assert placement(make("a", "b")) != placement(make("a"))


def test_placements_of_two_documents_can_be_the_same_ring() -> None:
    """The ring of before is the second one of a cut-over: the same owners, whatever has joined meanwhile."""
    shards = make("a", "b").shards
    joined = topology.Shard(id="c", url="redis://c", weight=1, second_weight=0)
    both = tuple(topology.Shard(id=s.id, url=s.url, weight=1, second_weight=1) for s in shards)
    cut_over = topology.Topology(epoch=4, mode="cut-over", shards=(*both, joined), virtual_nodes=16)
    assert second_placement(cut_over) == placement(make("a", "b"))
    assert placement(cut_over) == placement(make("a", "b", "c"))
    # A shard in the place of another one takes its keys, and is another owner all the same.
    replaced = topology.Topology(
        epoch=2, shards=(shards[0], topology.Shard(id="c", url="redis://c", place="b")), virtual_nodes=16
    )
    assert placement(replaced) != placement(make("a", "b"))


def test_newest_document_wins_and_order_is_kept() -> None:
    """Those that come while rings are made replace what waits; an older one, or the same, is not taken."""
    documents = {epoch: topology.encode(make("a", f"b{epoch}", epoch=epoch)) for epoch in range(1, 7)}
    offers = [[1], [3, 2, 4], [2], [5], [6, 5]]
    told = adopted([[documents[epoch] for epoch in together] for together in offers])
    assert [epoch for epoch, _ in told] == [1, 4, 5, 6]


def test_loop_goes_on_while_rings_are_made() -> None:
    """Half a million points take a thread tens of milliseconds, in which requests are answered."""
    large = topology.Topology(
        epoch=1,
        virtual_nodes=topology.VIRTUAL_NODES_MAX,
        shards=tuple(topology.Shard(id=f"s{n}", url=f"redis://s{n}") for n in range(8)),
    )

    async def run() -> tuple[int, int]:
        making = asyncio.create_task(Foundry().make(large))
        turns = 0
        while not making.done():
            await asyncio.sleep(0)
            turns += 1
        return turns, len((await making).read)

    turns, points = asyncio.run(run())
    assert points == 8 * topology.VIRTUAL_NODES_MAX
    assert turns > 100


def test_moves_reuse_the_rings_that_they_alternate_between() -> None:
    """A ring is made once in a move, though a shard joins the document."""
    old = make("a", "b")
    second = tuple(
        topology.Shard(id=name, url=f"redis://{name}", weight=weight, second_weight=1)
        for name, weight in (("a", 1), ("b", 1), ("c", 0))
    )
    swapped = tuple(topology.Shard(id=s.id, url=s.url, weight=s.second_weight, second_weight=s.weight) for s in second)
    told = adopted(
        [
            [topology.encode(old)],
            [topology.encode(topology.Topology(epoch=2, mode="armed", shards=second, virtual_nodes=16))],
            [topology.encode(topology.Topology(epoch=3, mode="cut-over", shards=swapped, virtual_nodes=16))],
            [topology.encode(make("a", "b", "c", epoch=4))],
        ]
    )
    first, armed, cut_over, last = (rings for _, rings in told)
    assert armed.read is first.read
    assert (cut_over.read, cut_over.second) == (armed.second, armed.read)
    assert (last.read, last.second) == (cut_over.read, None)


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


def test_store_that_cannot_be_read_has_nothing(tmp_path: Path) -> None:
    """A directory in the file's place, or no directory where it should be: the seeds tell the topology."""
    (tmp_path / "topology.json").mkdir()
    (tmp_path / "file").touch()
    assert Store(str(tmp_path)).read(keys.TOPOLOGY) is None
    assert Store(str(tmp_path / "file")).read(keys.TOPOLOGY) is None


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


def test_fence_names_the_epoch_that_trust_depends_on() -> None:
    """None is as good as the oldest; one that only a newer build reads is newer than any topology held."""
    assert epoch_of(fence.encode(fence.Fence(epoch=7, state="filling", run_id=RUN_ID))) == 7
    assert (epoch_of(None), epoch_of(b"9{}"), epoch_of(b"")) == (0, EPOCH_UNREADABLE, EPOCH_UNREADABLE)
