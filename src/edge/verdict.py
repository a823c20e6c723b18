"""What a shard's fence allows an edge to conclude from its replies; pure."""

from dataclasses import dataclass
from typing import Final

from wire import fence as wire_fence
from wire.errors import FormatError


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a fence allows: are present values final, are absences final, and is this edge's epoch behind?"""

    are_hits_final: bool
    are_misses_final: bool
    is_epoch_behind: bool = False


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
