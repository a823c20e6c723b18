"""Ends what L1 holds of shards that do not own it any more."""

from edge._front import Front
from edge._ring import Ring

class OwnerWalk:
    """A walk over all that L1 holds, in slices; L1 may change between two of them.

    `numbers[i]` is the Front's number of the ring's i-th shard; ValueError if there are too few or too many.
    """

    is_over: bool
    left_bytes: int

    def __init__(self, front: Front, ring: Ring, numbers: tuple[int, ...]) -> None: ...
    def take(self, entries_max: int) -> int:
        """Look at so many entries at most; how many of them were ended. It may be 0 before `is_over`."""
