"""A program to run: its command and how to see that it is ready; starting it, ending it, reading its log."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from control.dev import leash
from control.dev.account import Account
from control.errors import Error

READY_TIMEOUT_S: Final = 60.0  # of a slow disk's initial sync; a failing program ends long before
POLL_INTERVAL_S: Final = 0.02
TAIL_BYTES: Final = 16 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What is started under `name`. `is_ready` asks the running program itself and never blocks for long."""

    name: str
    command: tuple[str, ...]
    log: Path
    is_ready: Callable[[], bool]
    environ: Mapping[str, str] | None = None  # None: that of this process
    account: Account | None = None
    stop_signal: signal.Signals = signal.SIGTERM


def spawn(program: Program, inherited: Sequence[int] = ()) -> subprocess.Popen[bytes]:
    """Start it in a session of its own, out of reach of the terminal's Ctrl-C, on the leash of this process.

    It keeps the file descriptors `inherited` open. Call this from a thread that lives as long as the process: the leash
    is tied to the thread that forked.
    """
    program.log.parent.mkdir(parents=True, exist_ok=True)
    # Appending, so that the file can be cut while the program has it open (see log.py).
    log = os.open(program.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        return subprocess.Popen(  # noqa: S603  commands are built here, never from input
            leashed(program.command, program.account, program.stop_signal),
            env=program.environ,
            pass_fds=inherited,
            cwd="/" if program.account else None,  # our directory may be closed to another user
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    finally:
        os.close(log)


def leashed(
    command: Sequence[str], account: Account | None = None, stop_signal: signal.Signals = signal.SIGTERM
) -> list[str]:
    """The command line with the leash in front: `stop_signal` is what it gets when this process dies."""
    options = [f"--parent={os.getpid()}", f"--signal={stop_signal.value}"]
    if account is not None:
        options += [f"--uid={account.uid}", f"--gid={account.gid}"]
        options += ["--keep-access"] if account.is_access_kept else []
    return [sys.executable, "-I", "-S", leash.__file__, *options, "--", *command]


def failure(program: Program, what: str) -> Error:
    """The error that shows an operator what the program said last, and where the rest is."""
    return Error("stack_failed", f"{program.name} {what}; {program.log} ends with\n{tail(program.log)}")


def describe_exit(code: int) -> str:
    """`exit code 1`, or the signal that ended it."""
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


def tail(path: Path, lines: int = 8) -> str:
    """The last lines of a log, indented."""
    if not path.exists():
        return "    (nothing)"
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        last = file.read().decode(errors="replace").splitlines()[-lines:]
    return "\n".join(f"    {line}" for line in last) or "    (nothing)"


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the program and of what it started. Call it before the exit code is collected: until then
    no other process can have got its pid."""
    os.killpg(process.pid, signal.SIGKILL)
