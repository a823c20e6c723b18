"""What a move would do: the topology that it leads to, and what goes from where to where; pure.

A request that makes no sense is refused here, before anything is written.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from control.errors import Error
from control.moves import documents
from control.moves.model import MoveRequest, Plan, PlanPair
from control.moves.steps import Document
from control.moves.work import Arc
from control.shards import addresses
from control.shards.addresses import redacted
from control.shards.service import shard_named
from wire import FormatError
from wire import topology as wire_topology
from wire.topology import WEIGHT_MAX, Shard, Topology

WEIGHT_DEFAULT: Final = 1.0
# What a link takes on a shard beside its code and its target: the record's head, and what Redis adds for a key.
LINK_OVERHEAD_BYTES: Final = 112
_BOTH_RINGS: Final = Document("armed", "before")


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much there is, by PostgreSQL's statistics."""

    links: int
    text_bytes: float  # code and target of one link, on average


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """How fast a move goes."""

    copy_links_s: int
    soak_s: int


def topology_after(before: Topology, request: MoveRequest) -> Topology:
    """The steady topology that the move leads to; raises Error for a request that cannot be fulfilled."""
    shards = _CHANGES[request.kind](before.shards, request)
    if not any(shard.weight > 0 for shard in shards):
        raise Error("ring_empty", f"without {request.shard_id} no shard would hold links; bring in another one first")
    after = replace(before, shards=shards)
    try:
        wire_topology.encode(after)
        wire_topology.encode(documents.build(_BOTH_RINGS, before, after, before.epoch, before))
    except FormatError as error:
        raise Error("topology_invalid", str(error)) from error
    return after


def plan(
    request: MoveRequest, before: Topology, after: Topology, arcs: Iterable[Arc], *, size: Size, speed: Speed
) -> Plan:
    """The plan of a move that was found possible."""
    pairs = _pairs(arcs, size)
    links = sum(pair.links for pair in pairs)
    return Plan(
        kind=request.kind,
        shard_id=request.shard_id,
        before=before,
        after=after,
        pairs=pairs,
        links=links,
        bytes=sum(pair.bytes for pair in pairs),
        seconds=round(links / speed.copy_links_s + speed.soak_s, 1),
    )


def summary(planned: Plan) -> dict[str, Any]:
    """The plan as it is kept with the move."""
    return {
        "pairs": [
            {
                "from": pair.from_id,
                "to": pair.to_id,
                "arcs": pair.arcs,
                "share": pair.share,
                "links": pair.links,
                "bytes": pair.bytes,
            }
            for pair in planned.pairs
        ],
        "links": planned.links,
        "bytes": planned.bytes,
        "seconds": planned.seconds,
        "warnings": planned.warnings,
    }


def new_shard(before: Topology, request: MoveRequest) -> Shard | None:
    """The shard that the request brings in, if any; raises Error if it lacks something or its id or URL is taken."""
    if request.kind not in ("add", "replace"):
        return None
    shard_id = request.shard_id if request.kind == "add" else request.new_id
    if shard_id is None:
        raise Error("topology_invalid", "give the new shard an id", pointer="/id")
    if request.url is None:
        raise Error("topology_invalid", "give the URL of the new shard, like redis://10.0.0.4", pointer="/url")
    if any(shard.id == shard_id for shard in before.shards):
        raise Error("shard_exists", f"there is a shard {shard_id} already; choose another id", pointer="/id")
    _check_addresses(before.shards, request.url, request.replicas)
    if request.kind == "replace":
        old = shard_named(before.shards, request.shard_id)
        weight, place = old.weight, old.ring_name
    else:
        weight, place = _weight(request, WEIGHT_DEFAULT), _free_place(shard_id, before.shards)
        if weight == 0:
            raise Error("topology_invalid", "a new shard with weight 0 would hold nothing", pointer="/weight")
    return Shard(
        id=shard_id,
        url=request.url,
        replicas=tuple(request.replicas),
        weight=weight,
        place="" if place == shard_id else place,
    )


def _check_addresses(shards: Iterable[Shard], url: str, replicas: Iterable[str]) -> None:
    """Each shard, and each replica of one, is a Redis of its own."""
    taken = {known: shard.id for shard in shards for known in (shard.url, *shard.replicas)}
    new = set()
    for address, pointer in ((url, "/url"), *((replica, "/replicas") for replica in replicas)):
        addresses.check(address, pointer)
        if address in taken:
            raise Error(
                "shard_exists",
                f"{redacted(address)} is of shard {taken[address]} already; each needs a Redis of its own",
                pointer=pointer,
            )
        if address in new:
            raise Error("topology_invalid", f"{redacted(address)} stands there twice", pointer=pointer)
        new.add(address)


def _with_new(shards: tuple[Shard, ...], request: MoveRequest) -> tuple[Shard, ...]:
    return (*shards, _new(shards, request))


def _with_replaced(shards: tuple[Shard, ...], request: MoveRequest) -> tuple[Shard, ...]:
    new = _new(shards, request)
    return tuple(new if shard.id == request.shard_id else shard for shard in shards)


def _without(shards: tuple[Shard, ...], request: MoveRequest) -> tuple[Shard, ...]:
    gone = shard_named(shards, request.shard_id)
    return tuple(shard for shard in shards if shard is not gone)


def _with_weight(shards: tuple[Shard, ...], request: MoveRequest) -> tuple[Shard, ...]:
    held = shard_named(shards, request.shard_id)
    weight = 0.0 if request.kind == "drain" else _weight(request, None)
    if weight == held.weight:
        raise Error("move_empty", f"shard {held.id} has the weight {weight:g} already; nothing would move")
    return tuple(replace(shard, weight=weight) if shard is held else shard for shard in shards)


_CHANGES: Final = {
    "add": _with_new,
    "replace": _with_replaced,
    "remove": _without,
    "reweight": _with_weight,
    "drain": _with_weight,
}


def _new(shards: tuple[Shard, ...], request: MoveRequest) -> Shard:
    shard = new_shard(Topology(epoch=1, shards=shards), request)
    assert shard is not None  # the table has these kinds only
    return shard


def _weight(request: MoveRequest, default: float | None) -> float:
    weight = default if request.weight is None else request.weight
    if weight is None:
        raise Error("topology_invalid", "give the weight that the shard is to have", pointer="/weight")
    if not 0 <= weight <= WEIGHT_MAX:
        raise Error("topology_invalid", f"weight {weight:g} is not in 0..{WEIGHT_MAX:g}", pointer="/weight")
    return weight


def _free_place(shard_id: str, shards: Iterable[Shard]) -> str:
    """Its id, unless another shard has that place: one that has replaced an earlier shard of this id."""
    taken = {shard.ring_name for shard in shards}
    if shard_id not in taken:
        return shard_id
    return next(place for number in range(2, len(taken) + 3) if (place := f"{shard_id}.{number}") not in taken)


def _pairs(arcs: Iterable[Arc], size: Size) -> list[PlanPair]:
    hashes: dict[tuple[str, str], int] = defaultdict(int)
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for arc in arcs:
        hashes[arc.from_id, arc.to_id] += arc.last - arc.first + 1
        counts[arc.from_id, arc.to_id] += 1
    pairs = []
    for (from_id, to_id), number in sorted(hashes.items()):
        share = number / documents.HASHES
        links = round(size.links * share)
        pairs.append(
            PlanPair(
                from_id=from_id,
                to_id=to_id,
                arcs=counts[from_id, to_id],
                share=share,
                links=links,
                bytes=round(links * (size.text_bytes + LINK_OVERHEAD_BYTES)),
            )
        )
    return pairs
