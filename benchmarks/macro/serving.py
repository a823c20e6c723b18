"""A rival that serves: started on its core, waited for, its answers verified, stopped at the end."""

import contextlib
import http.client
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from benchmarks import BenchmarkError
from benchmarks.macro import links
from benchmarks.macro.cores import Cores, pinned
from benchmarks.macro.links import Link
from benchmarks.macro.rivals import Rival, Stage
from benchmarks.macro.scenarios import Scenario
from benchmarks.macro.store import Store
from benchmarks.processes import check_alive, family, free_port, running

START_S: Final = 20
SAMPLE: Final = 200  # links whose answers are read before a server is measured


@dataclass(frozen=True, slots=True)
class Ground:
    """What all turns share."""

    cores: Cores
    links: list[Link]
    store: Store
    seconds: int


@dataclass(frozen=True, slots=True)
class Server:
    """A rival that answers; `pids` are all its processes."""

    rival: Rival
    port: int
    pids: frozenset[int]
    root: int


@contextlib.contextmanager
def serving(rival: Rival, scenario: Scenario, ground: Ground, directory: Path) -> Iterator[Server]:
    """The rival, answering rightly, as long as the block lasts; raises BenchmarkError if it does not or ends early."""
    stage = Stage(directory, free_port(), ground.links, ground.store.port, scenario.is_keep_alive)
    log = directory / "server.log"
    command = rival.command(stage)
    pinned_command = replace(command, arguments=pinned(ground.cores.server, command.arguments))
    with running(pinned_command, log) as process:
        _wait_for_answer(rival, stage, lambda: check_alive(process, log))
        verify(stage.port, [(link, rival.location(link)) for link in ground.links[:: links.COUNT // SAMPLE]])
        yield Server(rival, stage.port, family(process.pid), process.pid)
        check_alive(process, log)


def verify(port: int, expected: Iterable[tuple[Link, str]]) -> None:
    """Read the answers of some links; raises BenchmarkError for one that leads elsewhere: to wrk it would be a 3xx."""
    for link, location in expected:
        answer = _ask(port, link)
        if answer != (302, location):
            raise BenchmarkError(f"/{link.code} must lead to {location}, answered {answer}")


def _wait_for_answer(rival: Rival, stage: Stage, check: Callable[[], None]) -> None:
    deadline = time.monotonic() + START_S
    answer: object = None
    while time.monotonic() < deadline:
        check()
        with contextlib.suppress(OSError, http.client.HTTPException):
            answer = _ask(stage.port, stage.links[0])
            if answer == (302, rival.location(stage.links[0])):
                return
        time.sleep(0.05)
    raise BenchmarkError(f"no redirect within {START_S} s; last answer {answer}")


def _ask(port: int, link: Link) -> tuple[int, str | None]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", f"/{link.code}")
        answer = connection.getresponse()
        return answer.status, answer.getheader("Location")
    finally:
        connection.close()
