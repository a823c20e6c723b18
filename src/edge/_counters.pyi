"""A worker's counters in memory that the supervisor shares."""

import mmap

BLOCK_BYTES: int
BOUNDS_MS: tuple[float, ...]
NAMES: tuple[str, ...]
SHARD_NAMES: tuple[str, ...]
STATUSES: tuple[int, ...]
LIMITS: tuple[str, ...]
CLICK_DROPS: tuple[str, ...]
TIERS: tuple[str, ...]

class Block:
    """Numbers with names; KeyError for a name that is not among them."""

    def add(self, name: str, count: int = 1) -> None: ...
    def set(self, name: str, value: int) -> None: ...
    def get(self, name: str) -> int: ...
    def clear(self) -> None: ...
    def observe(self, name: str, duration_us: int) -> None:
        """Count a duration in the histogram of this name."""

    def read(self) -> dict[str, int]:
        """All numbers by name."""

class Counters(Block):
    """Block number `block` of a shared mapping; one process writes it, any may read it.

    Raises ValueError when the mapping has no such block.
    """

    def __init__(self, mapping: mmap.mmap | bytearray, block: int) -> None: ...
    def shard(self, number: int) -> ShardCounters:
        """The counters of the shard of this number, 0..255, else ValueError."""

    def shards(self) -> dict[str, dict[str, int]]:
        """The counters of all shards that have a place, by the shard's id."""

class ShardCounters(Block):
    """What a worker counts of one shard. Made by `Counters.shard` only."""

    id: str
    """Empty while no shard has this place."""

    def take(self, shard_id: str) -> None:
        """Begin to count for this shard, of 1 to 63 ASCII characters, else ValueError."""
