"""An edge worker's heartbeat: who reads this shard, under which epoch, and what it has seen of the shard's writes."""

from dataclasses import asdict, dataclass
from typing import Final

from wire import document

FORMAT_VERSION: Final = 2
INTERVAL_MS: Final = 1000
# Control calls an edge gone when its heartbeat has expired; the edge's own lease is shorter than that by a margin, so
# that an edge has stopped trusting its ring before control acts on its absence.
EXPIRES_MS: Final = 5000
LEASE_MS: Final = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """`epoch` is the topology that the worker answers by: nothing that an older one put into L1 is answered any more.

    `sequence` is the highest pm:seq of this shard whose invalidations the worker has applied. What follows is for
    people, and for the judgement of a move. Since the worker's start: `requests`, `hits` of L1; `samples` compared with
    the second ring and how many of them differed; `fallbacks` that only the second ring had. Now: `links` and
    `memory_bytes` of the process, its loop's `lag_us`, and `lookup_us`, the mean look-up at this shard since the
    heartbeat before, 0 if there was none.
    """

    edge_id: str
    build: str
    epoch: int
    sequence: int
    started_ms: int = 0
    requests: int = 0
    hits: int = 0
    samples: int = 0
    sample_differences: int = 0
    fallbacks: int = 0
    links: int = 0
    memory_bytes: int = 0
    lag_us: int = 0
    lookup_us: int = 0


_NUMBERS: Final = tuple(name for name in Heartbeat.__slots__ if name not in ("edge_id", "build"))


def encode(heartbeat: Heartbeat) -> bytes:
    """The value of the key pm:edge:<id>."""
    return document.pack(FORMAT_VERSION, asdict(heartbeat))


def decode(data: bytes) -> Heartbeat:
    """The heartbeat in `data`; raises FormatError."""
    body = document.unpack(data, FORMAT_VERSION, "heartbeat")
    return Heartbeat(
        edge_id=document.field(body, "edge_id", str, "heartbeat"),
        build=document.field(body, "build", str, "heartbeat"),
        **{name: document.field(body, name, int, "heartbeat") for name in _NUMBERS},
    )
