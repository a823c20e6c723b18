"""What is done: moves, and what is done to the product meanwhile. An act ends when its move has ended."""

import os
import signal
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from benchmarks import BenchmarkError
from benchmarks.load.generator import Orders, Report
from benchmarks.processes import family, unaccepted
from benchmarks.reshard.population import Truth
from benchmarks.reshard.stage import PEOPLE, Stage
from control.moves.steps import STEPS, Phase
from tests.system.product import until

RECOVERY_S: Final = 60
# Where a phase has pages, control is killed once more when this many of them are done.
PAGES: Final = 3
# Fewer than may wait to be accepted.
WAITING_CONNECTIONS: Final = 100
CHANGED_MIN: Final = 50

# The phases in which a move can be given up, and how it then ends.
ABORTS: Final = {phase: step.abort for phase, step in STEPS.items() if step.abort is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """How an act's move ended, and the answers that it got by itself. `left`: servers that are no shards any more."""

    move: int
    phase: Phase
    left: tuple[str, ...] = ()
    reports: tuple[Report, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """`is_costly`: connections may break, as the edge is killed; `end`: the phase that its move must end in."""

    name: str
    title: str
    play: Callable[[Stage], Done]
    end: Phase = "done"
    is_costly: bool = False


def add(stage: Stage) -> Done:
    """Another shard comes in."""
    move, _ = stage.add()
    return Done(move=move, phase=_follow(stage, move))


def reweight(stage: Stage) -> Done:
    """The newest shard gets half of its share."""
    name = _newest(stage)
    move = stage.move("PATCH", f"/api/v1/shards/{name}", {"weight": 0.5})
    return Done(move=move, phase=_follow(stage, move))


def remove(stage: Stage) -> Done:
    """The oldest shard goes."""
    name = _oldest(stage)
    move = stage.move("DELETE", f"/api/v1/shards/{name}")
    return Done(move=move, phase=_follow(stage, move), left=(name,))


def replace(stage: Stage) -> Done:
    """Another server takes the oldest shard's place."""
    name = _oldest(stage)
    new, server = stage.spare()
    move = stage.move("POST", f"/api/v1/shards/{name}/replace", {"id": new, "url": server.url})
    return Done(move=move, phase=_follow(stage, move), left=(name,))


def kill_control(*phases: Phase) -> Callable[[Stage], Done]:
    """Control dies whenever one of `phases` begins, and in the middle of those that have pages."""

    def play(stage: Stage) -> Done:
        stage.rest("control")
        move, _ = stage.add()
        return Done(move=move, phase=_killing_control(stage, move, phases))

    return play


def kill_control_backwards(stage: Stage) -> Done:
    """The same while a move is taken back from the last phase in which that can be done."""
    stage.rest("control")
    stage.phases.order("soaking", "reverse")
    move, name = stage.add()
    phase = _killing_control(stage, move, ("reversing", "restoring", "compensating"))
    return Done(move=move, phase=phase, left=(name,))


def kill_edge(stage: Stage) -> Done:
    """The edge dies in four phases, and comes back with the topology that it has on disk."""
    stage.rest("edge")
    move, _ = stage.add()
    stricken: set[Phase] = set()

    def strike(phase: Phase) -> None:
        if phase in ("copying", "arming_reads", "cutting_over", "soaking") and phase not in stricken:
            stricken.add(phase)
            stage.kill("edge")

    return Done(move=move, phase=_follow(stage, move, strike))


def kill_target(stage: Stage) -> Done:
    """The new shard dies while links are copied to it, and comes back with what was on its disk."""
    return _kill_target(stage, lambda server: None)


def empty_target(stage: Stage) -> Done:
    """It comes back empty."""
    return _kill_target(stage, lambda server: server.lose_disk())


def lose_target(stage: Stage) -> Done:
    """It does not come back, and the move is given up."""
    move, name = stage.add()
    stage.phases.until(move, "copying")
    stage.spares[name].kill()
    stage.call("POST", f"/api/v1/moves/{move}/abort")
    return Done(move=move, phase=_follow(stage, move))


def kill_source(stage: Stage) -> Done:
    """The shard that is to go dies when nobody reads it any more; the product's supervision starts it again."""
    name = _oldest(stage)
    move = stage.move("DELETE", f"/api/v1/shards/{name}")
    stage.phases.until(move, "soaking")
    if name in stage.spares:
        stage.spares[name].kill()
        stage.start(name)
    else:
        stage.kill(name)
    return Done(move=move, phase=_follow(stage, move), left=(name,))


def lose_source(stage: Stage) -> Done:
    """The replaced server dies right after the cut-over and does not come back: it is said to be lost."""
    added, old = stage.add()
    _follow(stage, added)
    new, server = stage.spare()
    move = stage.move("POST", f"/api/v1/shards/{old}/replace", {"id": new, "url": server.url})
    stage.phases.until(move, "soaking")
    stage.spares[old].kill()
    stage.call("POST", f"/api/v1/moves/{move}/lost", {"shard": old})
    return Done(move=move, phase=_follow(stage, move))


def abort(phase: Phase) -> Callable[[Stage], Done]:
    """A move is given up when `phase` begins."""

    def play(stage: Stage) -> Done:
        stage.phases.order(phase, "abort")
        move, name = stage.add()
        return Done(move=move, phase=_follow(stage, move), left=(name,))

    return play


def stop_edge(stage: Stage) -> Done:
    """The whole edge stands still while a shard is removed and links are changed; then it goes on. Requests for links
    that were changed have come to its sockets meanwhile: they are held against what those links are now."""
    name = _oldest(stage)
    edge = sorted(family(stage.product.pids()["edge"]))
    for pid in edge:
        os.kill(pid, signal.SIGSTOP)
    try:
        move = stage.move("DELETE", f"/api/v1/shards/{name}")
        phase = _follow(stage, move)
        with Truth(stage.population) as truth:
            changed = [number for number in truth.changed() if truth.floor(number) == truth.ceiling(number)]
        if len(changed) < CHANGED_MIN:
            raise BenchmarkError(f"only {len(changed)} links were changed while the edge stood still")
        with stage.loading(_waiting_requests(stage, changed)) as waiting:
            until(lambda: unaccepted(stage.edge_port) >= WAITING_CONNECTIONS, RECOVERY_S)
            for pid in edge:
                os.kill(pid, signal.SIGCONT)
            report = waiting.report()
    finally:
        for pid in edge:
            os.kill(pid, signal.SIGCONT)
    return Done(move=move, phase=phase, left=(name,), reports=(report,))


def _waiting_requests(stage: Stage, changed: list[int]) -> Orders:
    """One request on each of so many new connections, then some more on each."""
    order = stage.directory / "order-waiting"
    order.write_bytes(b"".join(number.to_bytes(4, "little") for number in changed))
    return Orders(
        links=stage.population.links,
        order=order,
        truth=stage.population.truth,
        connections=WAITING_CONNECTIONS,
        clients=PEOPLE,
        count=max(len(changed), 10 * WAITING_CONNECTIONS),
    )


def _follow(stage: Stage, move: int, strike: Callable[[Phase], None] = lambda phase: None) -> Phase:
    return stage.phases.follow(move, strike)


def _killing_control(stage: Stage, move: int, phases: Collection[Phase]) -> Phase:
    """How a move ends all the same."""
    told: Counter[Phase] = Counter()

    def strike(phase: Phase) -> None:
        told[phase] += 1
        if phase in phases and (told[phase] == 1 or (STEPS[phase].work is not None and told[phase] == 1 + PAGES)):
            stage.kill("control")

    end = _follow(stage, move, strike)
    unharmed = set(phases) - set(told)
    if unharmed:
        raise BenchmarkError(f"control was not killed in {', '.join(sorted(unharmed))}")
    return end


def _kill_target(stage: Stage, change: Callable[..., None]) -> Done:
    move, name = stage.add()
    stage.phases.until(move, "copying")
    server = stage.spares[name]
    server.kill()
    change(server)
    stage.start(name)
    return Done(move=move, phase=_follow(stage, move))


def _oldest(stage: Stage) -> str:
    return min(stage.shards(), key=_number)


def _newest(stage: Stage) -> str:
    return max(stage.shards(), key=_number)


def _number(name: str) -> int:
    return int(name.rpartition("-")[2])


MOVES: Final = (
    Act(name="add", title="a fourth shard is added", play=add),
    Act(name="reweight", title="it is reweighted to one half", play=reweight),
    Act(name="remove", title="the first shard is removed", play=remove),
    Act(name="replace", title="the second shard is replaced", play=replace),
)
# The kills of control are apart, as the product's supervision gives up a program that dies again and again.
FAULTS: Final = (
    Act(
        name="control-first",
        title="control killed while planning, arming, copying",
        play=kill_control("planned", "arming_writes", "copying"),
    ),
    Act(name="edge", title="the edge killed in four phases", play=kill_edge, is_costly=True),
    Act(name="target", title="the target killed while copying", play=kill_target),
    Act(
        name="control-second",
        title="control killed while verifying, arming, cutting over",
        play=kill_control("verifying", "arming_reads", "cutting_over"),
    ),
    Act(name="empty-target", title="the target killed, back empty", play=empty_target),
    Act(name="lost-target", title="the target lost, the move aborted", play=lose_target, end="aborted"),
    Act(
        name="control-third",
        title="control killed while soaking, finalizing, cleaning",
        play=kill_control("soaking", "finalizing", "cleaning"),
    ),
    Act(name="source", title="the source killed after the cut-over", play=kill_source),
    Act(name="lost-source", title="the source lost after the cut-over", play=lose_source),
    Act(
        name="control-back",
        title="control killed in every phase of a reverse",
        play=kill_control_backwards,
        end="reversed",
    ),
    *(
        Act(
            name=f"abort-{phase}",
            title=f"aborted in {phase}",
            play=abort(phase),
            end="reversed" if follows == "reversing" else "aborted",
        )
        for phase, follows in ABORTS.items()
    ),
    Act(name="stopped-edge", title="the edge stopped across a whole move", play=stop_edge),
)
