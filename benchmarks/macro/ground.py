"""What all servers of a run stand on: cores, links, and the Redis that holds them."""

import contextlib
import os
from collections.abc import Iterator

from benchmarks import BenchmarkError, environment
from benchmarks.macro import cores, links
from benchmarks.macro.serving import Ground
from benchmarks.macro.store import running_store

TOOLS = {
    "wrk": "wrk",
    "taskset": "util-linux",
    "chrt": "util-linux",
    "nginx": "nginx-light",
    "redis-server": "redis-server",
    "cc": "gcc libc6-dev",
}


@contextlib.contextmanager
def grounded(seconds: int) -> Iterator[Ground]:
    """The ground, as long as the block lasts; `seconds` is the length of a load."""
    _check_tools()
    placed = cores.pick()
    os.sched_setaffinity(0, {placed.load})  # nor may this process disturb the server's core
    made = list(links.make())
    with running_store(made, placed.redis) as store:
        yield Ground(placed, made, store, seconds)


def _check_tools() -> None:
    packages = [package for program, package in TOOLS.items() if environment.which(program) is None]
    if packages:
        raise BenchmarkError(f"programs are missing: apt-get install {' '.join(packages)}")
