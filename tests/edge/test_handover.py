"""What becomes of L1 along the modes of a move, and which epoch may be acknowledged when."""

import asyncio

import pytest

from edge._fast import xxh64
from edge._front import Front
from edge.handover import Handover
from edge.topology import Map
from tests.edge.rig import rings_of, until
from tests.edge.test_owners import NUMBERS, fill, front
from wire.topology import Mode, Shard, Topology

OLD, NEW, OTHER = (1, 1, 0), (1, 1, 1), (1, 0, 1)
KEYS = [b"1:code%d" % n for n in range(2000)]
Weights = tuple[float, ...]


def held(epoch: int, mode: Mode, read: Weights, second: Weights = (0, 0, 0)) -> Map:
    """The map of three shards with these weights."""
    shards = tuple(
        Shard(id=name, url=f"redis://{name}", weight=weight, second_weight=other)
        for name, weight, other in zip("abc", read, second, strict=True)
    )
    topology = Topology(epoch=epoch, mode=mode, shards=shards, virtual_nodes=64)
    return Map(topology, rings_of(topology), NUMBERS)


STEADY = held(1, "steady", OLD)
ARMED = held(2, "armed", OLD, NEW)
SAMPLING = held(3, "sampling", OLD, NEW)
CUT_OVER = held(4, "cut-over", NEW, OLD)
SOAKING = held(5, "soaking", NEW, OLD)
MOVED = held(6, "steady", NEW)


def fill_by(target: Front, filler: Map) -> None:
    """Have the owners on the ring that is read fill L1."""
    for key in KEYS:
        fill(target, key, filler.number(xxh64(key)))


def answered(target: Front) -> set[bytes]:
    """What L1 answers."""
    return {key for key in KEYS if target.find(key) is not None}


def staying(before: Map, after: Map) -> set[bytes]:
    """What both read from the same shard."""
    return {key for key in KEYS if before.number(xxh64(key)) == after.number(xxh64(key))}


@pytest.mark.parametrize("maps", [[STEADY, ARMED, SAMPLING], [STEADY, ARMED, held(3, "steady", OLD)]])
def test_nothing_ends_while_the_same_ring_is_read(maps: list[Map]) -> None:
    """Before the cut-over, and when a move is aborted there: no walk, no distrust, each epoch acknowledged at once."""
    target = front()
    handover = Handover(target, lambda: None)
    for new_map in maps:
        assert not handover.adopt(new_map)
        assert handover.acknowledged == new_map.topology.epoch
        fill_by(target, new_map)
    assert (answered(target), target.counters.get("l1_walks")) == (set(KEYS), 0)


@pytest.mark.parametrize("after", [CUT_OVER, SOAKING])
def test_walk_ends_what_has_another_owner(after: Map) -> None:
    """Whichever of the modes that read the new ring comes first: the old owners are written in both."""
    target = front()
    told: list[int] = []
    handover = Handover(target, lambda: told.append(handover.acknowledged))
    handover.adopt(STEADY)
    fill_by(target, STEADY)

    async def run() -> None:
        task = asyncio.create_task(handover.run())
        assert not handover.adopt(after)
        assert answered(target) == set(KEYS)
        await until(lambda: told)
        task.cancel()

    asyncio.run(run())
    assert answered(target) == staying(STEADY, CUT_OVER)
    assert told == [after.topology.epoch]
    counters = target.counters
    assert counters.get("l1_walk_ended") == len(KEYS) - len(staying(STEADY, CUT_OVER))
    assert counters.get("l1_walk_left_bytes") == 0


def test_soaking_is_acknowledged_when_the_walk_is_over() -> None:
    """The cut-over at once: both owners are written. Then control waits for the walk before it stops that."""
    target = front()
    acknowledged: list[int] = []
    handover = Handover(target, lambda: acknowledged.append(handover.acknowledged))
    handover.adopt(SAMPLING)
    fill_by(target, SAMPLING)

    async def run() -> None:
        assert not handover.adopt(CUT_OVER)
        assert handover.acknowledged == 4
        assert not handover.adopt(SOAKING)
        assert (handover.acknowledged, answered(target)) == (4, set(KEYS))
        task = asyncio.create_task(handover.run())
        await until(lambda: acknowledged)
        task.cancel()

    asyncio.run(run())
    assert (acknowledged, handover.acknowledged) == ([5], 5)
    assert not handover.adopt(MOVED)
    assert (handover.acknowledged, answered(target)) == (6, staying(STEADY, MOVED))


def test_reversed_cut_over_walks_back() -> None:
    """What the old owners filled may be answered again; what the new ones filled meanwhile ends."""
    target = front()
    told: list[int] = []
    handover = Handover(target, lambda: told.append(handover.acknowledged))
    handover.adopt(SAMPLING)
    fill_by(target, SAMPLING)
    back = held(5, "cut-over", OLD, NEW)

    async def run() -> None:
        handover.adopt(CUT_OVER)
        for key in KEYS[:1000]:
            fill(target, key, CUT_OVER.number(xxh64(key)))
        assert not handover.adopt(back)
        task = asyncio.create_task(handover.run())
        await until(lambda: told)
        task.cancel()

    asyncio.run(run())
    assert answered(target) == set(KEYS[1000:]) | (set(KEYS[:1000]) & staying(STEADY, CUT_OVER))
    assert not handover.adopt(held(6, "soaking", OLD, NEW))
    assert handover.acknowledged == 6


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (STEADY, MOVED),  # a whole move was missed
        (STEADY, held(7, "armed", NEW, OLD)),  # and one back has begun: the old owners are being filled
        (STEADY, held(9, "cut-over", OTHER, NEW)),  # and another one
        (SAMPLING, MOVED),
        (ARMED, held(8, "soaking", OTHER, NEW)),
    ],
)
def test_missed_epochs_cost_all_of_l1(before: Map, after: Map) -> None:
    """Nobody has pushed changes for what the old owners filled."""
    handover = Handover(front(), lambda: None)
    handover.adopt(before)
    assert handover.adopt(after)
    assert handover.acknowledged == after.topology.epoch
    assert not handover.adopt(held(20, "steady", OTHER if after.topology.shards[1].weight == 0 else NEW))


def test_unfinished_walk_costs_all_of_l1_when_the_old_owners_are_left() -> None:
    """A worker that slept in a walk finds the move over when it wakes."""
    handover = Handover(front(), lambda: None)
    assert [handover.adopt(new_map) for new_map in (STEADY, CUT_OVER, MOVED)] == [False, False, True]
    assert handover.acknowledged == 6


def test_first_topology_costs_nothing() -> None:
    """In whatever mode: L1 holds nothing that could be believed."""
    for new_map in (STEADY, ARMED, SAMPLING, CUT_OVER, SOAKING):
        handover = Handover(front(), lambda: None)
        assert not handover.adopt(new_map)
        assert handover.acknowledged == new_map.topology.epoch
