"""The topology document: which shards there are, and how keys are spread over them.

A topology has one ring that is read, or, while links move, two: the one that is read and a second one. Control writes a
link to its owners on both rings for as long as the document names two; what edges do with the second one is its mode:

| mode     | edges read                             | what for                                        |
|----------|----------------------------------------|-------------------------------------------------|
| steady   | the ring; there is no second one       |                                                 |
| armed    | the ring                               | they connect to the shards that are new         |
| sampling | the ring, and compare with the second  | they prove that they can read where links go    |
| cut-over | the ring, and the second where it lacks| the ring is the new one now, the second the old |
| soaking  | the ring                               | proof that nobody needs the second any more     |
"""

import re
from dataclasses import dataclass
from typing import Any, Final, Literal

from wire import document
from wire.errors import FormatError

FORMAT_VERSION: Final = 2
_FIRST_VERSION: Final = 1  # from before links could move: one ring, whole weights
SHARDS_MAX: Final = 256
WEIGHT_MAX: Final = 1000.0
WEIGHT_STEPS: Final = 100  # a weight is a whole number of hundredths
VIRTUAL_NODES_DEFAULT: Final = 16_384
VIRTUAL_NODES_MAX: Final = 65_536
POINTS_MAX: Final = 16_000_000
_ID: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_PLACE: Final = re.compile(r"[a-z0-9][a-z0-9.-]{0,78}")

Mode = Literal["steady", "armed", "sampling", "cut-over", "soaking"]
MODES: Final[tuple[Mode, ...]] = ("steady", "armed", "sampling", "cut-over", "soaking")
Members = tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """One shard: a stable id, the URL of its primary, its shares of the keys.

    `weight` is its share of the ring that is read, `second_weight` that of the second ring; 0: it is not on it. `place`
    is the name that decides where its points are, and "" stands for the id: a shard that takes the place of another
    one takes its keys, and no others move.
    """

    id: str
    url: str
    replicas: tuple[str, ...] = ()
    weight: float = 1.0
    second_weight: float = 0.0
    place: str = ""

    @property
    def ring_name(self) -> str:
        """The name under which the shard's points are computed."""
        return self.place or self.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """Shards in order of declaration; `virtual_nodes` points on a ring for each unit of weight."""

    epoch: int
    shards: tuple[Shard, ...]
    virtual_nodes: int = VIRTUAL_NODES_DEFAULT
    mode: Mode = "steady"

    @property
    def members(self) -> Members:
        """The ring that is read: a name and a weight for each of `shards`, in their order."""
        return tuple((shard.ring_name, shard.weight) for shard in self.shards)

    @property
    def second_members(self) -> Members | None:
        """The second ring, likewise; None in mode steady."""
        if self.mode == "steady":
            return None
        return tuple((shard.ring_name, shard.second_weight) for shard in self.shards)


def points_of(weight: float, virtual_nodes: int) -> int:
    """How many points a shard of this weight has on a ring; at least one unless it is not on it."""
    return max(1, round(weight * virtual_nodes)) if weight > 0 else 0


def encode(topology: Topology) -> bytes:
    """The value of the key pm:topology; raises FormatError for a topology that nobody could use."""
    _check(topology)
    return document.pack(
        FORMAT_VERSION,
        {
            "epoch": topology.epoch,
            "mode": topology.mode,
            "virtual_nodes": topology.virtual_nodes,
            "shards": [
                {
                    "id": shard.id,
                    "url": shard.url,
                    "replicas": list(shard.replicas),
                    "weight": shard.weight,
                    "second_weight": shard.second_weight,
                    "place": shard.place,
                }
                for shard in topology.shards
            ],
        },
    )


def decode(data: bytes) -> Topology:
    """The topology in `data`; raises FormatError. Version 1, from before links could move, is read too."""
    is_first = data.startswith(b"%d" % _FIRST_VERSION)
    body = document.unpack(data, _FIRST_VERSION if is_first else FORMAT_VERSION, "topology")
    if is_first:
        body = {**body, "mode": "steady"}
    mode = document.field(body, "mode", str, "topology")
    if mode not in MODES:
        raise FormatError("value", f"topology: unknown mode {mode!r}")
    topology = Topology(
        epoch=document.field(body, "epoch", int, "topology"),
        virtual_nodes=document.field(body, "virtual_nodes", int, "topology"),
        shards=tuple(_decode_shard(item, is_first) for item in document.field(body, "shards", list, "topology")),
        mode=next(known for known in MODES if known == mode),
    )
    _check(topology)
    return topology


def _decode_shard(item: Any, is_first: bool) -> Shard:
    if not isinstance(item, dict):
        raise FormatError("value", f"topology: a shard must be an object, not {item!r}")
    replicas = document.field(item, "replicas", list, "topology")
    if not all(isinstance(url, str) for url in replicas):
        raise FormatError("value", "topology: 'replicas' must be URLs")
    return Shard(
        id=document.field(item, "id", str, "topology"),
        url=document.field(item, "url", str, "topology"),
        replicas=tuple(replicas),
        weight=_weight(item, "weight"),
        second_weight=0.0 if is_first else _weight(item, "second_weight"),
        place="" if is_first else document.field(item, "place", str, "topology"),
    )


def _weight(item: dict[str, Any], key: str) -> float:
    value = item.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise FormatError("value", f"topology: {key!r} must be a number, not {value!r}")
    return float(value)


def _check(topology: Topology) -> None:
    _require(topology.epoch > 0, f"epoch {topology.epoch} is not positive")
    _require(1 <= topology.virtual_nodes <= VIRTUAL_NODES_MAX, f"virtual_nodes is not in 1..{VIRTUAL_NODES_MAX}")
    _require(1 <= len(topology.shards) <= SHARDS_MAX, f"{len(topology.shards)} shards; 1..{SHARDS_MAX} can be held")
    _require(len({shard.id for shard in topology.shards}) == len(topology.shards), "a shard id stands twice")
    for shard in topology.shards:
        _require(_ID.fullmatch(shard.id) is not None, f"shard id {shard.id!r} is not [a-z0-9-], 1..63 long")
        _require(
            _PLACE.fullmatch(shard.ring_name) is not None, f"place {shard.place!r} of {shard.id} is not [a-z0-9.-]"
        )
        _check_weight(shard.id, shard.weight)
        _check_weight(shard.id, shard.second_weight)
    _check_ring(topology.members, topology.virtual_nodes)
    if topology.second_members is not None:
        _check_ring(topology.second_members, topology.virtual_nodes)
    else:
        _require(all(shard.second_weight == 0 for shard in topology.shards), "mode steady has no second ring")


def _check_weight(shard_id: str, weight: float) -> None:
    steps = weight * WEIGHT_STEPS
    is_usable = 0 <= weight <= WEIGHT_MAX and abs(steps - round(steps)) < 1e-6
    _require(is_usable, f"weight {weight} of {shard_id} is not 0..{WEIGHT_MAX:g} in hundredths")


def _check_ring(members: Members, virtual_nodes: int) -> None:
    on_it = [name for name, weight in members if weight > 0]
    _require(len(on_it) > 0, "no shard is on the ring")
    _require(len(set(on_it)) == len(on_it), "two shards have the same place on a ring")
    points = sum(points_of(weight, virtual_nodes) for _, weight in members)
    _require(points <= POINTS_MAX, f"{points} points on the ring; at most {POINTS_MAX} are built")


def _require(is_true: bool, message: str) -> None:
    if not is_true:
        raise FormatError("value", f"topology: {message}")
