"""What a phase waits for, and in which words."""

from dataclasses import replace

import pytest

from control.moves import barrier
from control.moves.barrier import AGREE_S, SETTLE_S, Scene, ShardView
from control.moves.steps import Need
from wire.fence import Fence, FenceState
from wire.heartbeat import Heartbeat


def _view(epoch: int = 18, state: FenceState = "complete", run_id: str = "run", fenced: str = "run") -> ShardView:
    return ShardView(run_id=run_id, fence=Fence(epoch=epoch, state=state, run_id=fenced))


def _beat(epoch: int = 18, fallbacks: int = 0, differences: int = 0) -> Heartbeat:
    return Heartbeat(
        edge_id="e", build="b", epoch=epoch, sequence=0, fallbacks=fallbacks, sample_differences=differences
    )


SILENT = ShardView()
REFUSED = ShardView(is_refused=True)
SCENE = Scene(
    move_id=7,
    epoch=18,
    shards={"shard-0": _view(), "shard-1": _view()},
    beats={"shard-0": {"web-1.0": _beat()}, "shard-1": {"web-1.0": _beat()}},
    lost=frozenset(),
    targets=frozenset(("shard-1",)),
)
BARRIER: tuple[Need, ...] = ("fences", "edges", "settled")


def _with(shard_1: ShardView, **changes: object) -> Scene:
    scene = replace(SCENE, shards={"shard-0": _view(), "shard-1": shard_1})
    return replace(scene, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "need", ["answers", "targets", "fences", "edges", "edges_everywhere", "agreed", "soaked", "settled"]
)
def test_nothing_is_waited_for_when_all_is_well(need: Need) -> None:
    """Shards with the newest fence, edges with the newest epoch."""
    assert barrier.reasons([need], SCENE) == []


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (_view(epoch=19), []),
        (_view(epoch=17), ["shard shard-1 still has the fence of epoch 17, not of 18"]),
        (_view(epoch=18, state="filling"), []),
        (SILENT, ["shard shard-1 does not answer; bring it back or `pointsman move lost 7 shard-1`"]),
        (REFUSED, []),
        # Another process, or one that has lost all: it says nothing that an edge of any epoch could believe.
        (ShardView(run_id="other"), []),
        (_view(epoch=17, run_id="other"), []),
    ],
)
def test_barrier_wants_every_shard_fenced_or_dead(view: ShardView, expected: list[str]) -> None:
    """A shard that is merely silent is no proof: an edge may still reach it."""
    beats = {"shard-0": {"web-1.0": _beat()}, "shard-1": {}}
    assert barrier.reasons(BARRIER, _with(view, beats=beats)) == expected


def test_shard_that_was_given_up_is_passed_over() -> None:
    """The operator has said that it will not come back, nor be seen by any edge."""
    scene = _with(SILENT, lost=frozenset(("shard-1",)), beats={"shard-0": {}})
    assert barrier.reasons(("answers", *BARRIER, "soaked"), scene) == []


@pytest.mark.parametrize("view", [SILENT, REFUSED])
def test_move_does_not_begin_without_a_shard(view: ShardView) -> None:
    """Also one that is dead for certain has to be given up by the operator."""
    assert barrier.reasons(["answers"], _with(view)) == [
        "shard shard-1 does not answer; bring it back or `pointsman move lost 7 shard-1`"
    ]


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (SILENT, "shard shard-1, which is to get links, does not answer; bring it back or abort the move"),
        (REFUSED, "shard shard-1, which is to get links, does not answer; bring it back or abort the move"),
        (_view(epoch=17), "shard shard-1 does not carry the topology of epoch 18 yet"),
        (ShardView(run_id="other"), "shard shard-1 does not carry the topology of epoch 18 yet"),
        (_view(run_id="other"), "shard shard-1 does not carry the topology of epoch 18 yet"),
    ],
)
def test_target_must_be_there(view: ShardView, expected: str) -> None:
    """A shard that is to get links has been adopted, by its present process."""
    assert barrier.reasons(["targets"], _with(view)) == [expected]


def test_edge_is_named_that_answers_by_an_older_epoch() -> None:
    """By its newest heartbeat: one that is left over on a shard that it cannot reach says less."""
    beats = {
        "shard-0": {"web-1.0": _beat(), "web-1.3": _beat(epoch=17)},
        "shard-1": {"web-1.0": _beat(epoch=17), "web-1.3": _beat(epoch=16)},
    }
    assert barrier.reasons(BARRIER, replace(SCENE, beats=beats)) == [
        "edge web-1.3 still answers by epoch 17, not by 18"
    ]


def test_edges_of_a_shard_have_to_be_known() -> None:
    """Nobody can say that all edges have followed as long as some may not have been heard."""
    scene = replace(SCENE, beats={"shard-0": {"web-1.0": _beat()}})
    assert barrier.reasons(BARRIER, scene) == ["the edges of shard shard-1 are being listened for"]


def test_edge_of_another_build_is_waited_for() -> None:
    """It lives, and nobody knows by which epoch it answers."""
    scene = replace(SCENE, unread=frozenset(("old-1.0",)))
    assert barrier.reasons(BARRIER, scene) == [
        "edge old-1.0 cannot be understood by this build of control; bring both to the same build, or stop the edge"
    ]


def test_reads_are_armed_when_every_edge_reaches_every_shard() -> None:
    """A heartbeat of this epoch on each shard of the document."""
    beats = {"shard-0": {"web-1.0": _beat(), "web-2.0": _beat()}, "shard-1": {"web-1.0": _beat()}}
    assert barrier.reasons(["edges_everywhere"], replace(SCENE, beats=beats)) == [
        "edge web-2.0 has not reported to shard shard-1 by epoch 18"
    ]


def test_barrier_holds_for_a_while() -> None:
    """A worker whose heartbeats were lost with a shard writes them again before this is over."""
    assert barrier.time_left(BARRIER, SCENE) == f"listens for {SETTLE_S:g} s whether an edge turns up"
    assert barrier.time_left(BARRIER, replace(SCENE, clear_s=SETTLE_S)) is None


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (_view(state="filling"), "shard shard-1 is being repaired"),
        (ShardView(run_id="other"), "shard shard-1 is being repaired"),
        (SILENT, "shard shard-1 does not answer; bring it back or `pointsman move lost 7 shard-1`"),
        (REFUSED, "shard shard-1 does not answer; bring it back or `pointsman move lost 7 shard-1`"),
    ],
)
def test_soak_wants_every_shard_complete(view: ShardView, expected: str) -> None:
    """A move is not made final over a shard that cannot say what is not found."""
    assert barrier.reasons(["soaked"], _with(view)) == [expected]


def test_soak_takes_its_time() -> None:
    """The time that is set."""
    scene = replace(SCENE, soak_s=60.0, soaked_s=59.0)
    assert barrier.time_left(["soaked"], scene) == "soaks for 60 s"
    assert barrier.time_left(["soaked"], replace(scene, soaked_s=60.0)) is None


@pytest.mark.parametrize(
    ("beat", "expected"),
    [
        (_beat(fallbacks=3, differences=2), False),
        (_beat(fallbacks=4, differences=2), True),
        (_beat(fallbacks=3, differences=3), True),
        (_beat(), False),  # the worker was replaced: its counts begin again
    ],
)
def test_soak_is_disturbed_by_what_edges_find(beat: Heartbeat, expected: bool) -> None:
    """Links that only the old owner has, and samples that differ, since the soak's beginning."""
    scene = replace(SCENE, beats={"shard-0": {"web-1.0": beat}}, seen={"web-1.0": (3, 2)})
    assert barrier.is_disturbed(scene) is expected


def test_worker_that_is_new_counts_from_nothing() -> None:
    """One that was not there when the soak began."""
    scene = replace(SCENE, beats={"shard-0": {"web-9.0": _beat(fallbacks=1)}}, seen={})
    assert barrier.is_disturbed(scene)
    assert barrier.counted(scene) == {"web-9.0": (1, 0)}


def test_reading_of_the_new_ring_needs_edges_that_have_found_no_difference_for_a_while() -> None:
    """First only time has to pass; after a difference it is a reason to wait, until none has come for as long."""
    agreed = f"listens for {AGREE_S:g} s whether edges find links on which old and new shards differ"
    assert barrier.time_left(["agreed"], SCENE) == agreed
    differing = replace(SCENE, differences=3, agreed_s=AGREE_S - 0.1)
    (reason,) = barrier.reasons(["agreed"], differing)
    assert reason.startswith("edges have found 3 times that old and new shards differ")
    later = replace(differing, agreed_s=AGREE_S)
    assert (barrier.reasons(["agreed"], later), barrier.time_left(["agreed"], later)) == ([], None)


def test_sentence_is_short() -> None:
    """Hundreds of edges do not make a line of hundreds of names."""
    assert barrier.sentence([f"edge {number}" for number in range(8)]) == (
        "edge 0; edge 1; edge 2; edge 3; edge 4; and 3 more"
    )
