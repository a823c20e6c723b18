"""The hash of keys and the consistent-hash ring."""

from collections.abc import Sequence

def xxh64(data: bytes, seed: int = 0) -> int:
    """XXH64 of `data`, 0..2^64-1. The hash of a link is that of its cache key, `<domain-id>:<code>`."""

class Ring:
    """An immutable consistent-hash ring.

    `shards` are (id, weight) pairs; each has `virtual_nodes * weight` points. Raises ValueError for no shard, two
    shards of one id, or a weight below 1.
    """

    shard_ids: tuple[str, ...]

    def __init__(self, shards: Sequence[tuple[str, int]], virtual_nodes: int) -> None: ...
    def shard(self, key_hash: int) -> int:
        """The index in `shard_ids` of the shard that owns `key_hash`."""

    def __len__(self) -> int:
        """The number of points."""
