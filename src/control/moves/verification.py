"""How far a verification is, and what it has found."""

from dataclasses import asdict, dataclass, field
from typing import Any, Final

from control.moves.arcs import Range, by_pair, width
from control.moves.comparison import Sum
from control.moves.misplaced import SCAN_BEGIN
from control.moves.second_look import Repairs
from control.moves.throttle import Throttle
from control.moves.work import Job, Progress

# How much of the work is comparing; the rest is looking for keys that are too many.
_PAIRS_SHARE: Final = 0.8

PairName = tuple[str, str]  # the ids of the old and the new owner


@dataclass(slots=True, kw_only=True)
class Pair:
    """The arcs that go from one shard to another: how far they are compared, and what is the same everywhere so far."""

    done: int | None = None
    fraction: float = 0.0
    agreed: Sum = field(default_factory=Sum)
    differed: int = 0
    is_done: bool = False


@dataclass(slots=True, kw_only=True)
class Pass:
    """One target's keys, looked through for those that PostgreSQL does not know."""

    scan: str | None = SCAN_BEGIN
    looked_through: int = 0
    of: int = 0
    dropped: int = 0


class CopyLost(Exception):  # noqa: N818  (a finding)
    """A shard that joins is another process now."""

    def __init__(self, shard_id: str) -> None:
        super().__init__(shard_id)
        self.shard_id = shard_id


class Verification:
    """All of it: every pair of shards, and every target.

    It holds for the processes of `run_ids`, by shard: another one may lack what this one had.
    """

    def __init__(self, job: Job) -> None:
        cursor = job.cursor
        found = by_pair(job.arcs).items()
        self.ranges: dict[PairName, list[Range]] = {name: ranges for name, ranges in found if name[1] not in job.lost}
        pairs, passes = cursor.get("pairs", {}), cursor.get("passes", {})
        self.pairs = {name: _pair(pairs.get(_joined(name), {})) for name in self.ranges}
        self.passes = {target: Pass(**passes.get(target, {})) for target in sorted({name[1] for name in self.ranges})}
        self.run_ids: dict[str, str] = dict(cursor.get("run_ids", {}))
        self.repairs = Repairs(**cursor.get("repairs", {}))
        self._joining = job.joining
        self.widths = {name: width(ranges) for name, ranges in self.ranges.items()}

    @property
    def cursor(self) -> dict[str, object]:
        """What the next call goes on with."""
        return {
            "pairs": {_joined(name): asdict(pair) for name, pair in self.pairs.items()},
            "passes": {target: asdict(held) for target, held in self.passes.items()},
            "run_ids": self.run_ids,
            "repairs": asdict(self.repairs),
        }

    def progress(self, throttle: Throttle) -> Progress:
        """What people are shown."""
        compared = sum(pair.fraction * self.widths[name] for name, pair in self.pairs.items())
        looked = sum(1.0 if p.scan is None else min(1.0, p.looked_through / max(1, p.of)) for p in self.passes.values())
        fraction = _PAIRS_SHARE * compared / max(1, sum(self.widths.values()))
        fraction += (1 - _PAIRS_SHARE) * looked / max(1, len(self.passes))
        return Progress(fraction=min(1.0, fraction), counts=self.counts | throttle.counts)

    @property
    def counts(self) -> dict[str, int]:
        """How many links agree, how many needed a second look, and what was mended."""
        return {
            "verified": sum(pair.agreed.links for pair in self.pairs.values()),
            "differed": sum(pair.differed for pair in self.pairs.values()),
            "repaired": self.repairs.lacking,
            "forced": self.repairs.forced,
            "dropped": sum(held.dropped for held in self.passes.values()),
        }

    @property
    def is_done(self) -> bool:
        """Whether everything was verified, and nothing of it forgotten since."""
        return all(pair.is_done for pair in self.pairs.values()) and all(p.scan is None for p in self.passes.values())

    @property
    def has_changed(self) -> bool:
        """Whether something was mended; that stands behind the floor of the shard's copy."""
        return self.counts["repaired"] + self.counts["forced"] + self.counts["dropped"] > 0

    def meet(self, shard_id: str, run_id: str) -> bool:
        """A shard is this process now; false if it was another one, and what concerns it is to be verified anew.

        Raises CopyLost for a shard that joins: nobody but the move has what it held.
        """
        known = self.run_ids.get(shard_id, run_id)
        self.run_ids[shard_id] = run_id
        if known != run_id:
            if shard_id in self._joining:
                raise CopyLost(shard_id)
            self.forget(shard_id)
        return known == run_id

    def forget(self, shard_id: str) -> None:
        """Have all that concerns the shard verified anew."""
        for name in self.pairs:
            if shard_id in name:
                self.pairs[name] = Pair()
        if shard_id in self.passes:
            self.passes[shard_id] = Pass()

    @property
    def detail(self) -> dict[str, object]:
        """What the history of the move keeps: count and digest of each pair."""
        pairs = {
            _joined(name): {
                "links": pair.agreed.links,
                "digest": f"{pair.agreed.digest:016x}",
                "differed": pair.differed,
            }
            for name, pair in self.pairs.items()
        }
        return {**self.counts, "pairs": pairs}


def _pair(held: dict[str, Any]) -> Pair:
    return Pair(**{**held, "agreed": Sum(**held["agreed"])}) if held else Pair()


def _joined(name: PairName) -> str:
    """As a key of a JSON object; no shard id has this character."""
    return ">".join(name)
