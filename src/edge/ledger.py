"""The ledger of one writer: what its clicks came to, in a mapped page that outlives the process.

A writer is one life of one worker's process. It holds an exclusive lock on its ledger for as long as it lives: whoever
gets that lock knows that the writer is dead, however it ended.
"""

import errno
import fcntl
import mmap
import os
import secrets
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from edge._segment import LEDGER_BYTES, LedgerMap
from wire.errors import FormatError
from wire.report import Report

SUFFIX: Final = ".ledger"
MAGIC_BYTES: Final = 8
BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
MODE: Final = 0o600  # addresses and referrers are nobody else's business


class Ledger:
    """One writer's ledger, as its writer has it or as it is read. `books` are its numbers."""

    def __init__(self, descriptor: int, mapping: mmap.mmap, books: LedgerMap) -> None:
        self._descriptor = descriptor
        self._mapping = mapping
        self.books = books

    @classmethod
    def create(cls, directory: Path, edge_id: str, started_ms: int) -> Self:
        """A new writer's, locked until it is closed and on the disk; raises OSError."""
        while True:
            writer = secrets.randbits(63) or 1
            made = cls._create(path_of(directory, writer), writer, edge_id, started_ms)
            if made is not None:
                return made

    @classmethod
    def _create(cls, path: Path, writer: int, edge_id: str, started_ms: int) -> Self | None:
        """None if somebody swept the file away before it was locked; see `sweep`."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink == 0:
                os.close(descriptor)
                return None
            os.posix_fallocate(descriptor, 0, LEDGER_BYTES)
            mapping = mmap.mmap(descriptor, LEDGER_BYTES)
            books = LedgerMap.format(mapping, writer, edge_id, started_ms, boot())
            os.fsync(descriptor)
            sync_directory(path.parent)
        except BaseException:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            raise
        return cls(descriptor, mapping, books)

    @classmethod
    def open(cls, path: Path, *, is_writable: bool = False) -> Self:
        """Any writer's; raises OSError, or FormatError for what this build cannot read.

        To be written by somebody else its writer must be dead, which only its lock tells: BlockingIOError if it lives.
        """
        descriptor = os.open(path, (os.O_RDWR if is_writable else os.O_RDONLY) | os.O_CLOEXEC)
        try:
            if is_writable:
                _take(descriptor, path)
            _check_size(descriptor)
            access = mmap.ACCESS_WRITE if is_writable else mmap.ACCESS_READ
            mapping = mmap.mmap(descriptor, LEDGER_BYTES, access=access)
            return cls(descriptor, mapping, LedgerMap(mapping, is_writable))
        except BaseException:
            _release(descriptor)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def writer(self) -> int:
        """The number that the writer has chosen."""
        return self.books.writer

    def report(self, at_ms: int, *, is_final: bool = False) -> Report:
        """What the writer has served; exact for a dead one once it is recovered (`segment.recover`)."""
        recorded, unknown_recorded, dropped, unknown_dropped = self.books.read()
        return Report(
            edge_id=self.books.edge_id,
            writer=self.books.writer,
            started_ms=self.books.started_ms,
            at_ms=at_ms,
            served=recorded + sum(dropped.values()),
            recorded=recorded,
            dropped=dropped,
            unknown_recorded=unknown_recorded,
            unknown_dropped=unknown_dropped,
            is_final=is_final,
        )

    def sync(self) -> None:
        """Have the disk hold it; raises OSError."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Let it go, and with it the writer's lock."""
        if self._descriptor >= 0:
            _release(self._descriptor)
            self._descriptor = -1


def path_of(directory: Path, writer: int) -> Path:
    """Where a writer's ledger is."""
    return directory / f"{writer:016x}{SUFFIX}"


def writers(directory: Path) -> list[int]:
    """The writers that have a ledger in the directory."""
    return sorted(int(path.stem, 16) for path in directory.glob(f"{'[0-9a-f]' * 16}{SUFFIX}"))


def _check_size(descriptor: int) -> None:
    if os.fstat(descriptor).st_size < LEDGER_BYTES:
        raise FormatError("truncated", "the ledger has not even its first page")


def is_alive(path: Path) -> bool:
    """Whether the ledger's writer lives; raises OSError, FileNotFoundError among others."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return not _lock(descriptor)
    finally:
        os.close(descriptor)


def sweep(path: Path) -> bool:
    """Delete a ledger that its writer never began to use, having died just then; whether it was one.

    A writer 1. makes the file, 2. locks it, 3. writes its page, the magic last. Between 1 and 2 it may find the file
    gone, and makes another.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if not _lock(descriptor) or any(os.pread(descriptor, MAGIC_BYTES, 0)):
            return False
        path.unlink(missing_ok=True)
        return True
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Whether nobody else holds the lock. A lock on a file that is open for reading only is as good."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN):
            return False
        raise
    return True


def _take(descriptor: int, path: Path) -> None:
    if not _lock(descriptor):
        raise BlockingIOError(errno.EWOULDBLOCK, "its writer lives", str(path))


def _release(descriptor: int) -> None:
    # Not just closed: the mapping has a descriptor of its own, which holds the lock too.
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


def boot() -> bytes:
    """What this boot of the machine is known by."""
    return bytes.fromhex(BOOT.read_text(encoding="ascii").strip().replace("-", ""))


def sync_directory(directory: Path) -> None:
    """Have the disk hold the names of a directory's files; raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
