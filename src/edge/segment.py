"""Segments on disk: how a writer makes them, how they are read, and how those of a dead writer are recovered.

    <state_dir>/clicks/   <writer>.ledger             a writer's counts, and the lock by which it is known to live
                          <writer>-<number>.segment   clicks; deleted once all frames of a closed one are stored
                          <…>.segment.aside           what cannot be shipped, until a person has looked at it
                          space                       locked while somebody takes room

A reader sees the sealed frames of any segment, also of one that is being written.
"""

import errno
import fcntl
import mmap
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from edge import ledger
from edge._segment import SegmentMap
from edge.ledger import Ledger
from wire.errors import FormatError

DIRECTORY: Final = "clicks"
DIRECTORY_MODE: Final = 0o700
SUFFIX: Final = ".segment"
ASIDE: Final = ".aside"
SPACE: Final = "space"


class BacklogFullError(OSError):
    """Another segment would take the directory beyond its bound."""

    def __init__(self, used: int, bound: int) -> None:
        super().__init__(errno.EDQUOT, f"{used} bytes of clicks wait to be stored, {bound} may")


@dataclass(frozen=True, slots=True)
class Room:
    """A directory of segments, the bytes that all of them may have, and the size of a new one."""

    directory: Path
    bytes_max: int
    segment_bytes: int


class Segment:
    """A segment that is read."""

    def __init__(self, path: Path, mapped: SegmentMap) -> None:
        self.path = path
        self._mapped = mapped

    @classmethod
    def open(cls, path: Path, *, is_writable: bool = False) -> Self:
        """Raises OSError, or FormatError for what this build cannot read."""
        access = mmap.ACCESS_WRITE if is_writable else mmap.ACCESS_READ
        with path.open("r+b" if is_writable else "rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise FormatError("truncated", "an empty file is no segment")
            return cls(path, SegmentMap(mmap.mmap(file.fileno(), 0, access=access), is_writable))

    @property
    def writer(self) -> int:
        """The number that its writer has chosen."""
        return self._mapped.writer

    @property
    def number(self) -> int:
        """Its number among the writer's."""
        return self._mapped.number

    @property
    def edge_id(self) -> str:
        """The edge that wrote it."""
        return self._mapped.edge_id

    @property
    def created_ms(self) -> int:
        """When its first click came, milliseconds since 1970 UTC; fixed once a frame is sealed."""
        return self._mapped.created_ms

    @property
    def is_closed(self) -> bool:
        """Whether no further frame will come."""
        return self._mapped.is_closed

    def frames(self, first: int = 0) -> list[tuple[int, int]]:
        """Start and end of each sealed frame from number `first` on.

        They never change; more may come until it is closed. Read `is_closed` before: then these are all.
        """
        return self._mapped.frames(first)

    def body(self, start: int, end: int) -> bytes:
        """The bytes of a frame, for wire.frame."""
        return self._mapped.body(start, end)

    @property
    def used(self) -> int:
        """Bytes of its file that are needed: all of them until it is closed."""
        return self._mapped.used

    def recover(self, books: Ledger) -> None:
        """Make the segment of a dead writer whole: seal what is whole, count it in the ledger, close."""
        noted = self._mapped.noted
        found = self._mapped.repair()
        books.books.settle(self.number, found, noted)
        self._mapped.close()


def directory_of(state_dir: str) -> Path:
    """Where the clicks of an edge are."""
    return Path(state_dir) / DIRECTORY


def path_of(directory: Path, writer: int, number: int) -> Path:
    """Where a segment is."""
    return directory / f"{writer:016x}-{number:06d}{SUFFIX}"


def numbers(directory: Path, writer: int) -> list[int]:
    """The numbers of a writer's segments, in order."""
    names = (path.stem[17:] for path in directory.glob(f"{writer:016x}-*{SUFFIX}"))
    return sorted(int(name) for name in names if name.isdecimal())


def used_bytes(directory: Path) -> int:
    """What all segments of a directory take, with those that were set aside; raises OSError."""
    total = 0
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.endswith((SUFFIX, SUFFIX + ASIDE)):
                try:
                    total += entry.stat().st_size
                except FileNotFoundError:  # stored and deleted meanwhile
                    continue
    return total


def create(room: Room, writer: int, number: int, edge_id: str) -> SegmentMap:
    """A new segment with all its blocks; raises BacklogFullError, or another OSError.

    Called in a thread: each step may wait for the disk. Without its blocks it could not be written through a mapping: a
    hole that the disk cannot fill kills the process.
    """
    with (room.directory / SPACE).open("ab") as space:
        fcntl.flock(space.fileno(), fcntl.LOCK_EX)
        used = used_bytes(room.directory)
        if used + room.segment_bytes > room.bytes_max:
            raise BacklogFullError(used, room.bytes_max)
        return _allocate(path_of(room.directory, writer, number), room.segment_bytes, writer, number, edge_id)


def _allocate(path: Path, size: int, writer: int, number: int, edge_id: str) -> SegmentMap:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, ledger.MODE)
    try:
        os.posix_fallocate(descriptor, 0, size)
        return SegmentMap.format(mmap.mmap(descriptor, size), writer, number, edge_id)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def cut(path: Path) -> None:
    """Give back what a closed segment does not use; raises OSError.

    Only for a segment to which nobody appends through a mapping. Its readers look at frames, which stay. A quiet edge
    closes a segment a minute: whole ones would fill the backlog with nothing within the hour.
    """
    try:
        segment = Segment.open(path)
        if segment.is_closed:
            os.truncate(path, segment.used)
    except (FileNotFoundError, FormatError):  # stored and deleted; or spoilt, which whoever ships it will say
        return


def sync(path: Path) -> None:
    """Have the disk hold what was written to a segment; one that is stored and deleted has nothing to hold."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def recover(directory: Path, books: Ledger) -> None:
    """Make all that a dead writer left whole; the counts of its ledger, opened to be written, are exact then.

    May be broken off and begun again. What a process wrote survives its death, so only what was not closed is looked
    at, unless the machine was started anew since. Raises OSError and FormatError.
    """
    is_same_boot = books.books.boot == ledger.boot()
    present = set(numbers(directory, books.writer))
    for number in sorted(present | {books.books.segment}):
        if number in present:
            _recover(path_of(directory, books.writer, number), books, is_same_boot)
        else:
            books.books.settle(number, (0, 0), (0, 0))


def _recover(path: Path, books: Ledger, is_same_boot: bool) -> None:
    segment = Segment.open(path, is_writable=True)
    if not (segment.is_closed and is_same_boot):
        segment.recover(books)
    cut(path)
