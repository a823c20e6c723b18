"""The click log of one worker."""

from edge._counters import Counters
from edge._segment import LedgerMap, SegmentMap
from edge.config import EdgeConfig

class ClickLog:
    """Clicks as items of a mapped segment. Instants are milliseconds of the monotonic clock."""

    is_on: bool
    has_addresses: bool
    """Clients' addresses are recorded, so they have to be found."""
    has_unknown: bool
    """Answers to unknown codes are recorded."""
    is_crowded: bool
    """Over half of the backlog is used: unknown codes are dropped."""
    has_spare: bool
    segment: int
    """The number of the segment under way, -1: there is none."""

    def __init__(self, counters: Counters, config: EdgeConfig) -> None: ...
    def open(self, ledger: LedgerMap) -> None:
        """Count in this ledger from now on, with what was dropped before."""

    def supply(self, spare: SegmentMap) -> None:
        """Have another segment, with the number that follows; begun at once if none is under way."""

    def refuse(self, reason: str) -> None:
        """Say why a segment would be missing: a reason of wire.report, but not `torn`."""

    def tend(self, now_ms: int, wall_ms: int) -> None:
        """Do what must not wait for a click: seal, end a segment that is old, have pages in memory."""

    def take_retired(self) -> list[int]:
        """The numbers of the segments that were closed since the last call; from then on they are mapped no longer."""

    def close(self) -> None:
        """Seal and close the segment under way, and let the ledger go; what comes then is dropped."""

    def record(self, head: bytes, address: str | None, link_id: int, domain_id: int, status: int, now_ms: int) -> None:
        """Record the click of a request, as the door does. With link id 0 its path is an unknown code."""

    def time_appends(self, heads: list[bytes], address: str, rounds: int) -> float:
        """Nanoseconds for the click of one request, inside the compiled module, of each head in turn."""
