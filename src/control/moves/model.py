"""What a move is; pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, get_args

from control.moves import steps
from control.moves.steps import Phase
from wire.topology import Topology

Kind = Literal["add", "remove", "reweight", "replace", "drain"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
Wanted = Literal["abort", "reverse"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveRequest:
    """What an operator asks for.

    add: `shard_id`, `url`, perhaps `weight` and `replicas`; remove, drain: `shard_id`; reweight: `shard_id`, `weight`;
    replace: `shard_id` is the shard that leaves, `new_id` and `url` are those of the one that takes its place.
    """

    kind: Kind
    shard_id: str
    url: str | None = None
    weight: float | None = None
    new_id: str | None = None
    replicas: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanPair:
    """What goes from one shard to another; `share` is of all keys, `links` and `bytes` are estimates."""

    from_id: str
    to_id: str
    arcs: int
    share: float
    links: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a move would do. `warnings` are for the operator to judge; they forbid nothing."""

    kind: Kind
    shard_id: str
    before: Topology
    after: Topology
    pairs: list[PlanPair]
    links: int
    bytes: int
    seconds: float
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A move as its row says. `work` has what its works have reported: cursor, fraction, counts, leftovers, soak."""

    id: int
    kind: Kind
    shard_id: str
    phase: Phase
    phase_s: float  # since it was entered, or since the soak began
    is_paused: bool
    is_reversed: bool
    wanted: Wanted | None
    lost: tuple[str, ...]
    waits_for: str | None
    waits_since: datetime | None
    error: str | None
    driver: int
    epoch: int
    before: Topology
    after: Topology
    plan: dict[str, Any]
    work: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None

    @property
    def targets(self) -> frozenset[str]:
        """The shards that get links."""
        joining = {shard.id for shard in self.after.shards} - {shard.id for shard in self.before.shards}
        return frozenset(pair["to"] for pair in self.plan["pairs"]) | joining

    @property
    def progress(self) -> float:
        """How far it is, of 0..1."""
        return steps.progress(self.phase, self.work.get("fraction", 0.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveEvent:
    """One line of a move's history: what happened, and the phase and the epoch from then on."""

    number: int
    at: datetime
    event: str
    phase: Phase
    epoch: int
    detail: dict[str, Any]
