"""An edge worker's heartbeat: who reads this shard, under which epoch, and what it has seen of the shard's writes."""

from dataclasses import asdict, dataclass
from typing import Final

from wire import document

FORMAT_VERSION: Final = 1
INTERVAL_MS: Final = 1000
# Control calls an edge gone when its heartbeat has expired; the edge's own lease is shorter than that by a margin, so
# that an edge has stopped trusting its ring before control acts on its absence.
EXPIRES_MS: Final = 5000
LEASE_MS: Final = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """`sequence` is the highest pm:seq of this shard whose invalidations the worker has applied."""

    edge_id: str
    build: str
    epoch: int
    sequence: int


def encode(heartbeat: Heartbeat) -> bytes:
    """The value of the key pm:edge:<id>."""
    return document.pack(FORMAT_VERSION, asdict(heartbeat))


def decode(data: bytes) -> Heartbeat:
    """The heartbeat in `data`; raises FormatError."""
    body = document.unpack(data, FORMAT_VERSION, "heartbeat")
    return Heartbeat(
        edge_id=document.field(body, "edge_id", str, "heartbeat"),
        build=document.field(body, "build", str, "heartbeat"),
        epoch=document.field(body, "epoch", int, "heartbeat"),
        sequence=document.field(body, "sequence", int, "heartbeat"),
    )
