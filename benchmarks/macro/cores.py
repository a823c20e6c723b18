"""Which core does what."""

import os
from dataclasses import dataclass
from pathlib import Path

from benchmarks import BenchmarkError
from benchmarks.processes import TICK_US


@dataclass(frozen=True, slots=True)
class Cores:
    """Numbers of cores. Redis shares the load's core on a machine of two."""

    server: int
    load: int
    redis: int


def pick() -> Cores:
    """The cores of this run; the last one serves, as the first one gets most interrupts."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        raise BenchmarkError("one core for the server and one for the load are needed; this process may use one only")
    return Cores(server=usable[-1], load=usable[0], redis=usable[1] if len(usable) > 2 else usable[0])


def pinned(core: int, command: list[str]) -> list[str]:
    """The command, confined to one core with all that it starts."""
    return ["taskset", "--cpu-list", str(core), *command]


def busy_us(core: int) -> int:
    """Time that the core was not idle, hypervisor's theft included; /proc/stat of proc(5)."""
    lines = Path("/proc/stat").read_text(encoding="ascii").splitlines()
    times = next(line.split()[1:] for line in lines if line.startswith(f"cpu{core} "))
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, times[:8])
    return (user + nice + system + irq + softirq + steal) * TICK_US
