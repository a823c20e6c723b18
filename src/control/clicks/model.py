"""What the entries of a stream are, and what becomes of each frame; pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from control.clicks import ranges
from control.clicks.ranges import Ranges
from wire import FormatError, keys
from wire import frame as wire_frame
from wire import report as wire_report
from wire.frame import EDGE_ID_BYTES_MAX, Frame
from wire.report import Report

DAY_MS: Final = 86_400_000
# Clocks of edges may be ahead; one that is a day ahead is wrong, and its clicks would stand in the future.
AHEAD_MS_MAX: Final = DAY_MS
SEGMENT_END_MAX: Final = 2**31 - 1
# Of clicks that a writer reports: a million a second for 285 years. What a thousand such writers have fits a bigint.
REPORTED_MAX: Final = 2**53

# Why something is in click_dead_frames. A closed set: it is a label of metrics.
DEAD_REASONS: Final = (
    "entry",  # neither a frame nor a report
    "report",  # a report that cannot be read
    "frame",  # an envelope that cannot be read
    "checksum",  # one whose body is not the one that was sent
    "body",  # a body that is not as wire.click says
    "overlap",  # of a range of which a part was counted
    "too_old",  # of a segment so old that nobody can tell whether the frame was counted
    "too_new",  # of a segment from the future
    "value",  # something that PostgreSQL cannot hold
    "document",  # no frame: a stored document that cannot be read, taken out of the way
)

SegmentKey = tuple[int, int]
"""Writer and number of a segment."""


class Entry(NamedTuple):
    """An entry of the stream; `fields` are names and values by turns, None if it is no longer there."""

    id: bytes
    fields: Sequence[bytes] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A frame that came in whole."""

    shard_id: str
    frame: Frame
    data: bytes

    @property
    def key(self) -> SegmentKey:
        """The frame's segment."""
        return self.frame.writer, self.frame.segment

    @property
    def end(self) -> int:
        """Where the frame ends in its segment."""
        return self.frame.start + len(self.frame.body)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dead:
    """What cannot be counted; with an arrival its identity is known, and the edge need not keep it."""

    shard_id: str
    reason: str
    message: str
    data: bytes
    arrival: Arrival | None = None


@dataclass(slots=True)
class Work:
    """What one batch is to store. With a fault, what would be counted is laid aside for it."""

    arrivals: list[Arrival] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    dead: list[Dead] = field(default_factory=list)
    body_bytes: int = 0
    fault: str | None = None

    def __len__(self) -> int:
        return len(self.arrivals) + len(self.reports) + len(self.dead)

    def take(self, shard_id: str, entries: Iterable[Entry]) -> None:
        """Sort entries of a shard's stream into what they are."""
        for entry in entries:
            if entry.fields is not None:
                self._take(shard_id, entry.fields)

    def _take(self, shard_id: str, fields: Sequence[bytes]) -> None:
        name, data = (fields[0], fields[1]) if len(fields) == 2 else (b"", b"\0".join(fields))
        if name == keys.FRAME_FIELD:
            self._take_frame(shard_id, data)
        elif name == keys.REPORT_FIELD:
            self._take_report(shard_id, data)
        else:
            message = f"an entry with the fields {list(fields[::2])[:4]!r} is neither a frame nor a report"
            self.dead.append(Dead(shard_id=shard_id, reason="entry", message=message, data=data))

    def _take_frame(self, shard_id: str, data: bytes) -> None:
        try:
            arrival = read_frame(shard_id, data)
        except FormatError as error:
            reason = "checksum" if error.code == "checksum" else "frame"
            self.dead.append(Dead(shard_id=shard_id, reason=reason, message=str(error), data=data))
        else:
            self.arrivals.append(arrival)
            self.body_bytes += len(arrival.frame.body)

    def _take_report(self, shard_id: str, data: bytes) -> None:
        try:
            report = wire_report.decode(data)
            _check_writer(report.writer, report.edge_id)
            _check_counts(report)
        except FormatError as error:
            self.dead.append(Dead(shard_id=shard_id, reason="report", message=str(error), data=data))
        else:
            self.reports.append(report)


def read_frame(shard_id: str, data: bytes) -> Arrival:
    """The frame in an entry; raises FormatError."""
    arrival = Arrival(shard_id=shard_id, frame=wire_frame.decode(data), data=data)
    if arrival.end > SEGMENT_END_MAX:
        raise FormatError("value", f"the frame ends at {arrival.end}; segments end at {SEGMENT_END_MAX}")
    _check_writer(arrival.frame.writer, arrival.frame.edge_id)
    return arrival


def _check_writer(writer: int, edge_id: str) -> None:
    """They are columns of tables and a key in Redis."""
    is_printable = edge_id.isascii() and edge_id.isprintable()
    if not (0 < writer < 2**63 and 1 <= len(edge_id) <= EDGE_ID_BYTES_MAX and is_printable):
        raise FormatError("value", f"writer {writer} or edge id {edge_id[:EDGE_ID_BYTES_MAX]!r} cannot be")


def _check_counts(report: Report) -> None:
    """They only rise and are added up: one that is nonsense would stay, and make every sum nonsense."""
    highest = max(report.served, report.unknown_recorded, report.unknown_dropped)
    if highest > REPORTED_MAX:
        raise FormatError("value", f"the report says {highest} clicks; a writer has at most {REPORTED_MAX}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """What is known of a segment: which ranges are counted, and which are in the dead letters."""

    committed: Ranges = ()
    dead: Ranges = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The instants, in milliseconds since 1970, between which a segment was begun whose frames can be counted."""

    oldest_ms: int
    newest_ms: int


def window(now_ms: int, keep_days: int) -> Window:
    """The window as of now."""
    return Window(oldest_ms=now_ms - keep_days * DAY_MS, newest_ms=now_ms + AHEAD_MS_MAX)


@dataclass(slots=True)
class Verdict:
    """What each frame of a batch is."""

    fresh: list[Arrival] = field(default_factory=list)
    duplicates: list[Arrival] = field(default_factory=list)
    dead: list[Dead] = field(default_factory=list)


def judge(work: Work, known: Mapping[SegmentKey, Segment], window: Window) -> Verdict:
    """Tell new frames from known ones. Each is judged as if those before it were stored already."""
    verdict = Verdict()
    segments = dict(known)
    for arrival in work.arrivals:
        segment = segments.get(arrival.key, Segment())
        start, end = arrival.frame.start, arrival.end
        if ranges.contains(segment.committed, start, end) or ranges.contains(segment.dead, start, end):
            verdict.duplicates.append(arrival)
            continue
        fault = _fault(arrival, segment, window)
        if fault is None and work.fault is not None:
            fault = dead_of(arrival, "value", work.fault)
        if fault is None:
            verdict.fresh.append(arrival)
            segment = Segment(committed=ranges.added(segment.committed, start, end), dead=segment.dead)
        else:
            verdict.dead.append(fault)
            segment = Segment(committed=segment.committed, dead=ranges.added(segment.dead, start, end))
        segments[arrival.key] = segment
    return verdict


def dead_of(arrival: Arrival, reason: str, message: str) -> Dead:
    """A frame of known identity that cannot be counted."""
    return Dead(shard_id=arrival.shard_id, reason=reason, message=message, data=arrival.data, arrival=arrival)


def _fault(arrival: Arrival, segment: Segment, window: Window) -> Dead | None:
    created_ms = arrival.frame.created_ms
    if created_ms < window.oldest_ms:
        return dead_of(arrival, "too_old", "its segment is older than identities of frames are kept")
    if created_ms > window.newest_ms:
        return dead_of(arrival, "too_new", "its segment was begun more than a day from now: a clock is wrong")
    if ranges.overlaps(segment.committed, arrival.frame.start, arrival.end):
        return dead_of(arrival, "overlap", "a part of its range was counted as part of another frame")
    return None
