"""The topology document: which shards there are and how keys are spread over them."""

import re
from dataclasses import dataclass
from typing import Any, Final

from wire import document
from wire.errors import FormatError

FORMAT_VERSION: Final = 1
SHARDS_MAX: Final = 256
WEIGHT_MAX: Final = 1000
VIRTUAL_NODES_DEFAULT: Final = 2048
VIRTUAL_NODES_MAX: Final = 16_384
POINTS_MAX: Final = 4_000_000
_SHARD_ID: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """One shard: a stable id (it places the shard on the ring), the URL of its primary, its share of the keys."""

    id: str
    url: str
    replicas: tuple[str, ...] = ()
    weight: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """Shards in ring order of declaration; `virtual_nodes` points on the ring for each unit of weight."""

    epoch: int
    shards: tuple[Shard, ...]
    virtual_nodes: int = VIRTUAL_NODES_DEFAULT


def encode(topology: Topology) -> bytes:
    """The value of the key pm:topology; raises FormatError for a topology that nobody could use."""
    _check(topology)
    return document.pack(
        FORMAT_VERSION,
        {
            "epoch": topology.epoch,
            "virtual_nodes": topology.virtual_nodes,
            "shards": [
                {"id": shard.id, "url": shard.url, "replicas": list(shard.replicas), "weight": shard.weight}
                for shard in topology.shards
            ],
        },
    )


def decode(data: bytes) -> Topology:
    """The topology in `data`; raises FormatError."""
    body = document.unpack(data, FORMAT_VERSION, "topology")
    topology = Topology(
        epoch=document.field(body, "epoch", int, "topology"),
        virtual_nodes=document.field(body, "virtual_nodes", int, "topology"),
        shards=tuple(_decode_shard(item) for item in document.field(body, "shards", list, "topology")),
    )
    _check(topology)
    return topology


def _decode_shard(item: Any) -> Shard:
    if not isinstance(item, dict):
        raise FormatError("value", f"topology: a shard must be an object, not {item!r}")
    replicas = document.field(item, "replicas", list, "topology")
    if not all(isinstance(url, str) for url in replicas):
        raise FormatError("value", "topology: 'replicas' must be URLs")
    return Shard(
        id=document.field(item, "id", str, "topology"),
        url=document.field(item, "url", str, "topology"),
        replicas=tuple(replicas),
        weight=document.field(item, "weight", int, "topology"),
    )


def _check(topology: Topology) -> None:
    _require(topology.epoch > 0, f"epoch {topology.epoch} is not positive")
    _require(1 <= topology.virtual_nodes <= VIRTUAL_NODES_MAX, f"virtual_nodes is not in 1..{VIRTUAL_NODES_MAX}")
    _require(1 <= len(topology.shards) <= SHARDS_MAX, f"{len(topology.shards)} shards; 1..{SHARDS_MAX} can be held")
    _require(len({shard.id for shard in topology.shards}) == len(topology.shards), "a shard id stands twice")
    for shard in topology.shards:
        _require(_SHARD_ID.fullmatch(shard.id) is not None, f"shard id {shard.id!r} is not [a-z0-9-], 1..63 long")
        _require(1 <= shard.weight <= WEIGHT_MAX, f"weight {shard.weight} of {shard.id} is not in 1..{WEIGHT_MAX}")
    points = topology.virtual_nodes * sum(shard.weight for shard in topology.shards)
    _require(points <= POINTS_MAX, f"{points} points on the ring; at most {POINTS_MAX} are built")


def _require(is_true: bool, message: str) -> None:
    if not is_true:
        raise FormatError("value", f"topology: {message}")
