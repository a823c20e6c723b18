"""The writers of a directory, living and dead: what their files say, and what is done with those of the dead.

    living ──its lock is free──▶ dead ──recovered──▶ its segments are sealed and closed
    dead ──no file of it but the ledger is left──▶ its report is final ──acknowledged──▶ `bury`

Whoever calls this holds the directory's lock (`claim.py`). Every function may wait for the disk: they are called in a
thread. Nothing is believed of one file because of another: one that cannot be read is set aside, and the rest goes on.
"""

import mmap
import os
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import structlog

from edge import ledger, segment
from edge._segment import SegmentMap
from edge.backlog import SINCE_S_MAX, FrameId, SegmentId
from edge.ledger import Ledger
from edge.segment import Segment
from wire.errors import FormatError
from wire.frame import Frame
from wire.report import Report

log = structlog.get_logger("edge.clicks")

MAGIC_BYTES: Final = 8
NAME: Final = re.compile(r"([0-9a-f]{16})-(\d{6,10})")


@dataclass(frozen=True, slots=True)
class Seen:
    """What is new about a segment: frames (start, end) behind those that were known, and whether there are no more."""

    segment: SegmentId
    frames: list[tuple[int, int]]
    is_closed: bool
    since_s: int


@dataclass(slots=True)
class Look:
    """What the directory holds at an instant: all segments in `present`, a report of each writer that has a ledger."""

    present: set[SegmentId] = field(default_factory=set)
    seen: list[Seen] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    edge_ids: set[str] = field(default_factory=set)
    set_aside: int = 0


class Writers:
    """Of one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._dead: dict[int, Report] = {}  # recovered, and what they came to
        self._edge_ids: dict[SegmentId, str] = {}

    def look(self, known: Callable[[SegmentId], int | None], is_first: bool) -> Look:
        """Look at all files. `known` is how many frames of a segment are known; None: all, and it is closed.

        The order matters: a writer that is found dead here has made its last segment before the segments are listed.
        """
        found = Look()
        for writer in ledger.writers(self._directory):
            self._look_at_ledger(writer, found)
        names = os.listdir(self._directory)
        for name in sorted(names):
            self._look_at_segment(name, known, is_first, found)
        self._edge_ids = {id_: edge_id for id_, edge_id in self._edge_ids.items() if id_ in found.present}
        found.reports += self._reports_of_dead(names)
        found.edge_ids = {*self._edge_ids.values(), *(report.edge_id for report in found.reports)}
        return found

    def read(self, frame: FrameId) -> Frame:
        """The frame, as it was sealed; raises OSError and FormatError."""
        opened = Segment.open(self._path(frame.segment))
        return Frame(
            edge_id=opened.edge_id,
            writer=opened.writer,
            segment=opened.number,
            start=frame.start,
            created_ms=opened.created_ms,
            body=opened.body(frame.start, frame.end),
        )

    def retire(self, id_: SegmentId) -> None:
        """Delete a segment: all of it is stored."""
        self._path(id_).unlink(missing_ok=True)

    def set_aside(self, id_: SegmentId, reason: str) -> None:
        """Put a segment where nobody ships it."""
        _set_aside(self._path(id_), reason)

    def bury(self, writers: Iterable[int]) -> None:
        """The final reports of dead writers are stored: nothing is left to say of them."""
        for writer in writers:
            ledger.path_of(self._directory, writer).unlink(missing_ok=True)
            self._dead.pop(writer, None)

    # ---- ledgers

    def _look_at_ledger(self, writer: int, found: Look) -> None:
        path = ledger.path_of(self._directory, writer)
        try:
            if writer in self._dead:
                return
            if ledger.is_alive(path):
                with Ledger.open(path) as books:
                    found.reports.append(books.report(_wall_ms()))
            elif not ledger.sweep(path):
                self._take_over(path, writer, found)
        except (FileNotFoundError, BlockingIOError):
            return
        except FormatError as error:
            # A writer that lives has not written its page yet; the next look finds it.
            if not ledger.is_alive(path):
                _set_aside(path, str(error))
                found.set_aside += 1

    def _take_over(self, path: Path, writer: int, found: Look) -> None:
        """Make whole what a dead writer left, under its lock.

        1. A worker makes its ledger; 2. nobody holds the lock, so it looks dead here; 3. the worker locks it, so it
        is not swept away; 4. it begins to record. Without the lock its segments would be closed under its hands.
        """
        with Ledger.open(path, is_writable=True) as books:
            if books.writer != writer:
                raise FormatError("value", f"by its page it is that of {books.writer:016x}")
            found.set_aside += self._sort_out(writer)
            segment.recover(self._directory, books)
            self._dead[writer] = books.report(_wall_ms())
        log.info("clicks of an ended worker are taken over", writer=f"{writer:016x}")

    def _sort_out(self, writer: int) -> int:
        """Take out what a dead writer's segments cannot be recovered with; how many were set aside."""
        count = 0
        for number in segment.numbers(self._directory, writer):
            id_ = SegmentId(writer, number)
            try:
                self._open(id_, is_over=False)
            except FormatError as error:
                count += _discard(self._path(id_), str(error))
        return count

    def _reports_of_dead(self, names: list[str]) -> list[Report]:
        """A report is final once the writer has no segment any more, not even one that was set aside."""
        owners = {match[1] for name in names if (match := NAME.match(name))}
        return [
            replace(report, at_ms=_wall_ms(), is_final=f"{writer:016x}" not in owners)
            for writer, report in self._dead.items()
        ]

    # ---- segments

    def _look_at_segment(
        self, name: str, known: Callable[[SegmentId], int | None], is_first: bool, found: Look
    ) -> None:
        stem, dot, suffix = name.partition(".")
        match = NAME.fullmatch(stem)
        if match is None or dot + suffix != segment.SUFFIX:
            return
        id_ = SegmentId(int(match[1], 16), int(match[2]))
        found.present.add(id_)
        first = known(id_)
        if first is None:
            return
        try:
            is_over = self._is_over(id_.writer)
            opened = self._open(id_, is_over)
            is_closed = opened.is_closed  # before the frames: those of a closed one are all that there will be
            frames = opened.frames(first)
        except FileNotFoundError:
            found.present.discard(id_)
            return
        except FormatError as error:
            # A living writer may be making it at this moment, and the next look finds out about one that died just now.
            found.present.discard(id_)
            found.set_aside += is_over and _discard(self._path(id_), str(error))
            return
        self._edge_ids[id_] = opened.edge_id
        # What was not sealed a moment ago is young; what lay here at the start may be as old as its segment.
        since_ms = min(opened.created_ms, _wall_ms()) if is_first else _wall_ms()
        found.seen.append(Seen(id_, frames, is_closed, min(max(since_ms, 0) // 1000, SINCE_S_MAX)))

    def _open(self, id_: SegmentId, is_over: bool) -> Segment:
        path = self._path(id_)
        opened = _closed(path) if is_over else Segment.open(path)
        if (opened.writer, opened.number) != id_:
            raise FormatError("value", f"by its page it is {opened.writer:016x}-{opened.number:06d}")
        return opened

    def _is_over(self, writer: int) -> bool:
        """Whether the writer is dead and recovered; or it has no ledger, which is older than its segments."""
        return writer in self._dead or not ledger.path_of(self._directory, writer).exists()

    def _path(self, id_: SegmentId) -> Path:
        return segment.path_of(self._directory, id_.writer, id_.number)


def _closed(path: Path) -> Segment:
    """A segment to which nobody will append, closed if nobody has: its ledger was lost, or it lay aside."""
    opened = Segment.open(path)
    if not opened.is_closed:
        with path.open("r+b") as file:
            mapped = SegmentMap(mmap.mmap(file.fileno(), 0), True)
        mapped.repair()
        mapped.close()
    return opened


def _discard(path: Path, reason: str) -> bool:
    """Take out a file that is no segment; whether it was set aside.

    A writer that is killed while it makes a segment leaves one without a page, to which nothing was ever written.
    """
    with path.open("rb") as file:
        is_blank = not any(file.read(MAGIC_BYTES))
    if is_blank:
        path.unlink()
    else:
        _set_aside(path, reason)
    return not is_blank


def _set_aside(path: Path, reason: str) -> None:
    aside = path.with_name(path.name + segment.ASIDE)
    path.rename(aside)
    log.error(
        "file of clicks set aside; when the reason is mended, give it its name back and it is shipped; "
        "delete it, and its clicks are lost",
        file=str(path),
        aside=str(aside),
        reason=reason,
    )


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
