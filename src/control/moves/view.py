"""Moves as people and programs are shown them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from control.moves import plan as planning
from control.moves.model import Kind, Move, MoveEvent, Plan, Wanted
from control.moves.steps import Phase
from control.shards.addresses import redacted
from wire.topology import Topology


class PairView(msgspec.Struct, frozen=True, kw_only=True):
    """What goes from one shard to another; `share` is of the hash space, `links` and `bytes` are estimates."""

    from_: str = msgspec.field(name="from")
    to: str
    arcs: int
    share: float
    links: int
    bytes: int


class PlanView(msgspec.Struct, frozen=True, kw_only=True):
    """What a move is to do, as it was when it was planned; `seconds` is about how long it takes."""

    pairs: list[PairView]
    links: int
    bytes: int
    seconds: float
    warnings: list[str]


class PlaceView(msgspec.Struct, frozen=True, kw_only=True):
    """A shard before or after a move."""

    id: str
    url: str
    replicas: list[str]
    weight: float
    place: str


class DryRun(PlanView, frozen=True, kw_only=True):
    """What a request for a move would do. `epoch` is the topology in force, from which it starts."""

    kind: Kind
    shard_id: str
    epoch: int
    before: list[PlaceView]
    after: list[PlaceView]


class MoveView(msgspec.Struct, frozen=True, kw_only=True):
    """A move. `phase_s` is how long it has been in its phase, `progress` how far it is, of 0 to 1. `waits_for` says in
    words what it waits for, `error` what went wrong last. `wanted` is what an operator has asked for and is not done
    yet. `lost` are the shards that were given up; `counts` is what its work has done; `leftovers`, by shard, the links
    that could not be removed, or not yet."""

    id: int
    kind: Kind
    shard_id: str
    phase: Phase
    phase_s: float
    progress: float
    is_paused: bool
    is_reversed: bool
    wanted: Wanted | None
    waits_for: str | None
    waits_since: datetime | None
    error: str | None
    lost: list[str]
    epoch: int
    plan: PlanView
    counts: dict[str, int]
    leftovers: dict[str, int]
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None


class EventView(msgspec.Struct, frozen=True, kw_only=True):
    """What happened, and the phase and the epoch from then on."""

    number: int
    at: datetime
    event: str
    phase: Phase
    epoch: int
    detail: dict[str, Any]


class MoveDetail(MoveView, frozen=True, kw_only=True):
    """A move with its history, oldest first, and the shards before and after it."""

    before: list[PlaceView]
    after: list[PlaceView]
    events: list[EventView]


def of_move(move: Move) -> MoveView:
    """A move in a list, or after a change."""
    return MoveView(**_members(move))


def in_detail(move: Move, events: Sequence[MoveEvent]) -> MoveDetail:
    """A move with all that is known of it."""
    history = [msgspec.convert(event, EventView, from_attributes=True) for event in events]
    return MoveDetail(**_members(move), before=_places(move.before), after=_places(move.after), events=history)


def of_plan(planned: Plan) -> DryRun:
    """A plan that is not carried out yet."""
    summary = msgspec.convert(planning.summary(planned), PlanView)
    return DryRun(
        **msgspec.structs.asdict(summary),
        kind=planned.kind,
        shard_id=planned.shard_id,
        epoch=planned.before.epoch,
        before=_places(planned.before),
        after=_places(planned.after),
    )


def _members(move: Move) -> dict[str, Any]:
    own = {name: getattr(move, name) for name in MoveView.__struct_fields__ if hasattr(move, name)}
    return own | {
        "phase_s": round(move.phase_s, 3),
        "progress": round(move.progress, 6),
        "lost": list(move.lost),
        "plan": msgspec.convert(move.plan, PlanView),
        "counts": move.work.get("counts", {}),
        "leftovers": move.work.get("leftovers", {}),
    }


def _places(topology: Topology) -> list[PlaceView]:
    return [
        PlaceView(
            id=shard.id,
            url=redacted(shard.url),
            replicas=[redacted(url) for url in shard.replicas],
            weight=shard.weight,
            place=shard.ring_name,
        )
        for shard in topology.shards
    ]
