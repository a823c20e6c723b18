"""The state directory: who runs in it (the lock), what is remembered (stack.json), what is shown (dev.json).

.pointsman/
  lock        held, by flock, by the launcher and by every server that it started
  stack.json  ports and secrets, kept over restarts
  dev.json    addresses, key and pids; there exactly while everything is ready
  postgres/   shard-0/ …   edge/   log/
"""

import fcntl
import os
import select
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from control.dev.ports import free_ports, is_free
from control.dev.postgres import new_password
from control.errors import Error

SHARDS: Final = ("shard-0", "shard-1", "shard-2")
# The servers of a launcher that was killed are told by the kernel and need some seconds to end in good order.
LEFTOVERS_TIMEOUT_S: Final = 20.0
LEFTOVERS_POLL_S: Final = 0.05


class Stack(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered between starts. `ports` has an entry for postgres and for each shard."""

    ports: dict[str, int]
    postgres_password: str
    edge_password: str
    api_key: str = ""

    def with_key(self, api_key: str) -> "Stack":
        """The same with another API key."""
        return msgspec.structs.replace(self, api_key=api_key)


class State:
    """A state directory that is locked by this process."""

    def __init__(self, directory: Path, lock: int) -> None:
        self.directory = directory
        self.lock = lock

    def log(self, name: str) -> Path:
        """The log of a program."""
        return self.directory / "log" / f"{name}.log"

    def recall(self) -> Stack:
        """What was remembered, with other ports where those were taken meanwhile; made anew at the first start."""
        file = self.directory / "stack.json"
        if file.exists():
            stack = msgspec.json.decode(file.read_bytes(), type=Stack)
        else:
            stack = Stack(ports={}, postgres_password=new_password(), edge_password=new_password())
        names = ("postgres", *SHARDS)
        kept = {name: stack.ports[name] for name in names if name in stack.ports and is_free(stack.ports[name])}
        missing = [name for name in names if name not in kept]
        return msgspec.structs.replace(stack, ports=kept | dict(zip(missing, free_ports(len(missing)), strict=True)))

    def remember(self, stack: Stack) -> None:
        """Keep `stack` for the next start."""
        _write(self.directory / "stack.json", msgspec.json.encode(stack))

    def publish(self, document: dict[str, Any]) -> None:
        """Write dev.json: everything is ready."""
        _write(self.directory / "dev.json", msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")

    def retract(self) -> None:
        """Remove dev.json."""
        with suppress(FileNotFoundError):
            (self.directory / "dev.json").unlink()


def claim(directory: Path, announce: Callable[[str], None]) -> State:
    """Lock the state directory; raises Error("already_running").

    The lock is inherited by the servers, so it also covers those whose launcher was killed: they are waited for.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if not _try_lock(lock):
        _check_holder(lock, directory)
        announce("waiting for the servers of a launcher that was killed to end")
        _await_lock(lock, directory)
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return State(directory, lock)


def _check_holder(lock: int, directory: Path) -> None:
    """Raise Error if the launcher that has written its pid into the lock is alive."""
    holder = os.pread(lock, 20, 0).decode().strip()
    if holder.isdigit() and Path("/proc", holder).exists():
        raise Error("already_running", f"it already runs in {directory} (process {holder}); nothing was started")


def _await_lock(lock: int, directory: Path) -> None:
    deadline = time.monotonic() + LEFTOVERS_TIMEOUT_S
    while not _try_lock(lock):
        _check_holder(lock, directory)  # another launcher may have been faster, or just not have written its pid yet
        if time.monotonic() > deadline:
            raise Error(
                "already_running",
                f"servers of an earlier start still run in {directory}; `fuser {directory / 'lock'}` shows them",
            )
        select.select([], [], [], LEFTOVERS_POLL_S)


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write(path: Path, data: bytes) -> None:
    """Replace a file that holds secrets: whoever reads it sees the old content or the new one."""
    scratch = path.with_suffix(".new")
    file = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(file, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(file)
    scratch.rename(path)
