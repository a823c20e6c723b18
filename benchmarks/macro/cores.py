"""Which core does what."""

import os
from dataclasses import dataclass

from benchmarks import BenchmarkError


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
