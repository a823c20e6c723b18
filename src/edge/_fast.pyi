"""The compiled door: one connection, bytes in, redirect out; and the leaves that others may use."""

import asyncio
from collections.abc import Callable
from typing import Final, Literal

from edge._base62 import CodePermutation as CodePermutation
from edge._base62 import decode as base62_decode
from edge._base62 import encode as base62_encode
from edge._cache import Cache
from edge._counters import Counters
from edge._ring import Ring as Ring
from edge._ring import xxh64 as xxh64

__all__ = [
    "ORIGIN_SHARD",
    "Answer",
    "CodePermutation",
    "Connection",
    "Front",
    "Ring",
    "base62_decode",
    "base62_encode",
    "xxh64",
]

ORIGIN_SHARD: Final[int]
"""In place of a shard's number: the entry was filled from PostgreSQL and no push covers it."""

Tier = Literal["shard", "origin", "stale", "none"]

class Answer:
    """What a record means at one instant."""

    status: int
    target: bytes | None
    valid_ms: int
    link_id: int
    version: int

    @property
    def is_absent(self) -> bool:
        """Whether the answer is "not found"."""

class Front:
    """What all connections of one worker share: L1, trust in the shards, hosts, the date, the out buffer.

    `resolve(key, key_hash, connection)` is called on a miss and must call `connection.answer` once, later and never
    from within. Instants are milliseconds of the monotonic clock. Shard numbers are 0..255, else ValueError.
    """

    links: Cache
    absences: Cache
    counters: Counters
    connections: set[Connection]
    is_draining: bool

    def __init__(
        self,
        counters: Counters,
        links: Cache,
        absences: Cache,
        resolve: Callable[[bytes, int, Connection], None],
    ) -> None: ...
    def connection(self) -> Connection:
        """A new connection: the protocol factory for the loop's create_server."""

    def set_date(self, date: bytes) -> None:
        """Set the Date field of all answers, an IMF-fixdate; to be called once a second."""

    def set_hosts(self, hosts: dict[bytes, int], default_domain: int) -> None:
        """Swap the table of hosts; 0 as the default domain gives 404 to hosts that are not in it."""

    def drain(self) -> None:
        """Close each connection with its next answer."""

    def generation(self, shard: int) -> int:
        """The shard's generation, which `remember` must be given as it was when the lookup was sent."""

    def trust(self, shard: int, until_ms: int) -> None:
        """Entries of the shard's present generation may be used until then."""

    def distrust(self, shard: int) -> None:
        """Use none of the entries that the shard has filled so far ever again, in O(1)."""

    def is_shard_trusted(self, shard: int) -> bool: ...
    def read(self, record: bytes) -> Answer:
        """The answer that a link record means now; raises wire.FormatError for one that cannot be read."""

    def absent(self) -> Answer:
        """ "Not found", for a key of which an authority says that there is no record."""

    def unresolved(self) -> Answer:
        """ "Not now": nobody who would know could be asked."""

    def remember(self, key: bytes, answer: Answer, shard: int, generation: int, ttl_ms: int) -> bool:
        """Hold the answer in L1 for at most `ttl_ms`; False if it is too large for the cache."""

    def forget(self, key: bytes) -> bool:
        """Remove a key from L1; whether it was there."""

    def stale(self, key: bytes, age_ms_max: int) -> Answer | None:
        """The answer of an untrusted entry that was filled at most `age_ms_max` ago; never an absence."""

class Connection(asyncio.Protocol):
    """One client. Made by `Front.connection` only."""

    def answer(self, answer: Answer, tier: Tier) -> None:
        """Answer the request that waits for the resolver, and serve what came behind it."""

    def close_if_idle(self) -> None:
        """Close the connection unless a request of it is being answered."""
