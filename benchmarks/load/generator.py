"""Compiling the load generator, running it, and what it counted."""

import contextlib
import functools
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks import BenchmarkError
from benchmarks.companion import Companion, accompanied
from benchmarks.environment import which
from benchmarks.macro.cores import pinned
from benchmarks.macro.links import Link

SOURCES: Final = Path(__file__).parent
FLAGS: Final = ("-O2", "-Wall", "-Wextra")
TLS_LIBRARIES: Final = ("-lssl", "-lcrypto")
# Of `Report.errors`, those of connections: nothing wrong was answered, but nothing.
BROKEN: Final = ("connect", "broken", "unanswered")
ABSENT: Final = "-"  # the target of a link that is not there: 404 is the right answer


@dataclass(frozen=True, slots=True)
class Clients:
    """Client addresses: `count` of them from `first` on, used in turn."""

    first: str = "127.0.0.1"
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What the generator is to do; load/options.h says what each of these means."""

    links: Path
    order: Path | None = None
    truth: Path | None = None
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
        files = {"order": self.order, "truth": self.truth}
        words += [f"--{name}={path}" for name, path in files.items() if path is not None]
        return [*words, f"--links={self.links}", f"--from={self.clients.first}"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the generator counted. `answered` are right answers; `dropped` connections ended while nothing was asked;
    `wrong` are the first wrong answers."""

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
    wrong: list[dict[str, Any]] = field(default_factory=list)

    @property
    def error_count(self) -> int:
        """Requests that got no answer, or not the right one."""
        return sum(self.errors.values())

    def check(self) -> "Report":
        """Itself; raises BenchmarkError unless all that was asked was answered rightly."""
        errors = {kind: count for kind, count in self.errors.items() if count}
        if errors or not self.answered:
            raise BenchmarkError(
                f"of {self.asked} requests {self.answered} were answered rightly; answers: {self.statuses}, "
                f"errors: {errors or 'none'}"
            )
        return self


@dataclass(frozen=True, slots=True)
class Run:
    """A generator at work."""

    companion: Companion
    orders: Orders

    def stop(self) -> Report:
        """End it early and read its report."""
        return Report(**self.companion.stop())

    def report(self) -> Report:
        """Wait for its end and read its report."""
        return Report(**self.companion.report(self.orders.seconds))


@contextlib.contextmanager
def loading(orders: Orders, port: int, core: int, *, is_unimportant: bool = False) -> Iterator[Run]:
    """A generator that is ready, until the block ends. Its reports are not checked."""
    command = pinned(core, [str(program()), *orders.arguments(port)])
    with accompanied(command, is_unimportant=is_unimportant) as companion:
        yield Run(companion, orders)


def load(orders: Orders, port: int, core: int) -> Report:
    """Run the generator to its end; raises BenchmarkError unless all was answered rightly."""
    with loading(orders, port, core) as run:
        return run.report().check()


def write_links(links: Iterable[Link], path: Path) -> Path:
    """A link a line, in the order in which they are asked for."""
    path.write_text("".join(f"{link.code} {link.target}\n" for link in links), encoding="ascii")
    return path


def missing() -> str:
    """What is not there to compile the generator, and how to get it; "" if nothing."""
    return "" if which("cc") else "no C compiler: apt-get install gcc libc6-dev"


@functools.cache
def missing_tls() -> str:
    """The same for a generator that speaks TLS."""
    question = ["cc", "-E", "-include", "openssl/ssl.h", "-x", "c", "/dev/null"]
    if missing() or subprocess.run(question, capture_output=True, check=False).returncode != 0:
        return "no headers of OpenSSL: apt-get install gcc libc6-dev libssl-dev"
    return ""


@functools.cache
def program() -> Path:
    """The compiled generator; raises BenchmarkError with what the compiler says."""
    if missing():
        raise BenchmarkError(missing())
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
