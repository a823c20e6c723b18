"""The processes of the stack: on which cores they run, and what they have used."""

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.macro.cores import Cores
from benchmarks.processes import cpu_us, family, family_us


@dataclass(frozen=True, slots=True)
class Used:
    """CPU microseconds of control, of PostgreSQL and of the shards, since their starts."""

    control_us: int
    postgres_us: int
    redis_us: int

    def since(self, before: "Used") -> "Used":
        """What was used after `before`."""
        return Used(
            self.control_us - before.control_us,
            self.postgres_us - before.postgres_us,
            self.redis_us - before.redis_us,
        )


def pin(pids: dict[str, int], cores: Cores) -> None:
    """Give control a core for itself; all else shares another."""
    for name, pid in pids.items():
        core = cores.server if name == "control" else cores.load
        for member in family(pid):
            _pin(member, core)


def used(pids: dict[str, int]) -> Used:
    """What they have used until now; of PostgreSQL with what has ended: its vacuum's workers come and go."""
    return Used(
        cpu_us(family(pids["control"])),
        family_us(pids["postgres"]),
        cpu_us(pid for name, pid in pids.items() if name.startswith("shard-")),
    )


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """The process does nothing until the block ends."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _pin(pid: int, core: int) -> None:
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(ProcessLookupError):  # a thread that ended meanwhile
            os.sched_setaffinity(int(task.name), {core})
