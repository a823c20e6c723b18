"""Processes: started, measured by /proc, stopped by their id."""

import contextlib
import os
import resource
import socket
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks import BenchmarkError

STOP_S: Final = 30
LOG_LINES_SHOWN: Final = 12
PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_LISTENS: Final = "0A"  # a state in /proc/net/tcp
TICK_US: Final = 1_000_000 // os.sysconf("SC_CLK_TCK")  # the unit of times in /proc
# The kernel ends what we started when we are killed.
LEASH: Final = ("setpriv", "--pdeathsig", "TERM")


@dataclass(frozen=True, slots=True)
class Command:
    """A program with its arguments and what is added to its environment."""

    arguments: list[str]
    environment: dict[str, str] = field(default_factory=dict)


@contextlib.contextmanager
def running(command: Command, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The process, alive until the block ends; its output goes to `log`."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*LEASH, *command.arguments], env=variables(command), cwd=log.parent, stdout=output, stderr=output
        )
    try:
        yield process
    finally:
        _stop(process)


def variables(command: Command) -> dict[str, str]:
    """This process's environment without settings of Pointsman, which would change what is measured."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("POINTSMAN_")}
    return ours | command.environment


def check_alive(process: subprocess.Popen[bytes], log: Path) -> None:
    """Raises BenchmarkError with the end of its log if the process has ended."""
    if process.poll() is not None:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES_SHOWN:]
        raise BenchmarkError(f"{process.args!r} ended with code {process.returncode}:\n" + "\n".join(lines))


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def family(root: int) -> frozenset[int]:
    """The process and all its descendants."""
    parents = {int(entry.name): _parent(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
    found = {root}
    while True:
        children = {pid for pid, parent in parents.items() if parent in found} - found
        if not children:
            return frozenset(found)
        found |= children


def cpu_us(pids: Iterable[int]) -> int:
    """User and system time that the processes have used, in steps of the kernel's clock tick."""
    return sum(_cpu_us(pid) for pid in pids)


def ended_us(pid: int) -> int:
    """The same of children that have ended and were waited for."""
    fields = _stat(pid)
    return (int(fields[13]) + int(fields[14])) * TICK_US if fields else 0


def family_us(root: int) -> int:
    """CPU time of a process and all its descendants, also of those that end meanwhile or have ended: what a server
    with a process for each session has used."""
    fields = (_stat(pid) for pid in family(root))
    return sum(int(each[11]) + int(each[12]) for each in fields if each) * TICK_US + ended_us(root)


def resident_bytes(pids: Iterable[int]) -> int:
    """Memory that the processes have in RAM; what they share counts for each."""
    return sum(_resident_pages(pid) for pid in pids) * PAGE_BYTES


def descriptors(pids: Iterable[int]) -> int:
    """Files and sockets that the processes have open."""
    return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids)


def local_ports(pid: int) -> set[int]:
    """The local ports of a process's TCP sockets; /proc/net/tcp of proc_pid_net(5)."""
    sockets = {os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()}
    return {_port(row) for row in _sockets() if f"socket:[{row[9]}]" in sockets}


def unaccepted(port: int) -> int:
    """How many connections wait to be accepted: the receive queue of listening sockets; /proc/net/tcp, see above."""
    listening = [row for row in _sockets() if _port(row) == port and row[3] == _LISTENS]
    return sum(int(row[4].rpartition(":")[2], 16) for row in listening)


def _sockets() -> list[list[str]]:
    """The fields of all TCP sockets of IPv4: number, local address, remote address, state, queues, …, inode at 9."""
    return [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]


def _port(row: list[str]) -> int:
    return int(row[1].rpartition(":")[2], 16)


def allow_descriptors(count: int) -> None:
    """Let this process, and what it starts, open so many; raises BenchmarkError if the machine does not allow it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        raise BenchmarkError(f"{count} open files are needed, {hard} allowed: raise `ulimit -Hn`")
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def _resident_pages(pid: int) -> int:
    fields = _stat(pid)
    if fields is None:
        raise BenchmarkError(f"process {pid} of the server ended while it was measured")
    return int(fields[21])


def _cpu_us(pid: int) -> int:
    fields = _stat(pid)
    if fields is None:
        raise BenchmarkError(f"process {pid} of the server ended while it was measured")
    return (int(fields[11]) + int(fields[12])) * TICK_US


def _parent(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[1]) if fields else 0


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/<pid>/stat behind the name (which may hold spaces): state, parent, …; proc_pid_stat(5)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        for pid in family(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        process.wait()
