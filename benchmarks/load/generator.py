"""Compiling the load generator, running it, and what it counted."""

import contextlib
import functools
import json
import select
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from benchmarks import BenchmarkError
from benchmarks.environment import which
from benchmarks.macro.cores import pinned
from benchmarks.macro.links import Link
from benchmarks.processes import LEASH

SOURCES: Final = Path(__file__).parent
FLAGS: Final = ("-O2", "-Wall", "-Wextra")
TLS_LIBRARIES: Final = ("-lssl", "-lcrypto")
OVERDUE_S: Final = 30  # more than the generator itself waits for answers that are late
ABSENT: Final = "-"
# An attacker gets what nobody else wants of the core that the load shares with him.
UNIMPORTANT: Final = ("chrt", "--idle", "0")


@dataclass(frozen=True, slots=True)
class Clients:
    """Client addresses: `count` of them from `first` on, used in turn."""

    first: str = "127.0.0.1"
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What the generator is to do; load/options.h says what each of these means."""

    links: Path
    connections: int = 64
    seconds: float = 0
    count: int = 0
    rate: float = 0
    burst_ms: int = 0
    is_held: bool = False
    is_any: bool = False
    per_connection: int = 0
    clients: Clients = Clients()
    tls: int = 0
    is_resumed: bool = False

    def arguments(self, port: int) -> list[str]:
        """The command line behind the program's name."""
        numbers = {
            "port": port,
            "connections": self.connections,
            "seconds": self.seconds,
            "count": self.count,
            "rate": self.rate,
            "burst-ms": self.burst_ms,
            "per-connection": self.per_connection,
            "addresses": self.clients.count,
            "tls": self.tls,
        }
        flags = {"held": self.is_held, "any": self.is_any, "resumed": self.is_resumed}
        words = [f"--{name}={value}" for name, value in numbers.items() if value]
        words += [f"--{name}" for name, is_set in flags.items() if is_set]
        return [*words, f"--links={self.links}", f"--from={self.clients.first}"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the generator counted. `answered` are right answers; `dropped` connections ended while nothing was asked."""

    asked: int
    answered: int
    seconds: float
    bytes: int
    bursts: int
    latency_us: dict[str, float]
    statuses: dict[str, int]
    errors: dict[str, int]
    dropped: int
    opened: int
    resumed: int
    protocol: str
    cpu_us: int

    @property
    def error_count(self) -> int:
        """Requests that got no answer, or not the right one."""
        return sum(self.errors.values())

    def check(self) -> "Report":
        """Itself; raises BenchmarkError unless all that was asked was answered rightly."""
        errors = {kind: count for kind, count in self.errors.items() if count}
        if errors or not self.answered:
            raise BenchmarkError(f"of {self.asked} requests {self.answered} were answered; errors: {errors or 'none'}")
        return self


class Run:
    """A generator at work."""

    def __init__(self, process: "subprocess.Popen[bytes]", orders: Orders) -> None:
        self._process = process
        self._orders = orders

    def wait_until_ready(self) -> None:
        """Until its connections are open, where that is a phase of its own."""
        output = self._output()
        is_ready = select.select([output], [], [], OVERDUE_S)[0] and output.readline() == b"ready\n"
        if not is_ready:
            raise BenchmarkError(f"the load generator did not get ready: {self._failure()}")

    def stop(self) -> Report:
        """End it early and read its report."""
        self._process.terminate()
        return self.report()

    def report(self) -> Report:
        """Wait for its end and read its report; raises BenchmarkError for errors, unless any answer will do."""
        try:
            output, _ = self._process.communicate(timeout=self._orders.seconds + OVERDUE_S)
        except subprocess.TimeoutExpired as error:
            raise BenchmarkError("the load generator did not end") from error
        if self._process.returncode != 0:
            raise BenchmarkError(f"the load generator ended with code {self._process.returncode}: {self._failure()}")
        counted: dict[str, Any] = json.loads(output.splitlines()[-1])
        report = Report(**counted)
        return report if self._orders.is_any else report.check()

    def _output(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    def _failure(self) -> str:
        self._process.kill()
        return self._process.communicate()[1].decode() or "without a word"


@contextlib.contextmanager
def loading(orders: Orders, port: int, core: int, *, is_unimportant: bool = False) -> Iterator[Run]:
    """A generator that is ready, until the block ends."""
    priority = UNIMPORTANT if is_unimportant else ()
    command = [*LEASH, *priority, *pinned(core, [str(program()), *orders.arguments(port)])]
    # Unbuffered: `ready` must be read without the report that may stand behind it.
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0) as process:
        run = Run(process, orders)
        try:
            run.wait_until_ready()
            yield run
        finally:
            process.kill()


def load(orders: Orders, port: int, core: int) -> Report:
    """Run the generator to its end."""
    with loading(orders, port, core) as run:
        return run.report()


def write_links(links: Iterable[Link], path: Path) -> Path:
    """A link a line, in the order in which they are asked for."""
    path.write_text("".join(f"{link.code} {link.target}\n" for link in links), encoding="ascii")
    return path


def missing() -> str:
    """What must be installed to compile the generator; "" if nothing."""
    return "" if which("cc") else "a C compiler: apt-get install gcc libc6-dev"


@functools.cache
def missing_tls() -> str:
    """The same for a generator that speaks TLS."""
    question = ["cc", "-E", "-include", "openssl/ssl.h", "-x", "c", "/dev/null"]
    if missing() or subprocess.run(question, capture_output=True, check=False).returncode != 0:
        return "OpenSSL's headers: apt-get install gcc libc6-dev libssl-dev"
    return ""


@functools.cache
def program() -> Path:
    """The compiled generator; raises BenchmarkError with what the compiler says."""
    if missing():
        raise BenchmarkError(f"the load generator needs {missing()}")
    path = Path(_build_directory().name, "load")
    sources = sorted(str(source) for source in SOURCES.glob("*.c"))
    libraries = () if missing_tls() else TLS_LIBRARIES
    built = subprocess.run(
        ["cc", *FLAGS, "-o", str(path), *sources, *libraries], capture_output=True, text=True, check=False
    )
    if built.returncode != 0:
        raise BenchmarkError(f"the load generator cannot be compiled: {built.stderr}")
    return path


@functools.cache
def _build_directory() -> "tempfile.TemporaryDirectory[str]":
    """Where it is compiled; removed when this process ends."""
    return tempfile.TemporaryDirectory(prefix="pointsman-bench-")
