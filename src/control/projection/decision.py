"""What a shard needs, decided from what PostgreSQL and the shard say; pure."""

from dataclasses import dataclass
from typing import Literal

from control.projection.store import ShardState
from wire.fence import Fence

Need = Literal["nothing", "publish", "tail", "full"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What a shard says of itself, over one connection. `fence` is None if there is none, or none that can be read."""

    run_id: str
    fence: Fence | None
    fence_bytes: bytes | None
    sequence: int
    has_documents: bool


def decide(state: ShardState, observed: Observed, epoch: int) -> Need:
    """What the keeper has to do.

    Every shard that was ever filled has a fence, written before its first link; one without has lost all, even when its
    pm:seq has started again. With a fence, pm:seq tells how far the recovered log reaches.
    """
    if observed.fence is None or not state.is_complete:
        return "full"
    if state.run_id != observed.run_id:
        return "tail" if observed.sequence >= state.floor_seq else "full"
    if observed.fence != complete_fence(observed.run_id, epoch) or not observed.has_documents:
        return "publish"
    return "nothing"


def complete_fence(run_id: str, epoch: int) -> Fence:
    """The fence of a shard that holds every link."""
    return Fence(epoch=epoch, state="complete", run_id=run_id)


def filling_fence(run_id: str, epoch: int) -> Fence:
    """The fence of a shard whose links are right, but not all there."""
    return Fence(epoch=epoch, state="filling", run_id=run_id)
