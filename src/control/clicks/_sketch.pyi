"""HyperLogLog: how many different hashes there were, in at most three kilobytes. The standard error is 1.6 %."""

from collections.abc import Iterable, Sequence

def fold_sketches(sketches: Sequence[bytes], hashes: Iterable[int]) -> bytes:
    """One sketch of all that are in these, and of these 64-bit hashes; raises ValueError for what is no sketch."""

def estimate(data: bytes) -> float:
    """How many different hashes the sketch has seen, about; raises ValueError for what is no sketch."""
