"""What a shard's fence allows an edge to conclude from its replies; pure."""

from dataclasses import dataclass
from typing import Final

from wire import fence as wire_fence
from wire.errors import FormatError

EPOCH_UNREADABLE: Final = 2**63  # of a fence that only a newer build can read: newer than any that this one holds


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a fence allows: are present values final, are absences final, and is this edge's epoch behind?"""

    are_hits_final: bool
    are_misses_final: bool
    is_epoch_behind: bool = False

    def is_final(self, value: bytes | None) -> bool:
        """Whether a value that was read, or its absence, is final."""
        return self.are_misses_final if value is None else self.are_hits_final


DOUBTFUL: Final = Verdict(False, False)


def judge(fence: bytes | None, epoch: int, run_id: str) -> Verdict:
    """What the fence read with a reply allows to an edge that holds `epoch`, talking to the server `run_id` (I5)."""
    if fence is None:
        return DOUBTFUL
    try:
        decoded = wire_fence.decode(fence)
    except FormatError:
        return DOUBTFUL
    if decoded.epoch > epoch:
        return Verdict(False, False, is_epoch_behind=True)
    if decoded.run_id != run_id:
        return DOUBTFUL
    return Verdict(True, decoded.state == "complete" and decoded.epoch == epoch)


def epoch_of(fence: bytes | None) -> int:
    """The epoch for which a shard is fenced; 0 without a fence, for then nobody says anything of a newer one."""
    if fence is None:
        return 0
    try:
        return wire_fence.decode(fence).epoch
    except FormatError:
        return EPOCH_UNREADABLE
