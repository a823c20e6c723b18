"""The hash of keys and the consistent-hash ring."""

from collections.abc import Sequence

def xxh64(data: bytes, seed: int = 0) -> int:
    """XXH64 of `data`, 0..2^64-1. The hash of a link is that of its cache key, `<domain-id>:<code>`."""

class Ring:
    """An immutable consistent-hash ring.

    `shards` are (name, weight) pairs; each has `wire.topology.points_of` points, none for a weight of 0. Raises
    ValueError if no shard has a weight, two of one name have one, or one is negative.
    """

    shard_ids: tuple[str, ...]

    def __init__(self, shards: Sequence[tuple[str, float]], virtual_nodes: int) -> None: ...
    def shard(self, key_hash: int) -> int:
        """The index in `shard_ids` of the shard that owns `key_hash`."""

    def __len__(self) -> int:
        """The number of points."""
