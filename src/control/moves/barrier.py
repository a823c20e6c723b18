"""Whether a phase may be left, decided from what the shards and the heartbeats of edges say; pure.

`reasons` are those for which the move still waits, in words for the operator; without any, it goes on when the time
that `time_left` names has passed.

Before a ring is given up (the barrier) nobody may be left who would read it and believe what he reads:
- an edge that lives says by its heartbeats which epoch it answers by. One without a heartbeat on any shard has lost its
  lease a second before that, and believes nothing before it has a new one;
- an edge that was away comes back with the epoch that it had. It learns from the fence of each shard that there is a
  newer one; so every shard must carry that fence, or be proven dead: nothing listens where it was, or a process that
  says nothing which an older epoch could believe. A shard that is merely silent may answer such an edge while it does
  not answer us.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from control.moves.steps import Need
from wire import heartbeat
from wire.fence import Fence
from wire.heartbeat import Heartbeat

REASONS_MAX: Final = 5
# An edge may live whose heartbeats were on a shard that has lost them; it writes them again before this is over.
SETTLE_S: Final = heartbeat.EXPIRES_MS / 1000
# Long enough for some heartbeats of every worker.
AGREE_S: Final = 3.0

Seen = dict[str, tuple[int, int]]  # by worker: its fallbacks, its samples that differed


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardView:
    """What one shard says. Without a run id it does not answer; `is_refused`: because nothing listens there."""

    run_id: str = ""
    fence: Fence | None = None
    is_refused: bool = False

    @property
    def is_fenced(self) -> bool:
        """Whether its fence speaks of the process that answers."""
        return self.fence is not None and self.fence.run_id == self.run_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What is judged: the move, and what was observed at one time.

    `beats` are the live workers by shard, for the shards whose workers are all known; `unread` are workers of which is
    known only that they live. `lost` shards are passed over; `targets` are those that get links.
    """

    move_id: int
    epoch: int
    shards: Mapping[str, ShardView]
    beats: Mapping[str, Mapping[str, Heartbeat]]
    lost: frozenset[str]
    targets: frozenset[str]
    unread: frozenset[str] = frozenset()
    clear_s: float = 0.0  # for how long the fences and the edges have given no reason to wait
    agreed_s: float = 0.0  # for how long edges have found nothing on which old and new owners differ
    differences: int = 0  # how much of that they have found under this epoch
    soaked_s: float = 0.0
    soak_s: float = 0.0
    seen: Seen | None = None  # at the soak's beginning


def reasons(needs: Iterable[Need], scene: Scene) -> list[str]:
    """Why the move waits, apart from time that has to pass."""
    return list(dict.fromkeys(reason for need in needs for reason in _CHECKS[need](scene)))


def time_left(needs: Iterable[Need], scene: Scene) -> str | None:
    """What of time has to pass when there is no other reason to wait; None: nothing."""
    if "soaked" in needs and scene.soaked_s < scene.soak_s:
        return f"soaks for {scene.soak_s:g} s"
    if "agreed" in needs and scene.agreed_s < AGREE_S:
        return f"listens for {AGREE_S:g} s whether edges find links on which old and new shards differ"
    if "settled" in needs and scene.clear_s < SETTLE_S:
        return f"listens for {SETTLE_S:g} s whether an edge turns up"
    return None


def sentence(found: list[str]) -> str:
    """The reasons in one line."""
    more = len(found) - REASONS_MAX
    return "; ".join(found[:REASONS_MAX]) + (f"; and {more} more" if more > 0 else "")


def is_disturbed(scene: Scene) -> bool:
    """Whether an edge, since the soak's beginning, has found a link at its old owner only, or samples that differ."""
    return scene.seen is not None and increase(scene.seen, counted(scene)) > 0


def counted(scene: Scene) -> Seen:
    """What the workers have counted that must not rise; those with nothing are left out."""
    found: Seen = {}
    for beats in scene.beats.values():
        for edge_id, beat in beats.items():
            fallbacks, differences = found.get(edge_id, (0, 0))
            found[edge_id] = max(fallbacks, beat.fallbacks), max(differences, beat.sample_differences)
    return {edge_id: numbers for edge_id, numbers in found.items() if numbers != (0, 0)}


def increase(seen: Seen, now: Seen) -> int:
    """By how much it has risen, in all."""
    total = 0
    for edge_id, numbers in now.items():
        held = seen.get(edge_id, (0, 0))
        total += sum(max(0, number - base) for number, base in zip(numbers, held, strict=True))
    return total


def _present(scene: Scene) -> dict[str, ShardView]:
    return {shard_id: view for shard_id, view in scene.shards.items() if shard_id not in scene.lost}


def _silent(scene: Scene, shard_id: str) -> str:
    return f"shard {shard_id} does not answer; bring it back or `pointsman move lost {scene.move_id} {shard_id}`"


def _answers(scene: Scene) -> list[str]:
    """Every shard answers and has the topology in force: a move is not begun with one that is away."""
    found = []
    for shard_id, view in _present(scene).items():
        if not view.run_id:
            found.append(_silent(scene, shard_id))
        elif not view.is_fenced or (view.fence is not None and view.fence.epoch < scene.epoch):
            found.append(f"shard {shard_id} does not carry the topology of epoch {scene.epoch} yet")
    return found


def _targets(scene: Scene) -> list[str]:
    """Every shard that gets links is there, and has been adopted under the topology in force."""
    targets = {shard_id: view for shard_id, view in scene.shards.items() if shard_id in scene.targets}
    found = []
    for shard_id, view in targets.items():
        if not view.run_id:
            found.append(f"shard {shard_id}, which is to get links, does not answer; bring it back or abort the move")
        elif not view.is_fenced or (view.fence is not None and view.fence.epoch < scene.epoch):
            found.append(f"shard {shard_id} does not carry the topology of epoch {scene.epoch} yet")
    return found


def _fences(scene: Scene) -> list[str]:
    """No shard answers anybody by an older epoch."""
    found = []
    for shard_id, view in _present(scene).items():
        if not view.run_id:
            if not view.is_refused:
                found.append(_silent(scene, shard_id))
        elif view.is_fenced and view.fence is not None and view.fence.epoch < scene.epoch:
            found.append(f"shard {shard_id} still has the fence of epoch {view.fence.epoch}, not of {scene.epoch}")
    return found


def _known(scene: Scene) -> list[str]:
    """Every worker of the shards that answer has been heard, and understood."""
    return [
        f"edge {edge_id} cannot be understood by this build of control; bring both to the same build, or stop the edge"
        for edge_id in sorted(scene.unread)
    ] + [
        f"the edges of shard {shard_id} are being listened for"
        for shard_id, view in _present(scene).items()
        if view.run_id and shard_id not in scene.beats
    ]


def _edges(scene: Scene) -> list[str]:
    """Every live worker answers by the epoch in force. Its newest heartbeat counts: epochs only rise."""
    epochs: dict[str, int] = {}
    for beats in scene.beats.values():
        for edge_id, beat in beats.items():
            epochs[edge_id] = max(epochs.get(edge_id, 0), beat.epoch)
    return _known(scene) + [
        f"edge {edge_id} still answers by epoch {epoch}, not by {scene.epoch}"
        for edge_id, epoch in sorted(epochs.items())
        if epoch < scene.epoch
    ]


def _edges_everywhere(scene: Scene) -> list[str]:
    """Every live worker has proven on every shard that it reaches it under the epoch in force."""
    present = [shard_id for shard_id, view in _present(scene).items() if view.run_id]
    workers = sorted({edge_id for beats in scene.beats.values() for edge_id in beats})
    found = _edges(scene)
    for edge_id in workers:
        for shard_id in present:
            beat = scene.beats.get(shard_id, {}).get(edge_id)
            if beat is None or beat.epoch < scene.epoch:
                found.append(f"edge {edge_id} has not reported to shard {shard_id} by epoch {scene.epoch}")
    return found


def _agreed(scene: Scene) -> list[str]:
    """Edges find at the new owners what is at the old ones."""
    if not scene.differences or scene.agreed_s >= AGREE_S:
        return []
    return [
        f"edges have found {scene.differences} times that old and new shards differ; "
        f"it goes on when they have not for {AGREE_S:g} s"
    ]


def _soaked(scene: Scene) -> list[str]:
    """Every shard can say what is not found."""
    found = []
    for shard_id, view in _present(scene).items():
        if not view.run_id:
            found.append(_silent(scene, shard_id))
        elif not view.is_fenced or view.fence is None or view.fence.state != "complete":
            found.append(f"shard {shard_id} is being repaired")
    return found


_CHECKS: Final[Mapping[Need, Callable[[Scene], list[str]]]] = {
    "answers": _answers,
    "targets": _targets,
    "fences": _fences,
    "edges": _edges,
    "edges_everywhere": _edges_everywhere,
    "agreed": _agreed,
    "soaked": _soaked,
    "settled": lambda _: [],
}
