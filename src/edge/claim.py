"""The lock by which one process ships the clicks of a directory, and no other."""

import contextlib
import errno
import fcntl
import os
from pathlib import Path
from typing import Final

from edge.ledger import MODE

NAME: Final = "lock"
PID_BYTES_MAX: Final = 20


class Claim:
    """The kernel gives it back when the process ends, however that is."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / NAME
        self._descriptor = -1

    def take(self) -> bool:
        """Whether this process has the directory now; raises FileNotFoundError if there is none, and other OSErrors."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN):
                return False
            raise
        self._descriptor = descriptor
        # On a full disk there may be no room even for this, and shipping is what makes some.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, b"%d" % os.getpid(), 0)
        return True

    def holder(self) -> str:
        """The pid of whoever has it, for people."""
        return self._path.read_bytes()[:PID_BYTES_MAX].decode("ascii", "replace")

    def release(self) -> None:
        """Let another process have it. The file stays: who waits for it has it open."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
