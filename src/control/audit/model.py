"""What a pass of the audit has found, and where it is; pure."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

from control.moves.arcs import HASHES

# missing, older, newer and different: what a shard holds beside PostgreSQL's record. orphan: a key without a row in
# PostgreSQL. misplaced: a key on a shard that does not own it.
Kind = Literal["missing", "older", "newer", "different", "orphan", "misplaced"]
KINDS: Final[tuple[Kind, ...]] = ("missing", "older", "newer", "different", "orphan", "misplaced")
# How much of a pass is comparing links; the rest is looking through keys.
_LINKS_SHARE: Final = 0.7


@dataclass(slots=True, kw_only=True)
class Scan:
    """One shard's keys. A cursor means nothing to another process than the one that gave it; None: looked through."""

    run_id: str
    cursor: str | None
    looked_through: int = 0
    of: int = 0


@dataclass(slots=True, kw_only=True)
class Place:
    """How far a pass is."""

    done: int | None = None  # the last hash whose links are compared
    are_links_done: bool = False
    epoch: int = 0  # of the topology by which keys are looked through; another one begins that anew
    scans: dict[str, Scan] = field(default_factory=dict)

    @property
    def progress(self) -> float:
        """Of 0 to 1."""
        if not self.are_links_done:
            return 0.0 if self.done is None else _LINKS_SHARE * self.done / HASHES
        parts = [
            1.0 if scan.cursor is None else min(1.0, scan.looked_through / max(1, scan.of))
            for scan in self.scans.values()
        ]
        return _LINKS_SHARE + (1 - _LINKS_SHARE) * sum(parts) / max(1, len(parts))

    @classmethod
    def of(cls, held: Mapping[str, Any]) -> "Place":
        """As it was saved."""
        scans = {shard_id: Scan(**scan) for shard_id, scan in held.get("scans", {}).items()}
        return cls(**{**held, "scans": scans})


@dataclass(slots=True, kw_only=True)
class Tally:
    """What was found. `skipped`: records that could not be compared, because of a shard or a change that hangs; keys of
    a shard that could not be looked through are not counted, but the shard is named.
    """

    compared: int = 0
    keys: int = 0
    skipped: int = 0
    skipped_shards: list[str] = field(default_factory=list)
    repaired: int = 0
    drift: dict[str, dict[Kind, int]] = field(default_factory=dict)  # by shard

    def skip(self, shard_id: str, records: int) -> None:
        """So many records of the shard are not compared."""
        self.skipped += records
        if shard_id not in self.skipped_shards:
            self.skipped_shards.append(shard_id)

    def find(self, shard_id: str, kind: Kind) -> None:
        """Count a drift."""
        found = self.drift.setdefault(shard_id, {})
        found[kind] = found.get(kind, 0) + 1

    @property
    def drifts(self) -> int:
        """Of all shards and kinds."""
        return sum(sum(found.values()) for found in self.drift.values())

    @property
    def is_whole(self) -> bool:
        """Whether nothing was skipped."""
        return not self.skipped_shards


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """One pass, as it is kept."""

    id: int
    started_at: datetime
    updated_at: datetime
    ended_at: datetime | None
    is_complete: bool
    waits_for: str | None
    place: Place
    tally: Tally

    @property
    def progress(self) -> float:
        """Of 0 to 1."""
        return self.place.progress if self.ended_at is None else 1.0


def as_json(held: Place | Tally) -> dict[str, Any]:
    """What is saved of it."""
    return asdict(held)
