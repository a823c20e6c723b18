"""The steps of a move, as a table; pure. The table of docs/moves.md is this one.

A document is what edges and projectors go by: its mode says what edges do with the second ring, and `reads` which of
the move's two rings is the one that is read; the other one is the second. Projectors write both, unless the mode is
steady.

The invariant of the table (I6; tests walk all of it): every ring that a live edge may read under a document that was in
force since the last barrier is written under the document in force.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from wire.topology import Mode

Phase = Literal[
    "planned",
    "arming_writes",
    "copying",
    "verifying",
    "arming_reads",
    "cutting_over",
    "soaking",
    "finalizing",
    "cleaning",
    "done",
    "reversing",
    "restoring",
    "compensating",
    "aborted",
    "reversed",
]
Event = Literal["worked", "anew", "abort", "reverse"]
WorkName = Literal["copy", "verify", "remove"]
Side = Literal["before", "after"]
# What is waited for; control.moves.barrier decides each of them.
Need = Literal["answers", "targets", "fences", "edges", "edges_everywhere", "agreed", "soaked", "settled"]


@dataclass(frozen=True, slots=True)
class Document:
    """What the topology in force is made of."""

    mode: Mode
    reads: Side


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One phase: the document in force in it, what it waits for, what it then does, and where it leads.

    A document is published by the transition into the phase, if it is not in force already. `share` is the part of the
    whole way, for the display of progress.
    """

    document: Document
    needs: tuple[Need, ...] = ()
    work: WorkName | None = None
    worked: Phase | None = None
    anew: Phase | None = None
    abort: Phase | None = None
    reverse: Phase | None = None
    share: tuple[float, float] = (1.0, 1.0)

    @property
    def is_end(self) -> bool:
        """Whether nothing follows."""
        return self.worked is None


_OLD: Final = Document("steady", "before")
_ARMED: Final = Document("armed", "before")
_SAMPLING: Final = Document("sampling", "before")
_TURNED: Final = Document("cut-over", "after")
_SOAKING: Final = Document("soaking", "after")
_NEW: Final = Document("steady", "after")
_TURNED_BACK: Final = Document("cut-over", "before")
_SOAKING_BACK: Final = Document("soaking", "before")

STEPS: Final[Mapping[Phase, Step]] = {
    "planned": Step(
        document=_OLD,
        needs=("answers", "edges"),
        worked="arming_writes",
        abort="aborted",
        share=(0.0, 0.01),
    ),
    "arming_writes": Step(
        document=_ARMED,
        needs=("fences", "targets"),
        worked="copying",
        abort="compensating",
        share=(0.01, 0.03),
    ),
    "copying": Step(
        document=_ARMED,
        work="copy",
        worked="verifying",
        anew="copying",
        abort="compensating",
        share=(0.03, 0.60),
    ),
    "verifying": Step(
        document=_ARMED,
        work="verify",
        worked="arming_reads",
        anew="copying",
        abort="compensating",
        share=(0.60, 0.80),
    ),
    "arming_reads": Step(
        document=_SAMPLING,
        needs=("fences", "targets", "edges_everywhere", "agreed"),
        worked="cutting_over",
        abort="compensating",
        share=(0.80, 0.82),
    ),
    "cutting_over": Step(
        document=_TURNED,
        needs=("fences", "edges", "agreed"),
        worked="soaking",
        abort="reversing",
        reverse="reversing",
        share=(0.82, 0.84),
    ),
    "soaking": Step(
        document=_SOAKING,
        needs=("edges", "soaked"),
        worked="finalizing",
        abort="reversing",
        reverse="reversing",
        share=(0.84, 0.90),
    ),
    "finalizing": Step(
        document=_SOAKING,
        needs=("fences", "edges", "settled"),
        worked="cleaning",
        share=(0.90, 0.92),
    ),
    "cleaning": Step(document=_NEW, work="remove", worked="done", share=(0.92, 1.0)),
    "done": Step(document=_NEW),
    "reversing": Step(document=_TURNED_BACK, needs=("fences", "edges"), worked="restoring", share=(0.1, 0.2)),
    "restoring": Step(
        document=_SOAKING_BACK, needs=("fences", "edges", "settled"), worked="compensating", share=(0.2, 0.3)
    ),
    "compensating": Step(document=_OLD, work="remove", worked="aborted", share=(0.3, 1.0)),
    "aborted": Step(document=_OLD),
    "reversed": Step(document=_OLD),
}

# These give up the ring that was the second one: nobody may need it any more (the barrier).
BARRIERS: Final = frozenset(phase for phase, step in STEPS.items() if "settled" in step.needs)
# From here on edges read the new ring, or have read it.
TURNED: Final[frozenset[Phase]] = frozenset(
    phase
    for phase, step in STEPS.items()
    if step.document.reads == "after" or step.document in (_TURNED_BACK, _SOAKING_BACK)
)
# What is left of a move that has been given up: its copies are taken away.
BACKWARD: Final[frozenset[Phase]] = frozenset(("reversing", "restoring", "compensating"))


def following(phase: Phase, event: Event, is_reversed: bool = False) -> Phase | None:
    """The phase that `event` leads to; None if the phase does not allow it.

    `is_reversed` says whether the move has been turned back after its cut-over: it ends as reversed, not as aborted.
    """
    step = STEPS[phase]
    found: dict[Event, Phase | None] = {
        "worked": step.worked,
        "anew": step.anew,
        "abort": step.abort,
        "reverse": step.reverse,
    }
    return "reversed" if found[event] == "aborted" and is_reversed else found[event]


def published(phase: Phase, entered: Phase) -> Document | None:
    """The document that the transition puts in force; None if the one in force stays."""
    document = STEPS[entered].document
    return None if document == STEPS[phase].document else document


def progress(phase: Phase, fraction: float) -> float:
    """How far a move is, of 0..1, when `fraction` of the phase's work is done."""
    first, last = STEPS[phase].share
    return first + (last - first) * min(1.0, max(0.0, fraction))
