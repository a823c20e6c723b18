"""The backlog: where each sealed frame stands, against a slow oracle and at its limits."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edge.backlog import VANISHED_MAX, Backlog, FrameId, Place, SegmentId, Settled, State

PLACE = Place("shard-0", "run-0")
SEGMENT = SegmentId(1, 0)


def backlog_of(ends: list[int], is_closed: bool = True, in_flight_max: int = 4) -> Backlog:
    """A backlog with one segment whose frames have these ends."""
    made = Backlog(in_flight_max, ack_timeout_ms=100)
    made.note(SEGMENT, list(zip([4096, *ends], ends, strict=False)), is_closed, since_s=50)
    return made


def test_frames_are_sent_in_order_and_at_most_so_many_at_once() -> None:
    """Four of six; the fifth when one of them is stored."""
    backlog = backlog_of([5000, 6000, 7000, 8000, 9000, 9500])
    first = backlog.next(10)
    assert [frame.end for frame in first] == [5000, 6000, 7000, 8000]
    for frame in first:
        backlog.sent(frame, PLACE, b"1-0", now_ms=0)
    assert (backlog.next(10), backlog.has_more, backlog.in_flight) == ([], False, 4)
    assert backlog.acknowledge(first[2])
    assert [frame.end for frame in backlog.next(10)] == [9000]


def test_frame_that_is_sent_again_goes_first() -> None:
    """What vanished is older than what was never sent."""
    backlog = backlog_of([5000, 6000, 7000])
    backlog.note(SegmentId(2, 0), [(4096, 4200)], True, since_s=40)
    first, second = backlog.next(2)
    for frame in (first, second):
        backlog.sent(frame, PLACE, b"1-0", now_ms=0)
    assert backlog.vanished(first) == State.WAITING
    assert [frame.end for frame in backlog.next(10)] == [5000, 7000, 4200]


def test_acknowledgement_of_another_end_is_none() -> None:
    """A frame's identity has its end; what is not known is not stored."""
    backlog = backlog_of([5000])
    for frame in (FrameId(SEGMENT, 4096, 5001), FrameId(SEGMENT, 4000, 5000), FrameId(SegmentId(2, 0), 4096, 5000)):
        assert not backlog.acknowledge(frame)
    assert backlog.bytes == 904


def test_late_acknowledgement_of_a_frame_that_waits_again_counts() -> None:
    """Its first copy was stored after all: it is not sent a second time."""
    backlog = backlog_of([5000])
    (frame,) = backlog.next(1)
    backlog.sent(frame, PLACE, b"1-0", now_ms=0)
    assert backlog.lose("shard-0") == 1
    assert backlog.acknowledge(frame)
    assert (backlog.next(1), backlog.settled()) == ([], [Settled(SEGMENT, True)])


def test_what_a_living_process_got_is_not_lost() -> None:
    """Another run id loses the frames of the old process only."""
    backlog = backlog_of([5000, 6000])
    for frame, run_id in zip(backlog.next(2), ("old", "new"), strict=True):
        backlog.sent(frame, Place("shard-0", run_id), b"1-0", now_ms=0)
    assert backlog.lose("shard-0", living_run_id="new") == 1
    assert backlog.lose("shard-1") == 0
    assert [frame.end for frame in backlog.next(2)] == [5000]


def test_frame_is_refused_when_it_has_vanished_so_often() -> None:
    """Not before; then its segment is settled, but not stored, unless an acknowledgement comes all the same."""
    backlog = backlog_of([5000])
    for _ in range(VANISHED_MAX):
        assert backlog.settled() == []
        (frame,) = backlog.next(1)
        backlog.sent(frame, PLACE, b"1-0", now_ms=0)
        assert backlog.overdue(99) == []
        assert [overdue for overdue, _ in backlog.overdue(100)] == [frame]
        state = backlog.vanished(frame)
    assert state == State.REFUSED
    assert (backlog.settled(), backlog.next(1)) == ([Settled(SEGMENT, False)], [])
    backlog.acknowledge(frame)
    assert backlog.settled() == [Settled(SEGMENT, True)]


def test_frame_that_was_acknowledged_meanwhile_has_not_vanished() -> None:
    """Its entry is gone because control took it."""
    backlog = backlog_of([5000], is_closed=False)
    (frame,) = backlog.next(1)
    backlog.sent(frame, PLACE, b"1-0", now_ms=0)
    backlog.acknowledge(frame)
    assert backlog.vanished(frame) == State.STORED
    assert backlog.settled() == []


def test_frame_that_is_not_in_flight_any_more_may_still_be_in_its_stream() -> None:
    """It was asked for before it was acknowledged, or lost with a shard that has it from its disk."""
    backlog = backlog_of([5000, 6000])
    stored, lost = backlog.next(2)
    for frame, run_id in ((stored, "new"), (lost, "old")):
        backlog.sent(frame, Place("shard-0", run_id), b"1-0", now_ms=0)
    backlog.acknowledge(stored)
    backlog.lose("shard-0", living_run_id="new")
    for frame in (stored, lost):
        backlog.remains(frame, now_ms=200)
    assert (backlog.in_flight, backlog.next(2)) == (0, [lost])


def test_age_is_that_of_the_oldest_frame_that_is_not_stored() -> None:
    """Frames of several segments, stored in any order."""
    backlog = backlog_of([5000, 6000])
    backlog.note(SegmentId(2, 0), [(4096, 5000)], True, since_s=40)
    assert backlog.oldest_s() == 40
    backlog.acknowledge(FrameId(SegmentId(2, 0), 4096, 5000))
    backlog.acknowledge(FrameId(SEGMENT, 5000, 6000))
    assert backlog.oldest_s() == 50
    backlog.forget(SEGMENT)
    assert (backlog.oldest_s(), backlog.bytes) == (None, 0)


class Oracle(RuleBasedStateMachine):
    """The same as a plain dictionary of frames."""

    def __init__(self) -> None:
        super().__init__()
        self.backlog = Backlog(in_flight_max=5, ack_timeout_ms=100)
        self.states: dict[FrameId, State] = {}
        self.places: dict[FrameId, Place] = {}
        self.closed: set[SegmentId] = set()
        self.vanished: dict[FrameId, int] = {}

    @rule(writer=st.integers(1, 3), sizes=st.lists(st.integers(1, 9), max_size=4), is_closed=st.booleans())
    def note(self, writer: int, sizes: list[int], is_closed: bool) -> None:
        segment = SegmentId(writer, 0)
        if segment in self.closed:
            return
        at = max((frame.end for frame in self.states if frame.segment == segment), default=4096)
        new = []
        for size in sizes:
            new.append((at, at + size))
            self.states[FrameId(segment, at, at + size)] = State.WAITING
            at += size
        self.backlog.note(segment, new, is_closed, since_s=0)
        if is_closed:
            self.closed.add(segment)

    @rule(limit=st.integers(1, 6), shard=st.sampled_from("ab"), run=st.sampled_from("12"))
    def send(self, limit: int, shard: str, run: str) -> None:
        frames = self.backlog.next(limit)
        waiting = [frame for frame, state in self.states.items() if state == State.WAITING]
        assert len(set(frames)) == len(frames) == min(limit, len(waiting), 5 - self.in_flight())
        for frame in frames:
            assert self.states[frame] == State.WAITING
            self.backlog.sent(frame, Place(shard, run), b"1-0", now_ms=0)
            self.states[frame] = State.IN_FLIGHT
            self.places[frame] = Place(shard, run)

    @precondition(lambda self: self.states)
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        frame = data.draw(st.sampled_from(list(self.states)))
        assert self.backlog.acknowledge(frame) == (self.states[frame] != State.STORED)
        self.states[frame] = State.STORED

    @precondition(lambda self: self.in_flight())
    @rule(data=st.data())
    def vanish(self, data: st.DataObject) -> None:
        frame = data.draw(st.sampled_from([f for f, state in self.states.items() if state == State.IN_FLIGHT]))
        self.vanished[frame] = self.vanished.get(frame, 0) + 1
        self.states[frame] = State.REFUSED if self.vanished[frame] == VANISHED_MAX else State.WAITING
        assert self.backlog.vanished(frame) == self.states[frame]

    @rule(shard=st.sampled_from("ab"), run=st.sampled_from(["", "1", "2"]))
    def lose(self, shard: str, run: str) -> None:
        lost = [
            frame
            for frame, state in self.states.items()
            if state == State.IN_FLIGHT and self.places[frame].shard_id == shard and self.places[frame].run_id != run
        ]
        assert self.backlog.lose(shard, run) == len(lost)
        self.states |= dict.fromkeys(lost, State.WAITING)

    @rule()
    def settle(self) -> None:
        for segment, is_stored in self.backlog.settled():
            mine = {frame: state for frame, state in self.states.items() if frame.segment == segment}
            assert segment in self.closed
            assert set(mine.values()) <= {State.STORED, State.REFUSED}
            assert is_stored == (State.REFUSED not in mine.values())
            self.backlog.forget(segment)
            self.closed.discard(segment)
            for frame in mine:
                del self.states[frame]
                self.vanished.pop(frame, None)

    @invariant()
    def same(self) -> None:
        assert self.backlog.in_flight == self.in_flight()
        assert self.backlog.bytes == sum(
            frame.end - frame.start for frame, state in self.states.items() if state != State.STORED
        )
        whole = {
            segment
            for segment in self.closed
            if all(s in (State.STORED, State.REFUSED) for f, s in self.states.items() if f.segment == segment)
        }
        assert {segment for segment, _ in self.backlog.settled()} == whole

    def in_flight(self) -> int:
        return sum(state == State.IN_FLIGHT for state in self.states.values())


Oracle.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


TestBacklogAgainstOracle = Oracle.TestCase
