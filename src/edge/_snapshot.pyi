"""Entries of L1 as bytes for a file, and back."""

from edge._cache import Cache

class Walk:
    """The entries of a cache, hottest first, in slices; the cache may change between two of them.

    `to_wall_ms` is what turns the monotonic clock, in which the entries were filled, into the wall clock.
    """

    is_over: bool

    def __init__(self, cache: Cache, to_wall_ms: int) -> None: ...
    def take(self, bytes_max: int) -> bytes:
        """The next slice, of at most `bytes_max` and 131,072 bytes. It may be empty before `is_over`."""

class Refill:
    """Slices put back as entries that nobody trusts; what was filled before `oldest_ms` (wall clock) is skipped.

    `to_monotonic_ms` is what turns the wall clock into the monotonic one.
    """

    is_over: bool

    def __init__(self, cache: Cache, records: bytes, to_monotonic_ms: int, oldest_ms: int) -> None: ...
    def take(self) -> list[bytes]:
        """The keys of the next entries. Over when the records end, or the cache would have to drop an entry.

        Raises ValueError for records that end within an entry.
        """
