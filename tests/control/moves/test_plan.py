"""What a move would do, and which requests are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.errors import Error
from control.moves import documents, plan
from control.moves.model import MoveRequest
from control.moves.plan import Size, Speed
from control.moves.steps import STEPS, Document
from edge._fast import Ring
from wire import topology as wire_topology
from wire.topology import Shard, Topology

BEFORE = Topology(
    epoch=7,
    virtual_nodes=64,
    shards=(
        Shard(id="shard-0", url="redis://10.0.0.1"),
        Shard(id="shard-1", url="redis://10.0.0.2", weight=2.0, replicas=("redis://10.0.1.2",)),
        Shard(id="shard-2", url="redis://10.0.0.3"),
    ),
)
ONE = Topology(epoch=1, virtual_nodes=64, shards=BEFORE.shards[:1])
ADD = MoveRequest(kind="add", shard_id="shard-3", url="redis://10.0.0.4", weight=1.5)
REQUESTS = [
    ADD,
    MoveRequest(kind="remove", shard_id="shard-1"),
    MoveRequest(kind="reweight", shard_id="shard-1", weight=0.5),
    MoveRequest(kind="replace", shard_id="shard-1", new_id="shard-9", url="redis://10.0.0.9"),
    MoveRequest(kind="drain", shard_id="shard-2"),
]


def _ids(topology: Topology) -> list[str]:
    return [shard.id for shard in topology.shards]


def test_added_shard_comes_last() -> None:
    """With the weight that is asked for."""
    after = plan.topology_after(BEFORE, ADD)
    assert after.shards == (*BEFORE.shards, Shard(id="shard-3", url="redis://10.0.0.4", weight=1.5))
    assert (after.epoch, after.mode, after.virtual_nodes) == (7, "steady", 64)


def test_removed_shard_is_not_there() -> None:
    """The others stay as they are."""
    after = plan.topology_after(BEFORE, MoveRequest(kind="remove", shard_id="shard-1"))
    assert after.shards == (BEFORE.shards[0], BEFORE.shards[2])


def test_drained_shard_stays_without_links() -> None:
    """With weight 0."""
    after = plan.topology_after(BEFORE, MoveRequest(kind="drain", shard_id="shard-2"))
    assert (_ids(after), after.shards[2].weight) == (_ids(BEFORE), 0.0)


def test_replacing_shard_takes_place_and_weight() -> None:
    """So it gets the keys of the one that it replaces, and no others move."""
    after = plan.topology_after(BEFORE, REQUESTS[3])
    assert after.shards[1] == Shard(id="shard-9", url="redis://10.0.0.9", weight=2.0, place="shard-1")
    moved = documents.arcs(BEFORE, after)
    assert {(arc.from_id, arc.to_id) for arc in moved} == {("shard-1", "shard-9")}
    share = sum(arc.last - arc.first + 1 for arc in moved) / documents.HASHES
    assert share == pytest.approx(Ring(BEFORE.members, 64).shares()[1])


def test_id_whose_place_is_taken_gets_another_place() -> None:
    """A replaced shard's id may be used again; its place is its successor's."""
    after = plan.topology_after(BEFORE, REQUESTS[3])
    again = plan.topology_after(after, MoveRequest(kind="add", shard_id="shard-1", url="redis://10.0.0.5"))
    assert again.shards[-1].place == "shard-1.2"
    third = plan.topology_after(
        again, MoveRequest(kind="replace", shard_id="shard-1", new_id="shard-1b", url="redis://10.0.0.6")
    )
    assert third.shards[-1].place == "shard-1.2"
    fourth = plan.topology_after(third, MoveRequest(kind="add", shard_id="shard-1", url="redis://10.0.0.7"))
    assert fourth.shards[-1].place == "shard-1.3"


@pytest.mark.parametrize(
    ("request_", "code", "before"),
    [
        (MoveRequest(kind="remove", shard_id="shard-7"), "shard_unknown", BEFORE),
        (MoveRequest(kind="drain", shard_id="shard-7"), "shard_unknown", BEFORE),
        (MoveRequest(kind="reweight", shard_id="shard-7", weight=1.0), "shard_unknown", BEFORE),
        (MoveRequest(kind="replace", shard_id="shard-7", new_id="a", url="redis://x"), "shard_unknown", BEFORE),
        (MoveRequest(kind="add", shard_id="shard-1", url="redis://10.0.0.4"), "shard_exists", BEFORE),
        (MoveRequest(kind="add", shard_id="shard-3", url="redis://10.0.0.2"), "shard_exists", BEFORE),
        (MoveRequest(kind="add", shard_id="shard-3", url="redis://10.0.1.2"), "shard_exists", BEFORE),
        (MoveRequest(kind="replace", shard_id="shard-1", new_id="shard-1", url="redis://x"), "shard_exists", BEFORE),
        (MoveRequest(kind="replace", shard_id="shard-1", new_id="shard-2", url="redis://x"), "shard_exists", BEFORE),
        (MoveRequest(kind="add", shard_id="Shard_3", url="redis://x"), "topology_invalid", BEFORE),
        (MoveRequest(kind="add", shard_id="shard-3"), "topology_invalid", BEFORE),
        (MoveRequest(kind="replace", shard_id="shard-1", url="redis://x"), "topology_invalid", BEFORE),
        (MoveRequest(kind="add", shard_id="shard-3", url="redis://x", weight=0.0), "topology_invalid", BEFORE),
        (MoveRequest(kind="add", shard_id="shard-3", url="redis://x", weight=-1.0), "topology_invalid", BEFORE),
        (MoveRequest(kind="add", shard_id="shard-3", url="redis://x", weight=1001.0), "topology_invalid", BEFORE),
        (MoveRequest(kind="add", shard_id="shard-3", url="redis://x", weight=0.001), "topology_invalid", BEFORE),
        (MoveRequest(kind="reweight", shard_id="shard-1"), "topology_invalid", BEFORE),
        (MoveRequest(kind="reweight", shard_id="shard-1", weight=2.0), "move_empty", BEFORE),
        (MoveRequest(kind="remove", shard_id="shard-0"), "ring_empty", ONE),
        (MoveRequest(kind="drain", shard_id="shard-0"), "ring_empty", ONE),
        (MoveRequest(kind="reweight", shard_id="shard-0", weight=0.0), "ring_empty", ONE),
    ],
)
def test_request_that_makes_no_sense_is_refused(request_: MoveRequest, code: str, before: Topology) -> None:
    """With a code, before anything is written."""
    with pytest.raises(Error) as caught:
        plan.topology_after(before, request_)
    assert caught.value.code == code


def test_drained_shard_cannot_be_drained_again() -> None:
    """Nothing would move."""
    after = plan.topology_after(BEFORE, REQUESTS[4])
    with pytest.raises(Error, match="has the weight 0 already"):
        plan.topology_after(after, REQUESTS[4])


@pytest.mark.parametrize("request_", REQUESTS)
def test_topology_of_every_phase_can_be_published(request_: MoveRequest) -> None:
    """Each has its mode and its rings, and names every shard that is read or written."""
    after = plan.topology_after(BEFORE, request_)
    sides = {"before": BEFORE, "after": after}
    for step in STEPS.values():
        document = step.document
        topology = documents.build(document, BEFORE, after, 9, BEFORE)
        assert wire_topology.decode(wire_topology.encode(topology)) == topology
        assert (topology.epoch, topology.mode) == (9, document.mode)
        read = {shard.id: shard.weight for shard in sides[document.reads].shards if shard.weight}
        assert {shard.id: shard.weight for shard in topology.shards if shard.weight} == read
        if document.mode != "steady":
            other = sides["after" if document.reads == "before" else "before"]
            second = {shard.id: shard.weight for shard in other.shards if shard.weight}
            assert {shard.id: shard.second_weight for shard in topology.shards if shard.second_weight} == second


def test_addresses_are_those_in_force() -> None:
    """An address that was changed while a move is planned is not changed back by it."""
    after = plan.topology_after(BEFORE, ADD)
    shards = tuple(Shard(id=shard.id, url=f"{shard.url}:7000", weight=shard.weight) for shard in BEFORE.shards)
    in_force = Topology(epoch=8, virtual_nodes=64, shards=shards)
    topology = documents.build(Document("armed", "before"), BEFORE, after, 9, in_force)
    assert [shard.url for shard in topology.shards] == [*(shard.url for shard in shards), "redis://10.0.0.4"]
    assert documents.is_like(in_force, BEFORE)
    assert not documents.is_like(in_force, after)


@pytest.mark.parametrize("request_", REQUESTS)
@given(key_hash=st.integers(0, documents.HASHES - 1))
def test_arcs_are_what_changes_its_owner(request_: MoveRequest, key_hash: int) -> None:
    """A hash lies in an arc if and only if its owners differ, and the arc names them."""
    after = plan.topology_after(BEFORE, request_)
    owners = [
        topology.shards[Ring(topology.members, topology.virtual_nodes).shard(key_hash)].id
        for topology in (BEFORE, after)
    ]
    found = [arc for arc in documents.arcs(BEFORE, after) if arc.first <= key_hash <= arc.last]
    assert [(arc.from_id, arc.to_id) for arc in found] == ([tuple(owners)] if owners[0] != owners[1] else [])


def test_plan_says_how_much_it_is() -> None:
    """Shares of the hash space, times the links that there are."""
    after = plan.topology_after(BEFORE, ADD)
    arcs = documents.arcs(BEFORE, after)
    planned = plan.plan(
        ADD,
        BEFORE,
        after,
        arcs,
        size=Size(links=1_000_000, text_bytes=88.0),
        speed=Speed(copy_links_s=20_000, soak_s=60),
    )
    share = Ring(after.members, 64).shares()[3]
    assert sum(pair.share for pair in planned.pairs) == pytest.approx(share)
    assert {pair.to_id for pair in planned.pairs} == {"shard-3"}
    assert {pair.from_id for pair in planned.pairs} == {"shard-0", "shard-1", "shard-2"}
    assert sum(pair.arcs for pair in planned.pairs) == len(arcs)
    assert planned.links == pytest.approx(1_000_000 * share, abs=3)
    assert planned.bytes == pytest.approx(planned.links * 200, abs=3)
    assert planned.seconds == pytest.approx(planned.links / 20_000 + 60, abs=0.1)
    assert plan.summary(planned)["pairs"][0]["to"] == "shard-3"
