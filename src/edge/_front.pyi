"""What all connections of a worker share: L1, trust in the shards, the table of hosts, the bytes of answers."""

from collections.abc import Callable
from typing import Any, Final

from edge._cache import Cache
from edge._clicklog import ClickLog
from edge._counters import Counters
from edge.config import EdgeConfig

ORIGIN_SHARD: Final[int]
"""In place of a shard's number: the entry was filled from PostgreSQL and no push covers it."""

class Answer:
    """What a record means at one instant."""

    kind: int
    status: int
    target: bytes | None
    valid_ms: int
    link_id: int
    version: int
    max_age_s: int

    @property
    def is_absent(self) -> bool:
        """Whether the answer is "not found"."""

class Front:
    """What all connections of one worker share.

    `resolve(key, key_hash, waiter)` is called on a miss and must call `waiter.answer` once, later and never from
    within. `refresh(key, key_hash)` is called when a link is asked for in the last tenth of its time in L1; what it
    returns is not looked at. Instants are milliseconds of the monotonic clock. Shard numbers are 0..255, else
    ValueError.
    """

    links: Cache
    absences: Cache
    counters: Counters
    clicks: ClickLog
    is_draining: bool

    def __init__(
        self,
        counters: Counters,
        links: Cache,
        absences: Cache,
        resolve: Callable[[bytes, int, Any], None],
        refresh: Callable[[bytes, int], object],
        config: EdgeConfig,
    ) -> None: ...
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
        """Use none of the entries that the shard, or ORIGIN_SHARD, has filled so far ever again, in O(1)."""

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

    def shard_of(self, key: bytes) -> int | None:
        """The number of the shard, or ORIGIN_SHARD, that filled a trusted entry; None without one."""

    def find(self, key: bytes) -> Answer | None:
        """The answer of a trusted entry."""

    def stale(self, key: bytes, age_ms_max: int) -> Answer | None:
        """The answer of an untrusted entry that was filled at most `age_ms_max` ago.

        Never an absence, and never a link that expires some day once its deadline is over: it may have.
        """
