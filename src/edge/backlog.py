"""What an edge has recorded and control has not stored yet: sealed frames of segments, and where each of them stands.

    waiting ──sent──▶ in flight ──acknowledged──▶ stored
       ▲                  │
       ├──────lost────────┤   its shard is gone, or is another process now
       └────vanished──────┤   its entry is no longer in the stream and nobody acknowledged it
                          └──vanished for the VANISHED_MAX-th time──▶ refused

Pure: no file is read and nothing is sent here; the clock is a parameter.

Invariants
- a frame's start and end never change: what is sent again is the same frame;
- an acknowledgement counts in every state, whichever copy of the frame it is for: it says what PostgreSQL holds;
- a segment is settled once it is closed and each of its frames is stored or refused, and not before;
- at most `in_flight_max` frames are in flight, and a frame that is not costs 9 bytes, however long the backlog is.
"""

import enum
from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

# A frame that keeps vanishing under one and the same Redis process is one that somebody throws away: after this often,
# and as many ack timeouts, a person has to look at it.
VANISHED_MAX: Final = 8
# Instants are kept in 32 bits: until 2106. What a wrong clock or a damaged page says beyond that is as young as can be.
SINCE_S_MAX: Final = 2**32 - 1


class State(enum.IntEnum):
    """Where a sealed frame stands."""

    WAITING = 0
    IN_FLIGHT = 1
    STORED = 2
    REFUSED = 3


class SegmentId(NamedTuple):
    """A segment's identity."""

    writer: int
    number: int


class FrameId(NamedTuple):
    """A sealed frame's identity, and its end, which belongs to it for good."""

    segment: SegmentId
    start: int
    end: int


class Place(NamedTuple):
    """One Redis process: a shard, and its run id."""

    shard_id: str
    run_id: str


@dataclass(slots=True)
class Entry:
    """A frame in flight: where, as which entry of the stream, and when to ask what has become of it."""

    place: Place
    entry_id: bytes
    due_ms: int


class Settled(NamedTuple):
    """A segment of which nothing is to be sent any more; `is_stored` unless some of its frames are refused."""

    segment: SegmentId
    is_stored: bool


class _Frames:
    """The sealed frames of one segment. Frame i is [end of i-1, or `first`; end of i)."""

    __slots__ = ("counts", "cursor", "ends", "first", "is_closed", "since_s", "states")

    def __init__(self) -> None:
        self.first = 0
        self.ends = array("I")
        self.since_s = array("I")  # when each was recorded, as far as is known
        self.states = bytearray()
        self.counts = [0] * len(State)
        self.cursor = 0  # no frame before it is waiting
        self.is_closed = False

    def start(self, index: int) -> int:
        return self.ends[index - 1] if index else self.first

    def index(self, start: int, end: int) -> int | None:
        index = bisect_left(self.ends, end)
        is_known = index < len(self.ends) and self.ends[index] == end and self.start(index) == start
        return index if is_known else None

    def waiting(self, limit: int) -> list[int]:
        """The first waiting frames."""
        found: list[int] = []
        at = self.states.find(State.WAITING, self.cursor)
        self.cursor = len(self.states) if at < 0 else at
        while at >= 0 and len(found) < limit:
            found.append(at)
            at = self.states.find(State.WAITING, at + 1)
        return found

    def is_stored(self) -> bool:
        return self.counts[State.STORED] == len(self.ends)

    def since(self) -> int:
        """When the first frame that is not stored was recorded: later ones are younger."""
        return self.since_s[len(self.states) - len(self.states.lstrip(bytes([State.STORED])))]

    def is_settled(self) -> bool:
        return self.is_closed and self.counts[State.STORED] + self.counts[State.REFUSED] == len(self.ends)


class Backlog:
    """The frames of a directory; `bytes` is how much of them is not stored."""

    def __init__(self, in_flight_max: int, ack_timeout_ms: int) -> None:
        self.bytes = 0
        self._in_flight_max = in_flight_max
        self._ack_timeout_ms = ack_timeout_ms
        self._segments: dict[SegmentId, _Frames] = {}
        self._queue: OrderedDict[SegmentId, None] = OrderedDict()  # segments with waiting frames, next first
        self._in_flight: dict[FrameId, Entry] = {}
        self._vanished: dict[FrameId, int] = {}
        self._settled: dict[SegmentId, None] = {}

    # ---- what the disk says

    def note(self, segment: SegmentId, new: Sequence[tuple[int, int]], is_closed: bool, since_s: int) -> None:
        """The segment has these sealed frames (start, end) behind the known ones; they were recorded at `since_s`."""
        frames = self._segments.get(segment)
        if frames is None:
            frames = self._segments[segment] = _Frames()
        if new:
            if not frames.ends:
                frames.first = new[0][0]
            self.bytes += new[-1][1] - new[0][0]
            frames.ends.extend(end for _, end in new)
            frames.since_s.extend([since_s] * len(new))
            frames.states.extend([State.WAITING] * len(new))
            frames.counts[State.WAITING] += len(new)
            self._queue[segment] = None
        frames.is_closed = frames.is_closed or is_closed
        self._settle(segment, frames)

    def known(self, segment: SegmentId) -> int:
        """How many of the segment's frames are known."""
        frames = self._segments.get(segment)
        return 0 if frames is None else len(frames.ends)

    def knows_whole(self, segment: SegmentId) -> bool:
        """Whether the segment is closed and all its frames are known: its header has nothing new to say."""
        frames = self._segments.get(segment)
        return frames is not None and frames.is_closed

    def forget(self, segment: SegmentId) -> None:
        """The segment is gone from the directory, or has another name."""
        frames = self._segments.pop(segment, None)
        if frames is None:
            return
        self._queue.pop(segment, None)
        self._settled.pop(segment, None)
        for index, end in enumerate(frames.ends):
            frame = FrameId(segment, frames.start(index), end)
            if frames.states[index] != State.STORED:
                self.bytes -= end - frame.start
            self._in_flight.pop(frame, None)
            self._vanished.pop(frame, None)

    def segments(self) -> list[SegmentId]:
        """All that are known, in the order in which they came to be known."""
        return list(self._segments)

    # ---- what to do

    def next(self, limit: int) -> list[FrameId]:
        """Frames to send now, at most `limit` and as many as may be in flight; they wait on until `sent` is told."""
        limit = min(limit, self._in_flight_max - len(self._in_flight))
        found: list[FrameId] = []
        while len(found) < limit and self._queue:
            segment = next(iter(self._queue))
            found += self._waiting(segment, limit - len(found))
            if len(found) < limit:
                del self._queue[segment]
        for frame in reversed(found):
            self._enqueue_first(frame.segment)
        return found

    def overdue(self, now_ms: int) -> list[tuple[FrameId, Entry]]:
        """Frames in flight whose acknowledgement should have come: are they still in their streams?"""
        return [(frame, entry) for frame, entry in self._in_flight.items() if entry.due_ms <= now_ms]

    def settled(self) -> list[Settled]:
        """Segments to take out of the directory; `forget` says that it was done."""
        return [Settled(segment, not self._segments[segment].counts[State.REFUSED]) for segment in self._settled]

    # ---- what happened

    def sent(self, frame: FrameId, place: Place, entry_id: bytes, now_ms: int) -> None:
        """The frame is an entry of a stream."""
        if self._move(frame, State.IN_FLIGHT):
            self._in_flight[frame] = Entry(place, entry_id, now_ms + self._ack_timeout_ms)

    def acknowledge(self, frame: FrameId) -> bool:
        """PostgreSQL holds the frame; whether that is news."""
        return self._move(frame, State.STORED)

    def remains(self, frame: FrameId, now_ms: int) -> None:
        """An overdue frame is still in its stream: nobody has read it yet.

        1. The stream has the entry; 2. control stores the frame, and its acknowledgement is read; 3. this is told of 1.
        Or: 1. the frame is lost, because its shard is another process now; 2. that one has the entry from its disk.
        """
        entry = self._in_flight.get(frame)
        if entry is not None:
            entry.due_ms = now_ms + self._ack_timeout_ms

    def vanished(self, frame: FrameId) -> State:
        """An overdue frame is no longer in its stream; where it stands now."""
        if frame not in self._in_flight:  # acknowledged meanwhile
            return State.STORED
        count = self._vanished.get(frame, 0) + 1
        self._vanished[frame] = count
        state = State.REFUSED if count >= VANISHED_MAX else State.WAITING
        self._move(frame, state)
        return state

    def lose(self, shard_id: str, living_run_id: str = "") -> int:
        """Send again what went to a shard, but for what the process with `living_run_id` got; how many frames."""
        lost = [
            frame
            for frame, entry in self._in_flight.items()
            if entry.place.shard_id == shard_id and entry.place.run_id != living_run_id
        ]
        for frame in lost:
            self._move(frame, State.WAITING)
        return len(lost)

    def refuse(self, frame: FrameId) -> bool:
        """The frame is not sent again; whether that is news."""
        return self._move(frame, State.REFUSED)

    # ---- what there is

    @property
    def in_flight(self) -> int:
        """Frames in streams, not acknowledged."""
        return len(self._in_flight)

    @property
    def has_more(self) -> bool:
        """Whether a frame may be sent now."""
        return bool(self.next(1))

    def shards(self) -> set[str]:
        """The shards in whose streams frames are."""
        return {entry.place.shard_id for entry in self._in_flight.values()}

    def oldest_s(self) -> int | None:
        """When the oldest click that is not stored was recorded, in seconds since 1970; None: all are."""
        return min((frames.since() for frames in self._segments.values() if not frames.is_stored()), default=None)

    # ---- within

    def _waiting(self, segment: SegmentId, limit: int) -> list[FrameId]:
        frames = self._segments[segment]
        return [FrameId(segment, frames.start(i), frames.ends[i]) for i in frames.waiting(limit)]

    def _move(self, frame: FrameId, state: State) -> bool:
        """Whether the frame is known and its state another than before; what is stored stays stored."""
        frames = self._segments.get(frame.segment)
        index = None if frames is None else frames.index(frame.start, frame.end)
        if frames is None or index is None or frames.states[index] in (state, State.STORED):
            return False
        frames.counts[frames.states[index]] -= 1
        frames.counts[state] += 1
        frames.states[index] = state
        if state != State.IN_FLIGHT:
            self._in_flight.pop(frame, None)
        if state in (State.STORED, State.REFUSED):
            self._vanished.pop(frame, None)
        if state == State.STORED:
            self.bytes -= frame.end - frame.start
        elif state == State.WAITING:
            frames.cursor = min(frames.cursor, index)
            self._enqueue_first(frame.segment)
        self._settle(frame.segment, frames)
        return True

    def _enqueue_first(self, segment: SegmentId) -> None:
        """What was sent once is older than what was not."""
        self._queue[segment] = None
        self._queue.move_to_end(segment, last=False)

    def _settle(self, segment: SegmentId, frames: _Frames) -> None:
        if frames.is_settled():
            self._settled[segment] = None
