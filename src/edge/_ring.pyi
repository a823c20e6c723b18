"""The hash of keys and the consistent-hash ring."""

from collections.abc import Sequence

def xxh64(data: bytes, seed: int = 0) -> int:
    """XXH64 of `data`, 0..2^64-1. The hash of a link is that of its cache key, `<domain-id>:<code>`."""

class Ring:
    """An immutable consistent-hash ring.

    `shards` are (name, weight) pairs; each has `wire.topology.points_of` points, none for a weight of 0. Raises
    ValueError if no shard has a weight, two of one name have one, or one is negative. Points are computed without the
    interpreter's lock, so a thread may build a ring beside a loop.
    """

    shard_ids: tuple[str, ...]

    def __init__(self, shards: Sequence[tuple[str, float]], virtual_nodes: int) -> None: ...
    def shard(self, key_hash: int) -> int:
        """The index in `shard_ids` of the shard that owns `key_hash`."""

    def moved(self, other: Ring) -> list[tuple[int, int, int, int]]:
        """The hashes whose owner is another one on `other`: (first, last, index here, index there), ascending.

        Both ends belong to the range. Neighbours of the same two owners are one range, except around 0: no range wraps.
        Owners are compared by index, so both rings must be of the same list of shards, or one that goes on where the
        other ends.
        """

    def shares(self) -> list[float]:
        """How much of all hashes each shard owns, by index; together 1."""

    def __len__(self) -> int:
        """The number of points."""

    def __sizeof__(self) -> int:
        """Bytes, the tables that the ring stands on among them."""
