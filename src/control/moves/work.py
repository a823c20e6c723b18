"""What the work of a phase is given, and what it gives back: the seam between the driver and copying, verifying and
removing.

A work is `async def work(job: Job) -> Result`. It is idempotent and may be called any number of times, by this driver
or by a later one, each time with the cursor that was reported last. It opens and closes its own connections.

- It calls `job.report` after each bounded piece (a page of links, a few hundred milliseconds at most) and holds nothing
  in between that could not be dropped: `report` raises Stopped when the move is paused, aborted or driven by another.
- Error("shard_unavailable") may escape from it and means Waits; any other error is the work's fault, is shown on the
  move, and the work is called again after a pause.
- What it changes on a shard is compare-and-set by version (copying), or a script that checks the fence (removing), so
  that a driver which slept changes nothing when it wakes. What it changes in PostgreSQL besides, it changes in a
  transaction that has called `job.hold`.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from control.db import Connection, Database
from control.shards.current import Placement
from wire.topology import Shard

Cursor = dict[str, Any]  # of the work's own making; small, because it is written after each page


class Arc(NamedTuple):
    """A range of the hash space, unsigned and inclusive, that changes its owner from `before` to `after`."""

    first: int
    last: int
    from_id: str
    to_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast a work may go: links a second in all, and the latency of a shard from which on it goes slower."""

    links_s: int
    latency_s: float


class Stopped(Exception):  # noqa: N818  (no error: the row says why)
    """The work is to end now; raised by `report` and `hold`, and let through by the work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a work is, of 0..1; `counts` are for people and are merged into the move's, by name."""

    fraction: float
    counts: dict[str, int] = field(default_factory=dict)


Report = Callable[[Cursor, Progress], Awaitable[None]]
Hold = Callable[[Connection], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One call of a phase's work.

    `placement` is the topology in force, with the rings that its phase has. When copying begins, every shard that is to
    get links carries a fence of its epoch; when removing begins, a shard may have an older one's for a moment (Waits).
    `arcs` ascend. `joining` are the shards that the move brings in, `leaving` those that were in the
    topology before and are not any more (cleaning: shards of `before`; compensating: shards that had been joining);
    they are emptied wholly and retired. `lost` are shards that were given up: they are passed over.
    """

    move_id: int
    database: Database
    placement: Placement
    arcs: tuple[Arc, ...]
    joining: frozenset[str]
    leaving: tuple[Shard, ...]
    lost: frozenset[str]
    pace: Pace
    cursor: Cursor
    report: Report  # writes cursor and progress to the move's row, if the driver still drives it
    hold: Hold  # locks the move's row in the caller's transaction, so that nobody else can take the move over meanwhile


@dataclass(frozen=True, slots=True)
class Done:
    """The phase's work is complete. `detail` goes to the history of the move."""

    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Anew:
    """Copying has to begin anew, with an empty cursor: a target is another process now, or what it held is wrong."""

    reason: str


@dataclass(frozen=True, slots=True)
class Waits:
    """It cannot go on now, for a reason that an operator understands; it is called again after a pause, which grows.

    `leftovers` is what is still to be removed, in keys by shard, as far as it is known.
    """

    reason: str
    leftovers: dict[str, int] = field(default_factory=dict)


Result = Done | Anew | Waits
Work = Callable[[Job], Awaitable[Result]]

# The works, by phase:
#   copying       carry.copy      writes every link of `arcs` to its new owner; its last act is recovery.raise_floor for
#                                 each target (Anew if the process is another one than that of the copy's beginning)
#   verifying     verify.verify   its last act is recovery.complete_joining for each of `joining` (under `hold`)
#   cleaning,     clean.remove    removes the keys of `arcs` from each of their two shards that owns them on no ring of
#   compensating                  `placement`; empties and retires `leaving` (recovery.retire, store.forget_shard)
