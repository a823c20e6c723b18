"""The table of a move's phases: every path ends, and no ring is given up that somebody may still read (I6)."""

from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.moves import steps
from control.moves.steps import BARRIERS, STEPS, Document, Event, Phase, Side

TESTDATA = Path(__file__).parent / "testdata"
DASH = "\N{EN DASH}"  # in the cells of a table that have nothing
ROOT = Path(__file__).parents[3]
EVENTS: tuple[Event, ...] = get_args(Event)
PHASES: tuple[Phase, ...] = get_args(Phase)
# A move that is begun anew again and again does not end; no other event can be repeated.
LENGTH_MAX = 60


def _written(document: Document) -> set[Side]:
    return {document.reads} if document.mode == "steady" else {"before", "after"}


def _line(phase: Phase, event: str, entered: Phase) -> str:
    document = steps.published(phase, entered)
    effects = [] if document is None else [f"publish {document.mode} reading {document.reads}"]
    effects += [f"wait for {need}" for need in STEPS[entered].needs]
    effects += [f"do {STEPS[entered].work}"] if STEPS[entered].work else []
    return f"{event:<8} -> {entered:<14}{'; '.join(effects) or 'nothing'}"


def _story(events: list[Event]) -> str:
    """What a move does from its start, as text; after the events it goes on to its end, unless one is refused."""
    phase: Phase = "planned"
    lines = [_line(phase, "start", phase)]
    is_reversed = False
    rest = list(events)
    while not STEPS[phase].is_end:
        event = rest.pop(0) if rest else "worked"
        entered = steps.following(phase, event, is_reversed)
        if entered is None:
            return "\n".join([*lines, f"{event:<8} -> refused"])
        lines.append(_line(phase, event, entered))
        phase, is_reversed = entered, is_reversed or entered == "reversing"
    return "\n".join(lines)


def _stories() -> str:
    """Success, and each phase left by each event that it allows or refuses."""
    stories = ["# goes through\n" + _story([])]
    way: list[Phase] = ["planned"]
    while not STEPS[way[-1]].is_end:
        entered = STEPS[way[-1]].worked
        assert entered is not None
        way.append(entered)
    for count, phase in enumerate(way[:-1]):
        for event in ("anew", "abort", "reverse"):
            story = _story([*(["worked"] * count), event])  # type: ignore[list-item]
            shown = story.splitlines()[count + 1 :]
            stories.append(f"# {event} in {phase}\n" + "\n".join(shown))
    return "\n\n".join(stories) + "\n"


def test_every_transition_is_as_it_is_written() -> None:
    """The transcript has every transition of the way, and of the ways back, with what it publishes and waits for."""
    assert _stories() == (TESTDATA / "steps.txt").read_text(encoding="utf-8")


def test_operators_are_told_the_same() -> None:
    """The table of docs/moves.md is this one."""

    def cells(phase: Phase) -> str:
        step = STEPS[phase]
        topology = f"{step.document.mode}, {step.document.reads}"
        ways = (step.work, step.worked, step.abort, step.reverse)
        return " | ".join((f"`{phase}`", topology, ", ".join(step.needs) or DASH, *(way or DASH for way in ways)))

    document = (ROOT / "docs" / "moves.md").read_text(encoding="utf-8")
    rows = [line for line in document.splitlines() if line.startswith("| `") and line.count("|") == 8]
    assert rows == [f"| {cells(phase)} |" for phase in STEPS]


def test_every_phase_has_a_step() -> None:
    """The table is complete, and leads nowhere else."""
    assert set(STEPS) == set(PHASES)
    for step in STEPS.values():
        assert {step.worked, step.anew, step.abort, step.reverse} <= {*PHASES, None}


def test_every_phase_is_reached() -> None:
    """No phase stands there for nothing."""
    reached: set[Phase] = {"planned", "reversed"}
    for _ in PHASES:
        reached |= {entered for phase in reached for event in EVENTS if (entered := steps.following(phase, event))}
    assert reached == set(PHASES)


@given(st.lists(st.sampled_from(EVENTS), max_size=LENGTH_MAX))
def test_every_path_ends(events: list[Event]) -> None:
    """Whatever happens on the way, a move that is let go on comes to an end, and stays there."""
    phase: Phase = "planned"
    for event in [*events, *(["worked"] * len(PHASES))]:
        entered = steps.following(phase, event)  # type: ignore[arg-type]
        if entered is not None:
            phase = entered
    assert STEPS[phase].is_end
    assert all(steps.following(phase, event) is None for event in EVENTS)


@given(st.lists(st.sampled_from(EVENTS), max_size=LENGTH_MAX))
def test_what_may_be_read_is_written(events: list[Event]) -> None:
    """I6: a ring that was read under any document since the last barrier is written under the one in force."""
    phase: Phase = "planned"
    read = {STEPS[phase].document.reads}
    for event in events:
        entered = steps.following(phase, event)
        if entered is None:
            continue
        if phase in BARRIERS and event == "worked":
            read = {STEPS[phase].document.reads}  # nobody is left who answers by an older document
        document = STEPS[entered].document
        assert read | {document.reads} <= _written(document), f"{phase} -> {entered}"
        assert {document.reads} <= _written(STEPS[phase].document), f"{phase} -> {entered}: nobody has written that"
        read.add(document.reads)
        phase = entered


@given(st.lists(st.sampled_from(EVENTS), max_size=LENGTH_MAX))
def test_new_ring_is_read_only_when_it_was_verified(events: list[Event]) -> None:
    """No document that reads the new ring is published unless copying and verifying were the last works."""
    phase: Phase = "planned"
    done: list[str] = []
    for event in events:
        entered = steps.following(phase, event)
        if entered is None:
            continue
        work = STEPS[phase].work
        done = [] if event == "anew" else [*done, work] if work and event == "worked" else done
        if STEPS[entered].document.reads == "after":
            assert done[:2] == ["copy", "verify"]
        phase = entered


@pytest.mark.parametrize("phase", PHASES)
def test_progress_goes_on(phase: Phase) -> None:
    """A phase's share is in 0..1, and the way that a move takes if nothing happens never goes back."""
    first, last = STEPS[phase].share
    assert 0 <= first <= last <= 1
    worked = STEPS[phase].worked
    if worked is not None:
        assert STEPS[worked].share[0] >= last


def test_reversed_move_ends_as_reversed() -> None:
    """What was turned back after its cut-over is told from what was given up before."""
    assert steps.following("compensating", "worked") == "aborted"
    assert steps.following("compensating", "worked", is_reversed=True) == "reversed"
