"""A worker's counters in memory that the supervisor shares."""

import mmap

BLOCK_BYTES: int
NAMES: tuple[str, ...]
STATUSES: tuple[int, ...]
TIERS: tuple[str, ...]

class Counters:
    """Block number `block` of a shared mapping; one process writes it, any may read it.

    Raises ValueError when the mapping has no such block, KeyError for a name that is not in NAMES.
    """

    def __init__(self, mapping: mmap.mmap | bytearray, block: int) -> None: ...
    def add(self, name: str, count: int = 1) -> None: ...
    def set(self, name: str, value: int) -> None: ...
    def get(self, name: str) -> int: ...
    def clear(self) -> None: ...
    def read(self) -> dict[str, int]:
        """All counters by name."""
