"""Segments and ledgers: what a dead writer left is made whole, and its books are right, whatever it was doing."""

import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge import ledger, segment
from edge._clicklog import ClickLog
from edge._counters import BLOCK_BYTES, Counters
from edge.config import EdgeConfig
from edge.ledger import Ledger
from edge.segment import BacklogFullError, Room, Segment, cut
from tests.edge.clickbook import clicks_of
from wire.click import Click
from wire.errors import FormatError
from wire.report import Report

SEGMENT_BYTES = 65_536
HEAD = b"GET /code%d HTTP/1.1\r\nHost: sho.rt\r\nUser-Agent: agent-%d\r\n\r\n"
PAGE = 4096


class Author:
    """A writer in this process, whose files can be taken as they are at any instant."""

    def __init__(self, directory: Path, segments: int = 2) -> None:
        self.room = Room(directory, 2**30, SEGMENT_BYTES)
        self.ledger = Ledger.create(directory, "edge-1", 1000)
        self.clicks = ClickLog(Counters(bytearray(BLOCK_BYTES), 0), EdgeConfig(seeds=()))
        self.clicks.open(self.ledger.books)
        self.clicks.tend(0, 5000)
        self.next = 0
        for _ in range(segments):
            self.supply()

    def supply(self) -> None:
        """Give the log another segment."""
        self.clicks.supply(segment.create(self.room, self.ledger.writer, self.next, "edge-1"))
        self.next += 1

    def record(self, count: int, link_id: int = 7, agents: int = 5) -> None:
        """So many clicks, at the instant 1 of its clock."""
        for number in range(count):
            self.clicks.record(HEAD % (number, number % agents), "192.0.2.1", link_id, 1, 302 if link_id else 404, 1)

    def seal(self) -> None:
        """Seal by age, some seconds later."""
        self.clicks.tend(5000, 10_000)

    def path(self, number: int) -> Path:
        """Where a segment is."""
        return segment.path_of(self.room.directory, self.ledger.writer, number)

    def die(self, to: Path) -> Path:
        """The directory as a SIGKILL would leave it at this instant, elsewhere; nobody holds its lock."""
        shutil.copytree(self.room.directory, to)
        return to


@pytest.fixture
def author(tmp_path: Path) -> Iterator[Author]:
    """A writer with a segment and a spare."""
    (tmp_path / "clicks").mkdir()
    made = Author(tmp_path / "clicks")
    yield made
    made.clicks.close()
    made.ledger.close()


def recovered(directory: Path) -> Report:
    """The final report of the one writer of a directory, which is dead."""
    (writer,) = ledger.writers(directory)
    with Ledger.open(ledger.path_of(directory, writer), is_writable=True) as books:
        segment.recover(directory, books)
        return books.report(0, is_final=True)


def stored(directory: Path) -> list[Click]:
    """The clicks in all sealed frames of the one writer of a directory."""
    (writer,) = ledger.writers(directory)
    paths = [segment.path_of(directory, writer, number) for number in segment.numbers(directory, writer)]
    return [click for path in paths for click in clicks_of(Segment.open(path))]


def move_to_another_boot(directory: Path) -> None:
    """As if the machine had been started anew since."""
    (path,) = directory.glob("*.ledger")
    data = bytearray(path.read_bytes())
    data[24:40] = bytes(16)
    path.write_bytes(data)


# ---- while the writer lives


def test_sealed_frames_can_be_read_while_more_is_written(author: Author) -> None:
    """They stay as they were, and each can be read alone."""
    author.record(10)
    read = Segment.open(author.path(0))
    assert read.frames() == []
    author.seal()
    (first,) = read.frames()
    assert first[0] == PAGE
    author.record(10)
    author.seal()
    assert read.frames()[0] == first
    assert read.frames(1) == [(first[1], read.frames()[1][1])]
    assert len(clicks_of(read)) == 20
    assert (read.number, read.edge_id, read.created_ms, read.is_closed) == (0, "edge-1", 5001, False)


def test_a_text_is_written_once_in_a_frame(author: Author) -> None:
    """And again in the next one."""
    author.record(1, agents=1)
    author.seal()
    author.record(1, agents=1)
    author.record(9, agents=1)
    author.seal()
    one, ten = (end - start for start, end in Segment.open(author.path(0)).frames())
    assert ten - one == 9 * 44


def test_full_frames_and_segments_are_followed_by_others(author: Author) -> None:
    """The one under way is closed, and the spare begun, without a timer; its clicks are counted where they belong."""
    author.record(2500)
    assert Segment.open(author.path(0)).is_closed
    assert not Segment.open(author.path(1)).is_closed
    assert author.clicks.segment == 1
    author.clicks.close()
    assert len(stored(author.room.directory)) == author.ledger.report(0).recorded == 2500


def test_closed_segment_is_cut_to_what_it_uses(author: Author) -> None:
    """Its frames stay; one that is under way keeps all its bytes, and may be cut at any time without harm."""
    author.record(10)
    path = author.path(0)
    whole = path.stat().st_size
    cut(path)
    assert path.stat().st_size == whole
    author.clicks.close()
    assert author.clicks.take_retired() == [0]
    cut(path)
    cut(path)
    (frame,) = Segment.open(path).frames()
    assert path.stat().st_size == frame[1] < whole
    assert len(stored(author.room.directory)) == 10
    path.unlink()
    cut(path)


def test_old_segment_is_ended_by_its_age(author: Author) -> None:
    """After a minute, but only if it holds clicks: so that what is shipped can be deleted."""
    author.clicks.tend(70_000, 75_000)
    assert author.clicks.segment == 0
    author.record(1)
    author.clicks.tend(60_000, 65_000)
    assert author.clicks.segment == 0
    author.clicks.tend(60_001, 65_001)
    assert author.clicks.segment == 1
    assert Segment.open(author.path(0)).is_closed


def test_full_table_of_frames_ends_a_segment(author: Author) -> None:
    """However small its frames were."""
    for _ in range(960):
        author.clicks.record(b"GET /code HTTP/1.0\r\n\r\n", None, 7, 1, 302, 1)
        author.seal()
    assert author.clicks.segment == 1
    assert len(clicks_of(Segment.open(author.path(0)))) == 960


def test_without_a_segment_clicks_are_dropped_and_counted(author: Author) -> None:
    """By the reason that was given last; what came before is kept, and goes on with the next segment."""
    author.clicks.refuse("disk_full")
    author.record(5000)
    author.record(10, link_id=0)
    report = author.ledger.report(0)
    assert report.recorded + report.dropped["disk_full"] == report.served == 5000
    assert report.dropped["disk_full"] > 1000
    assert report.unknown_dropped == 10
    author.supply()
    author.record(1)
    author.clicks.close()
    assert len(stored(author.room.directory)) == author.ledger.report(0).recorded == report.recorded + 1


def test_drops_before_there_is_a_ledger_are_in_it_later(tmp_path: Path) -> None:
    """A worker that begins on a disk that is full has recorded nothing and says so."""
    clicks = ClickLog(Counters(bytearray(BLOCK_BYTES), 0), EdgeConfig(seeds=()))
    clicks.record(HEAD % (1, 1), None, 7, 1, 302, 1)
    with Ledger.create(tmp_path, "edge-1", 1000) as books:
        clicks.open(books.books)
        clicks.record(HEAD % (1, 1), None, 7, 1, 302, 1)
        report = books.report(0)
        assert (report.served, report.recorded, report.dropped["no_segment"]) == (2, 0, 2)
        clicks.close()


def test_unknown_codes_are_dropped_first(author: Author) -> None:
    """While the backlog is more than half full, links go on."""
    author.clicks.is_crowded = True
    author.record(3)
    author.record(4, link_id=0)
    report = author.ledger.report(0)
    assert (report.recorded, report.unknown_recorded, report.unknown_dropped) == (3, 0, 4)


# ---- room


def test_directory_has_a_bound(tmp_path: Path) -> None:
    """Of all writers together; what is deleted makes room, and what is set aside does not."""
    room = Room(tmp_path, 3 * SEGMENT_BYTES, SEGMENT_BYTES)
    for number in range(3):
        segment.create(room, number, 0, "edge-1")
    assert segment.used_bytes(tmp_path) == 3 * SEGMENT_BYTES
    with pytest.raises(BacklogFullError, match="196608 bytes of clicks wait to be stored"):
        segment.create(room, 9, 0, "edge-1")
    assert segment.numbers(tmp_path, 9) == []
    path = segment.path_of(tmp_path, 1, 0)
    aside = path.rename(path.with_name(path.name + segment.ASIDE))
    with pytest.raises(BacklogFullError):
        segment.create(room, 9, 0, "edge-1")
    aside.unlink()
    segment.create(room, 9, 0, "edge-1")


def test_segment_that_the_disk_cannot_hold_leaves_nothing(tmp_path: Path) -> None:
    """All its blocks or none: a hole would end the process later."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SEGMENT_BYTES // 2, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            segment.create(Room(tmp_path, 2**30, SEGMENT_BYTES), 9, 0, "edge-1")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert segment.numbers(tmp_path, 9) == []


def test_segment_has_all_its_blocks(tmp_path: Path) -> None:
    """Before it is used."""
    segment.create(Room(tmp_path, 2**30, SEGMENT_BYTES), 9, 0, "edge-1")
    assert segment.path_of(tmp_path, 9, 0).stat().st_blocks * 512 >= SEGMENT_BYTES


# ---- the lock


def test_writer_lives_as_long_as_it_holds_its_ledger(author: Author) -> None:
    """Whoever asks does not disturb it."""
    path = ledger.path_of(author.room.directory, author.ledger.writer)
    assert ledger.is_alive(path)
    assert ledger.is_alive(path)
    author.ledger.close()
    assert not ledger.is_alive(path)


def test_ledger_that_was_never_begun_is_swept(tmp_path: Path, author: Author) -> None:
    """Its writer died between two steps; one that holds its lock or wrote its page is left."""
    path = tmp_path / "clicks" / f"{5:016x}.ledger"
    path.touch()
    assert ledger.sweep(path)
    assert not path.exists()
    used = ledger.path_of(author.room.directory, author.ledger.writer)
    assert not ledger.sweep(used)
    author.ledger.close()
    assert not ledger.sweep(used)


def test_ledger_of_a_living_writer_is_not_written_by_others(author: Author) -> None:
    """Who thinks that a writer is dead finds out by its lock, and changes nothing."""
    path = ledger.path_of(author.room.directory, author.ledger.writer)
    with pytest.raises(BlockingIOError, match="its writer lives"):
        Ledger.open(path, is_writable=True)
    author.record(3)
    assert author.ledger.report(0).recorded == 3
    assert ledger.is_alive(path)
    author.ledger.close()
    with Ledger.open(path, is_writable=True) as books:
        assert ledger.is_alive(path)
        assert books.report(0).recorded == 3
    assert not ledger.is_alive(path)


def test_ledger_that_cannot_be_read_is_left_unlocked(tmp_path: Path) -> None:
    """Though what was wrong with it is still being looked at."""
    path = tmp_path / f"{5:016x}.ledger"
    path.write_bytes(b"no ledger" * 1000)
    with pytest.raises(FormatError) as caught:
        Ledger.open(path, is_writable=True)
    assert caught.value.__traceback__ is not None
    assert not ledger.is_alive(path)


# ---- recovery


def test_killed_writer_loses_nothing(author: Author, tmp_path: Path) -> None:
    """What was recorded is sealed, as it stands; the spare is closed; a second recovery changes nothing."""
    author.record(2500)
    author.record(30, link_id=0)
    dead = author.die(tmp_path / "dead")
    for _ in range(2):
        report = recovered(dead)
        assert (report.served, report.recorded, report.unknown_recorded, sum(report.dropped.values())) == (
            2500,
            2500,
            30,
            0,
        )
        clicks = stored(dead)
        assert [click.link_id for click in clicks] == [7] * 2500 + [0] * 30
        paths = [segment.path_of(dead, author.ledger.writer, number) for number in (0, 1)]
        assert all(Segment.open(path).is_closed for path in paths)


def test_books_of_a_writer_killed_between_click_and_count_are_right(author: Author, tmp_path: Path) -> None:
    """1. A click is published; 2. the writer is killed; 3. it was not counted. It is there, and so it counts."""
    author.record(3)
    dead = author.die(tmp_path / "dead")
    (path,) = dead.glob("*.ledger")
    data = bytearray(path.read_bytes())
    assert data[280:288] == (3).to_bytes(8, "little")
    data[280:288] = (2).to_bytes(8, "little")
    path.write_bytes(data)
    report = recovered(dead)
    assert (report.served, report.recorded, report.dropped["torn"]) == (3, 3, 0)


@pytest.mark.parametrize("is_turned", [False, True])
def test_writer_killed_while_it_ends_a_segment_counts_it_once(author: Author, tmp_path: Path, is_turned: bool) -> None:
    """Before or after its ledger has turned to the next segment."""
    author.record(900)
    before = author.die(tmp_path / "before")
    while author.clicks.segment == 0:
        author.record(1)
    served = author.ledger.report(0).served
    after = author.die(tmp_path / "after")
    first = segment.path_of(after, author.ledger.writer, 0)
    data = bytearray(first.read_bytes())
    data[48:52] = bytes(4)  # is_closed
    first.write_bytes(data)
    if not is_turned:
        (path,) = after.glob("*.ledger")
        shutil.copyfile(next(before.glob("*.ledger")), path)
    report = recovered(after)
    assert (report.served, report.recorded) == (served, served)
    assert len(stored(after)) == served


def test_recovery_that_is_broken_off_can_be_begun_again(author: Author, tmp_path: Path) -> None:
    """After each of its steps: the segment repaired, the ledger settled."""
    author.record(100)
    for steps in range(3):
        dead = author.die(tmp_path / f"dead-{steps}")
        writer = author.ledger.writer
        path = segment.path_of(dead, writer, 0)
        with Ledger.open(ledger.path_of(dead, writer), is_writable=True) as books:
            if steps > 0:
                mapped = Segment.open(path, is_writable=True)._mapped
                found = mapped.repair()
                if steps > 1:
                    books.books.settle(0, found, (0, 0))
        report = recovered(dead)
        assert (report.recorded, len(stored(dead))) == (100, 100)


def test_frames_that_were_sealed_stay_as_they_were(author: Author, tmp_path: Path) -> None:
    """They may have been sent."""
    author.record(10)
    author.seal()
    author.record(10)
    dead = author.die(tmp_path / "dead")
    before = Segment.open(author.path(0))
    (first,) = before.frames()
    recovered(dead)
    after = Segment.open(segment.path_of(dead, author.ledger.writer, 0))
    assert after.frames()[0] == first
    assert after.body(*first) == before.body(*first)
    assert len(after.frames()) == 2


def test_lost_seals_are_found_again_where_they_were(author: Author, tmp_path: Path) -> None:
    """A power cut took the segment's first page, but not the frames, which may have been sent: items know their own."""
    for _ in range(5):
        author.record(10)
        author.seal()
    author.record(10)
    dead = author.die(tmp_path / "dead")
    path = segment.path_of(dead, author.ledger.writer, 0)
    data = bytearray(path.read_bytes())
    data[48:56] = bytes(8)
    data[256:PAGE] = bytes(PAGE - 256)
    path.write_bytes(data)
    move_to_another_boot(dead)
    sealed = Segment.open(author.path(0)).frames()
    assert (recovered(dead).recorded, len(stored(dead))) == (60, 60)
    assert Segment.open(path).frames()[:5] == sealed


def test_lost_page_of_a_closed_segment_is_made_good(author: Author, tmp_path: Path) -> None:
    """A power cut took the page and some clicks of a segment, but the disk had the ledger that knows of its closing.

    When it was begun is known by its first click, and what is missing is torn, of links and of unknown codes.
    """
    author.record(100, link_id=0)
    while author.clicks.segment == 0:
        author.record(1)
    author.record(10)
    told = author.ledger.report(0)
    dead = author.die(tmp_path / "dead")
    path = segment.path_of(dead, author.ledger.writer, 0)
    begun_ms = Segment.open(path).created_ms
    data = bytearray(path.read_bytes())
    data[20:56] = SEGMENT_BYTES.to_bytes(4, "little") + bytes(32)
    data[256:PAGE] = bytes(PAGE - 256)
    data[PAGE + 3000 :] = bytes(len(data) - PAGE - 3000)
    path.write_bytes(data)
    move_to_another_boot(dead)
    report = recovered(dead)
    kept = stored(dead)
    unknown = sum(click.link_id == 0 for click in kept)
    assert 0 < unknown < 100
    assert (report.served, report.recorded, report.dropped["torn"]) == (told.served, 11, told.served - 11)
    assert (report.unknown_recorded, report.unknown_dropped) == (unknown, 100 - unknown)
    assert len(kept) == 11 + unknown
    assert Segment.open(path).created_ms == begun_ms > 0
    assert recovered(dead) == report


def test_seal_within_an_item_is_cut_and_its_clicks_are_counted_once(author: Author, tmp_path: Path) -> None:
    """A table that makes no sense is not believed; what it was about is found by the items."""
    author.record(10)
    author.seal()
    dead = author.die(tmp_path / "dead")
    path = segment.path_of(dead, author.ledger.writer, 0)
    ((_, end),) = Segment.open(path).frames()
    data = bytearray(path.read_bytes())
    data[256:260] = (end - 44 + 8).to_bytes(4, "little")
    path.write_bytes(data)
    assert (recovered(dead).recorded, len(stored(dead))) == (10, 10)


@pytest.mark.parametrize("end", [0, PAGE, PAGE + 2, SEGMENT_BYTES + 4, 2**32 - 4])
def test_table_of_frames_that_makes_no_sense_is_refused(author: Author, tmp_path: Path, end: int) -> None:
    """As a file that cannot be read: nobody sends what it says."""
    author.record(10)
    author.seal()
    path = author.die(tmp_path / "dead") / author.path(0).name
    data = bytearray(path.read_bytes())
    data[256:260] = end.to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(FormatError, match="frame 0 is from 4096 to"):
        Segment.open(path).frames()


@pytest.mark.parametrize("edge_id", [b"\0", b"\x65" + bytes(100), b"\x06edge-\xff"])
def test_edge_id_that_is_none_is_refused(author: Author, tmp_path: Path, edge_id: bytes) -> None:
    """Of a segment and of a ledger: with an error that says which file is spoilt."""
    dead = author.die(tmp_path / "dead")
    for path, at in ((dead / author.path(0).name, 56), (next(dead.glob("*.ledger")), 40)):
        data = bytearray(path.read_bytes())
        data[at : at + len(edge_id)] = edge_id
        path.write_bytes(data)
    with pytest.raises(FormatError, match="edge id"):
        Segment.open(dead / author.path(0).name)
    with pytest.raises(FormatError, match="edge id"):
        Ledger.open(next(dead.glob("*.ledger")))


@pytest.mark.parametrize("is_closed", [False, True])
def test_torn_sealed_frame_keeps_its_place_and_can_be_read(author: Author, tmp_path: Path, is_closed: bool) -> None:
    """Its whole clicks are there, the rest is filled with texts of nobody; what is missing is counted as torn."""
    author.record(100)
    author.seal()
    author.record(100)
    author.seal()
    if is_closed:
        author.clicks.close()
    dead = author.die(tmp_path / "dead")
    path = segment.path_of(dead, author.ledger.writer, 0)
    frames = Segment.open(path).frames()
    data = bytearray(path.read_bytes())
    data[frames[0][0] + 2000 : frames[0][1] - 100] = bytes(frames[0][1] - 100 - frames[0][0] - 2000)
    path.write_bytes(data)
    move_to_another_boot(dead)
    report = recovered(dead)
    assert Segment.open(path).frames() == frames
    clicks = stored(dead)
    assert 100 < len(clicks) < 200
    assert (report.served, report.recorded, report.dropped["torn"]) == (200, len(clicks), 200 - len(clicks))
    assert recovered(dead) == report


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Author, list[Click], int]]:
    """A writer with a sealed frame and an unsealed tail, the clicks of all, and where the tail begins."""
    directory = tmp_path_factory.mktemp("half") / "clicks"
    directory.mkdir()
    author = Author(directory, segments=1)
    author.record(20)
    author.seal()
    for number in range(40):
        author.record(1, link_id=number + 100, agents=number + 1)
    ((_, tail),) = Segment.open(author.path(0)).frames()
    dead = author.die(directory.parent / "whole")
    recovered(dead)
    yield author, stored(dead), tail
    author.clicks.close()
    author.ledger.close()


@given(
    damage=st.lists(
        st.tuples(st.integers(0, 2300), st.integers(1, 300), st.sampled_from([0, 1, 0x80, 0xFF])),
        min_size=1,
        max_size=3,
    )
)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_of_a_torn_tail_only_whole_items_survive(
    half: tuple[Author, list[Click], int], tmp_path_factory: pytest.TempPathFactory, damage: list[tuple[int, int, int]]
) -> None:
    """Whatever bytes are zero or flipped behind the last sealed frame, what is read is a prefix of what was written."""
    author, whole, tail = half
    dead = author.die(tmp_path_factory.mktemp("torn") / "clicks")
    path = segment.path_of(dead, author.ledger.writer, 0)
    data = bytearray(path.read_bytes())
    written = bytes(data)
    for offset, length, flip in damage:
        for at in range(tail + offset, tail + offset + length):
            data[at] = data[at] ^ flip if flip else 0
    path.write_bytes(data)
    touched = next((at for at, byte in enumerate(data) if byte != written[at]), len(data))
    report = recovered(dead)
    clicks = stored(dead)
    assert clicks == whole[: len(clicks)]
    assert len(clicks) >= 20
    assert report.recorded == len(clicks)
    assert report.served == 60
    assert report.dropped["torn"] == 60 - len(clicks)
    assert Segment.open(path).frames()[-1][1] <= touched or len(clicks) == 60


@pytest.mark.parametrize("size", [0, 100, 4096])
def test_files_that_are_none_of_ours_are_refused(tmp_path: Path, size: int) -> None:
    """An empty file, a piece of one, or zeros; and an unknown version."""
    path = tmp_path / "x.segment"
    path.write_bytes(bytes(size))
    for opened in (Segment.open, Ledger.open):
        with pytest.raises(FormatError):
            opened(path)


def test_unknown_version_is_refused(author: Author, tmp_path: Path) -> None:
    """Never guessed."""
    dead = author.die(tmp_path / "dead")
    for path in (*dead.glob("*.segment"), *dead.glob("*.ledger")):
        data = bytearray(path.read_bytes())
        data[7] = 2
        path.write_bytes(data)
    with pytest.raises(FormatError) as caught:
        Segment.open(segment.path_of(dead, author.ledger.writer, 0))
    assert caught.value.code == "version"
    with pytest.raises(FormatError) as caught:
        recovered(dead)
    assert caught.value.code == "version"
