"""A rival that serves: started on its core, waited for, its answers verified, stopped at the end."""

import contextlib
import http.client
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from benchmarks import BenchmarkError
from benchmarks.macro.cores import Cores, pinned
from benchmarks.macro.links import Link
from benchmarks.macro.rivals import Rival, Stage
from benchmarks.macro.store import Store
from benchmarks.processes import check_alive, family, free_port, running

START_S: Final = 20
SAMPLE: Final = 200  # links whose answers are read before a server is measured, and again after it


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
    admin_port: int
    pids: frozenset[int]
    root: int


@contextlib.contextmanager
def serving(rival: Rival, ground: Ground, directory: Path, *, is_keep_alive: bool = True) -> Iterator[Server]:
    """The rival, answering rightly, as long as the block lasts; raises BenchmarkError if it does not or ends early."""
    ports = free_port(), free_port()
    stage = Stage(directory, ports[0], ground.links, ground.store.port, is_keep_alive, admin_port=ports[1])
    log = directory / "server.log"
    command = rival.command(stage)
    pinned_command = replace(command, arguments=pinned(ground.cores.server, command.arguments))
    with running(pinned_command, log) as process:
        _wait_for_answer(rival, stage, lambda: check_alive(process, log))
        sample = [(link, rival.location(link)) for link in ground.links[:: -(-len(ground.links) // SAMPLE)]]
        verify(stage.port, sample, is_tls=rival.is_tls)
        yield Server(rival, stage.port, stage.admin_port, family(process.pid), process.pid)
        verify(stage.port, sample, is_tls=rival.is_tls)
        check_alive(process, log)


def verify(port: int, expected: Iterable[tuple[Link, str]], *, is_tls: bool = False) -> None:
    """Read the answers of some links; raises BenchmarkError for one that leads elsewhere: to wrk it would be a 3xx."""
    for link, location in expected:
        answer = _ask(port, link, is_tls)
        if answer != (302, location):
            raise BenchmarkError(f"/{link.code} must lead to {location}, answered {answer}")


def _wait_for_answer(rival: Rival, stage: Stage, check: Callable[[], None]) -> None:
    deadline = time.monotonic() + START_S
    answer: object = None
    while time.monotonic() < deadline:
        check()
        with contextlib.suppress(OSError, http.client.HTTPException):
            answer = _ask(stage.port, stage.links[0], rival.is_tls)
            if answer == (302, rival.location(stage.links[0])):
                return
        time.sleep(0.05)
    raise BenchmarkError(f"no redirect within {START_S} s; last answer {answer}")


def _ask(port: int, link: Link, is_tls: bool) -> tuple[int, str | None]:
    connection = _connection(port, is_tls)
    try:
        connection.request("GET", f"/{link.code}")
        answer = connection.getresponse()
        return answer.status, answer.getheader("Location")
    finally:
        connection.close()


def _connection(port: int, is_tls: bool) -> http.client.HTTPConnection:
    if not is_tls:
        return http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # the certificate signs itself
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection("127.0.0.1", port, timeout=1, context=context)
