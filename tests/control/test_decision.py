"""What a shard needs, from what it and PostgreSQL say."""

import pytest

from control.projection.decision import HEAD_BYTES, Need, Observed, decide, due_fence
from control.projection.store import NO_FLOOR, ShardState
from wire import domains, fence, topology
from wire.domains import Domains
from wire.fence import Fence, FenceState
from wire.topology import Shard, Topology

EPOCH, REVISION = 3, 2


def _fence(state: FenceState = "complete", epoch: int = EPOCH) -> Fence:
    return Fence(epoch=epoch, state=state, run_id="run-1")


def _state(
    *, run_id: str | None = "run-1", is_complete: bool = True, is_joining: bool = False, floor_seq: int = 10
) -> ShardState:
    return ShardState(
        id="shard-0",
        run_id=run_id,
        is_complete=is_complete,
        is_joining=is_joining,
        floor_seq=floor_seq,
        base_seq=5,
    )


def _joining(run_id: str | None = "run-1") -> ShardState:
    return _state(run_id=run_id, is_complete=False, is_joining=True, floor_seq=NO_FLOOR)


def _observed(
    held: Fence | None, *, run_id: str = "run-1", sequence: int = 20, epoch: int = EPOCH, revision: int = REVISION
) -> Observed:
    """A shard with these documents; an epoch or a revision of 0 stands for none."""
    shards = (Shard(id="shard-0", url="redis://10.0.0.1"),)
    topology_data = topology.encode(Topology(epoch=epoch, shards=shards)) if epoch else b""
    domains_data = domains.encode(Domains(revision=revision, default_id=1, hosts={"a.example": 1})) if revision else b""
    return Observed(
        run_id=run_id,
        fence=held,
        fence_bytes=None if held is None else fence.encode(held),
        sequence=sequence,
        topology_head=topology_data[:HEAD_BYTES],
        domains_head=domains_data[:HEAD_BYTES],
    )


CASES: list[tuple[str, ShardState, Observed, Need]] = [
    ("all is well", _state(), _observed(_fence()), "nothing"),
    ("new and empty", _state(run_id=None, is_complete=False), _observed(None, sequence=0), "full"),
    ("flushed", _state(), _observed(None, sequence=0), "full"),
    ("flushed, and written since", _state(), _observed(None, sequence=50), "full"),
    ("filling was cut off", _state(is_complete=False), _observed(_fence("filling")), "full"),
    ("restarted while filled", _state(is_complete=False), _observed(_fence("filling"), run_id="run-2"), "full"),
    ("restarted", _state(), _observed(_fence(), run_id="run-2"), "tail"),
    ("restarted, just at the floor", _state(), _observed(_fence(), run_id="run-2", sequence=10), "tail"),
    ("restarted from too old a copy", _state(), _observed(_fence(), run_id="run-2", sequence=9), "full"),
    ("restarted, without a floor", _state(floor_seq=NO_FLOOR), _observed(_fence(), run_id="run-2"), "full"),
    ("recovered, fence not written yet", _state(run_id="run-2"), _observed(_fence(), run_id="run-2"), "publish"),
    ("filled, fence not written yet", _state(), _observed(_fence("filling")), "publish"),
    ("the epoch has risen", _state(), _observed(_fence(epoch=2), epoch=2), "publish"),
    ("the table of domains has changed", _state(), _observed(_fence(), revision=1), "publish"),
    ("the topology is gone", _state(), _observed(_fence(), epoch=0), "publish"),
    ("the domains are gone", _state(), _observed(_fence(), revision=0), "publish"),
    ("the topology is an older one", _state(), _observed(_fence(), epoch=2), "publish"),
    ("joins, never seen", _joining(run_id=None), _observed(None, sequence=0, epoch=0, revision=0), "adopt"),
    ("joins, adopted", _joining(), _observed(_fence("filling")), "nothing"),
    ("joins, the epoch has risen", _joining(), _observed(_fence("filling", epoch=2), epoch=2), "publish"),
    ("joins, restarted", _joining(), _observed(_fence("filling"), run_id="run-2"), "adopt"),
    ("joins, flushed", _joining(), _observed(None, sequence=0), "adopt"),
    ("joins, and calls itself complete", _joining(), _observed(_fence()), "publish"),
]


@pytest.mark.parametrize(("state", "observed", "need"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_shard_gets_what_it_needs(state: ShardState, observed: Observed, need: Need) -> None:
    """Each way to find a shard."""
    assert decide(state, observed, EPOCH, REVISION) == need


def test_only_a_complete_shard_that_does_not_join_is_called_complete() -> None:
    """A shard that joins is filled by its move, whatever was said of it before."""
    assert due_fence(_state(), "run-1", EPOCH) == _fence()
    assert due_fence(_state(is_complete=False), "run-1", EPOCH) == _fence("filling")
    assert due_fence(_state(is_joining=True), "run-1", EPOCH) == _fence("filling")
