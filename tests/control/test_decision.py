"""What a shard needs, from what it and PostgreSQL say."""

import pytest

from control.projection.decision import Need, Observed, complete_fence, decide, filling_fence
from control.projection.store import ShardState
from wire import fence
from wire.fence import Fence

OURS = complete_fence("run-1", 3)


def _state(*, run_id: str | None = "run-1", is_complete: bool = True) -> ShardState:
    return ShardState(id="shard-0", run_id=run_id, is_complete=is_complete, floor_seq=10, base_seq=5)


def _observed(held: Fence | None, *, run_id: str = "run-1", sequence: int = 20, has_documents: bool = True) -> Observed:
    return Observed(
        run_id=run_id,
        fence=held,
        fence_bytes=None if held is None else fence.encode(held),
        sequence=sequence,
        has_documents=has_documents,
    )


CASES: list[tuple[str, ShardState, Observed, Need]] = [
    ("all is well", _state(), _observed(OURS), "nothing"),
    ("new and empty", _state(run_id=None, is_complete=False), _observed(None, sequence=0), "full"),
    ("flushed", _state(), _observed(None, sequence=0), "full"),
    ("flushed, and written since", _state(), _observed(None, sequence=50), "full"),
    ("filling was cut off", _state(is_complete=False), _observed(filling_fence("run-1", 3)), "full"),
    ("restarted while filled", _state(is_complete=False), _observed(filling_fence("run-1", 3), run_id="run-2"), "full"),
    ("restarted", _state(), _observed(OURS, run_id="run-2"), "tail"),
    ("restarted, just at the floor", _state(), _observed(OURS, run_id="run-2", sequence=10), "tail"),
    ("restarted from too old a copy", _state(), _observed(OURS, run_id="run-2", sequence=9), "full"),
    ("recovered, fence not written yet", _state(run_id="run-2"), _observed(OURS, run_id="run-2"), "publish"),
    ("filled, fence not written yet", _state(), _observed(filling_fence("run-1", 3)), "publish"),
    ("the epoch has risen", _state(), _observed(complete_fence("run-1", 2)), "publish"),
    ("documents are gone", _state(), _observed(OURS, has_documents=False), "publish"),
]


@pytest.mark.parametrize(("state", "observed", "need"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_shard_gets_what_it_needs(state: ShardState, observed: Observed, need: Need) -> None:
    """Each way to find a shard."""
    assert decide(state, observed, 3) == need
