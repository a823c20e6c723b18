"""The operator's database of places, followed while it is replaced.

A mapped file that somebody cuts or rewrites in place kills the process that reads it (SIGBUS), or answers from halves
of two databases; one that is damaged may do either. So what is mapped is a copy of our own, in a file without a name in
the directory for temporary files, which another process has read through (`geo_check`):

    look ──another file, or changed──▶ settle ──2 s unchanged──▶ copy ──end reached──▶ check ──still unchanged──▶ in use
      ▲                                   │ changed again: from the start                                │ bad
      └───────────────────────────────────┴──────────────────────────── say so once, keep the old one ◀──┘

Each `step` does a bounded part of it, between two batches.
"""

import os
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from control.clicks.places import Places
from control.log import Logger

# Writers that rewrite a file in place pause for less: one that is not written to for so long is whole, or stays broken.
SETTLE_S: Final = 2.0
# A copy fails for lack of disk, too, which passes without the file changing.
RETRY_S: Final = 60.0
# About 5 ms: what a batch may wait for.
CHUNK_BYTES: Final = 4 * 2**20
# Some times the largest that is sold; a mistaken path must not fill the disk.
FILE_BYTES_MAX: Final = 2 * 2**30

# The largest that is sold takes a quarter of a minute.
CHECK_S: Final = 300.0
REASON_BYTES_MAX: Final = 4096

# Device, inode, size, and the instant of the last change.
Signature = tuple[int, int, int, int]
Clock = Callable[[], float]


class GeoFile:
    """`places` is what is in use, None while there is nothing; `refusals` counts files that were not taken."""

    def __init__(self, path: Path | None, log: Logger, clock: Clock = time.monotonic) -> None:
        self.places: Places | None = None
        self.refusals = 0
        self._path = path
        self._log = log
        self._clock = clock
        # What was decided upon, and what is there now since when; a text is the reason why nothing can be seen.
        self._decided: Signature | str | None = None
        self._seen: Signature | str | None = None
        self._seen_at = 0.0
        self._again_at: float | None = None
        self._said = ""
        self._copy: _Copy | None = None

    def load(self) -> None:
        """Take the file as it is now, whole; for the start, when there is no older one to wait with."""
        if self._path is None:
            return
        self._watch(self._path, settle_s=0.0)
        while self._copy is not None:
            self._proceed(self._path, self._copy)
            self.wait()

    def wait(self) -> None:
        """Wait for the check, if one is under way."""
        if self._copy is not None:
            self._copy.wait()

    def step(self) -> bool:
        """Do the next part; whether `places` is another one since this call."""
        if self._path is None:
            return False
        places = self.places
        self._watch(self._path, settle_s=SETTLE_S)
        if self._copy is not None:
            self._proceed(self._path, self._copy)
        return self.places is not places

    def _watch(self, path: Path, settle_s: float) -> None:
        """Begin a copy, or drop the one that was begun, as the file demands."""
        now = self._clock()
        seen = _look(path)
        if seen != self._seen:
            self._seen, self._seen_at = seen, now
            self._drop_copy()
        if self._again_at is not None and now >= self._again_at:
            self._decided, self._again_at = None, None
        if seen == self._decided or self._copy is not None or now - self._seen_at < settle_s:
            return
        try:
            if isinstance(seen, str):
                raise OSError(seen)  # noqa: TRY301  (the reasons meet in one place)
            self._copy = _Copy(path, seen)
        except (OSError, ValueError) as error:
            self._refuse(error)

    def _proceed(self, path: Path, copy: "_Copy") -> None:
        try:
            if not copy.proceed(self._clock()):
                return
            if _look(path) != self._seen:
                self._drop_copy()
                return
            self.places = copy.open()
        except (OSError, ValueError) as error:
            self._refuse(error)
            return
        self._decided, self._again_at, self._said = self._seen, None, ""
        self._drop_copy()
        self._log.info("database of places loaded", file=str(path), type=self.places.kind, built_s=self.places.built_s)

    def _refuse(self, error: Exception) -> None:
        self._decided, self._again_at = self._seen, self._clock() + RETRY_S
        self._drop_copy()
        self.refusals += 1
        if str(error) != self._said:
            self._said = str(error)
            kept = "the one before stays in use" if self.places else "places are unknown"
            self._log.warning("database of places not loaded", file=str(self._path), reason=str(error), effect=kept)

    def _drop_copy(self) -> None:
        if self._copy is not None:
            self._copy.close()
            self._copy = None


class _Copy:
    """A copy under way, of a file whose signature is known."""

    def __init__(self, path: Path, signature: Signature) -> None:
        """Raises ValueError or OSError for what cannot be copied."""
        self._size = signature[2]
        if self._size > FILE_BYTES_MAX:
            raise ValueError(f"it has {self._size} bytes, {FILE_BYTES_MAX} can be held")
        self._source = path.open("rb", buffering=0)
        try:
            self._file: IO[bytes] = tempfile.TemporaryFile(prefix="pointsman-", buffering=0)  # noqa: SIM115  (`close`)
        except OSError:
            self._source.close()
            raise
        self._check: subprocess.Popen[bytes] | None = None
        self._check_until_s = 0.0

    def proceed(self, now_s: float) -> bool:
        """Copy one part, or look after the check; whether both are done. Raises ValueError and OSError."""
        if self._check is not None:
            return self._is_checked(self._check, now_s)
        chunk = self._source.read(CHUNK_BYTES)
        if self._file.write(chunk) != len(chunk):
            raise OSError("no room for a copy of it in the directory for temporary files")
        if not chunk:
            self._check, self._check_until_s = self._begin_check(), now_s + CHECK_S
        return False

    def wait(self) -> None:
        """Until the check has ended, if there is one, or has had its time."""
        if self._check is not None:
            with suppress(subprocess.TimeoutExpired):
                self._check.wait(CHECK_S)

    def _begin_check(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "control.clicks.geo_check", self._name]
        return subprocess.Popen(  # noqa: S603  (our own module)
            command, pass_fds=(self._file.fileno(),), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
        )

    def _is_checked(self, check: "subprocess.Popen[bytes]", now_s: float) -> bool:
        code = check.poll()
        if code is None and now_s < self._check_until_s:
            return False
        if code is None:
            raise ValueError(f"reading it took longer than {CHECK_S:.0f} seconds")
        if code < 0:
            raise ValueError(f"it is damaged: reading it ended the reader with signal {-code}")
        if code > 0:
            assert check.stderr is not None  # it is a pipe
            reason = check.stderr.read(REASON_BYTES_MAX).decode("utf-8", "replace").strip().splitlines()
            raise ValueError(reason[-1] if reason else "it cannot be read")
        return True

    @property
    def _name(self) -> str:
        return f"/proc/self/fd/{self._file.fileno()}"

    def open(self) -> Places:
        """The database in the copy, which is there as long as it is mapped."""
        if os.fstat(self._file.fileno()).st_size != self._size:
            raise ValueError("it changed while it was copied")
        return Places(Path(self._name))

    def close(self) -> None:
        """What was not opened is gone."""
        if self._check is not None:
            self._check.kill()
            self._check.wait()
            assert self._check.stderr is not None  # it is a pipe
            self._check.stderr.close()
        self._source.close()
        self._file.close()


def _look(path: Path) -> Signature | str:
    try:
        found = path.stat()
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    if not stat.S_ISREG(found.st_mode):
        return "it is not a file"  # a pipe would be waited for
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
