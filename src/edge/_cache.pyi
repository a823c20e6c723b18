"""L1: a cache bounded in bytes."""

class Cache:
    """Keys of at most 255 bytes and payloads of at most 65,535, in `bytes_max` bytes altogether (4,096 to 2^34).

    Eviction is S3-FIFO. Raises ValueError for a size outside the bounds.
    """

    bytes_max: int
    used_bytes: int
    eviction_count: int

    def __init__(self, bytes_max: int) -> None: ...
    def get(self, key: bytes) -> bytes | None:
        """The payload held for the key, or None."""

    def put(self, key: bytes, payload: bytes) -> bool:
        """Hold the payload for the key; False if it is larger than a sixteenth of the cache."""

    def discard(self, key: bytes) -> bool:
        """Remove the key; whether it was there."""

    def keys(self) -> list[bytes]:
        """The keys that came lately, then those that were asked for again; each from the oldest to the newest."""

    def key_at(self, number: int) -> bytes | None:
        """One of the keys, chosen by a random number of 64 bits; None if the cache is empty, or nearly so."""

    def time_finds(self, keys: list[bytes], rounds: int) -> tuple[float, int]:
        """Nanoseconds for one find, inside the compiled module, and how many found something; for benchmarks."""

    def __len__(self) -> int: ...
