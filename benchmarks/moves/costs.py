"""What work on links costs: its speed, and the CPU of all who take part."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks import processes


@dataclass(frozen=True, slots=True)
class Costs:
    """What one turn took; CPU is user and system time of all processes, in microseconds for a link."""

    links: int
    links_s: float
    control_us: float
    postgres_us: float
    redis_us: float

    @property
    def links_s_of_core(self) -> float:
        """How many links one core of control would do if nothing else held it up."""
        return 1_000_000 / self.control_us


@dataclass(frozen=True, slots=True)
class Meter:
    """What had been used at an instant, by this process, by PostgreSQL and by shards."""

    instant_s: float
    used_us: tuple[float, ...]

    @classmethod
    def read(cls, postgres: int, shards: Sequence[int]) -> "Meter":
        """Now; PostgreSQL with its sessions that have ended."""
        times = os.times()
        server = processes.family_us(postgres)
        return cls(time.monotonic(), ((times.user + times.system) * 1e6, server, processes.cpu_us(shards)))

    def until(self, end: "Meter", links: int) -> Costs:
        """What so many links have cost from here to `end`."""
        control, server, shards = (after - before for after, before in zip(end.used_us, self.used_us, strict=True))
        links_s = links / (end.instant_s - self.instant_s)
        return Costs(links, links_s, control / links, server / links, shards / links)
