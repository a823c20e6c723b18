"""What a shard needs, decided from what PostgreSQL and the shard say; pure."""

import re
from dataclasses import dataclass
from typing import Final, Literal

from control.projection.store import ShardState
from wire.fence import Fence

Need = Literal["nothing", "publish", "adopt", "tail", "full"]
# Of a document of up to a megabyte, enough to tell which one it is: its number stands in front.
HEAD_BYTES: Final = 48
_NUMBER: Final = re.compile(rb'^\d\{"(?:epoch|revision)":(\d+),')


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What a shard says of itself, over one connection. `fence` is None if there is none, or none that can be read."""

    run_id: str
    fence: Fence | None
    fence_bytes: bytes | None
    sequence: int
    topology_head: bytes
    domains_head: bytes

    def has_documents(self, epoch: int, revision: int) -> bool:
        """Whether the documents are those of this epoch and this revision."""
        return (_number(self.topology_head), _number(self.domains_head)) == (epoch, revision)


def decide(state: ShardState, observed: Observed, epoch: int, revision: int) -> Need:
    """What the keeper has to do.

    Every shard that was ever filled has a fence, written before its first link; one without has lost all, even when its
    pm:seq has started again. With a fence, pm:seq tells how far the recovered log reaches. A shard that is joining is
    made ready to be written, and no more: the move that brings it in fills it.
    """
    if state.is_joining:
        if observed.fence is None or state.run_id != observed.run_id:
            return "adopt"
    elif observed.fence is None or not state.is_complete:
        return "full"
    elif state.run_id != observed.run_id:
        return "tail" if observed.sequence >= state.floor_seq else "full"
    if observed.fence != due_fence(state, observed.run_id, epoch) or not observed.has_documents(epoch, revision):
        return "publish"
    return "nothing"


def due_fence(state: ShardState, run_id: str, epoch: int) -> Fence:
    """The fence of a shard: complete if it holds every link, filling if those that it holds are right."""
    is_whole = state.is_complete and not state.is_joining
    return Fence(epoch=epoch, state="complete" if is_whole else "filling", run_id=run_id)


def _number(head: bytes) -> int:
    """The epoch or the revision that a document begins with; -1 if it does not."""
    found = _NUMBER.match(head)
    return int(found.group(1)) if found else -1
