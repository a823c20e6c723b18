"""One turn of one rival: started, verified, warmed up, measured, stopped."""

import contextlib
import http.client
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from benchmarks import BenchmarkError
from benchmarks.macro import wrk
from benchmarks.macro.cores import Cores, busy_us
from benchmarks.macro.links import Link, write_codes
from benchmarks.macro.processes import check_alive, cpu_us, family, free_port, running
from benchmarks.macro.rivals import Rival, Stage
from benchmarks.macro.scenarios import Scenario
from benchmarks.macro.store import Store

START_S: Final = 20
SAMPLE: Final = 200             # links whose answers are read before a server is measured
WARM_UP_S: Final = 2
STRAY_HITS_MAX: Final = 0.001   # share of answers; an edge that answers from L1 still reads fences and documents


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Meters:
    """What has been counted so far: reads of Redis that found a key, and times of CPU."""

    hits: int
    server_us: int
    redis_us: int
    core_us: int

    def since(self, before: "Meters") -> "Meters":
        """What was counted after `before`."""
        return Meters(
            hits=self.hits - before.hits,
            server_us=self.server_us - before.server_us,
            redis_us=self.redis_us - before.redis_us,
            core_us=self.core_us - before.core_us,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What one turn gave. Shares are of one core's time."""

    requests: int
    seconds: float
    requests_per_s: float
    cpu_us: float               # of all the server's processes, per request
    redis_cpu_us: float         # likewise of Redis
    p50_us: int
    p99_us: int
    bytes_per_answer: float
    server_share: float
    load_share: float
    others_share: float         # of the server's core, used by processes that are none of the server's


def measure(rival: Rival, scenario: Scenario, ground: Ground) -> dict[str, float]:
    """Let the rival have its turn; raises BenchmarkError for anything that makes its numbers mean less."""
    with tempfile.TemporaryDirectory(prefix="pointsman-bench-") as directory:
        codes = Path(directory, "codes")
        write_codes(ground.links, codes)
        load = wrk.Load(codes, scenario.connections, scenario.is_keep_alive)
        with _serving(rival, scenario, ground, Path(directory)) as server:
            _warm_up(server, load, ground)
            return asdict(_load(server, load, ground))


@contextlib.contextmanager
def _serving(rival: Rival, scenario: Scenario, ground: Ground, directory: Path) -> Iterator[Server]:
    stage = Stage(directory, free_port(), ground.links, ground.store.port, scenario.is_keep_alive)
    log = directory / "server.log"
    with running(rival.command(stage), ground.cores.server, log) as process:
        _wait_for_answer(rival, stage, lambda: check_alive(process, log))
        _verify(rival, stage)
        yield Server(rival, stage.port, family(process.pid), process.pid)
        check_alive(process, log)


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
    raise BenchmarkError(f"{rival.title}: no redirect within {START_S} s; last answer {answer}")


def _verify(rival: Rival, stage: Stage) -> None:
    """Read answers all over the links; the one that wrk gets wrong would still be a 3xx to it."""
    for link in stage.links[:: len(stage.links) // SAMPLE]:
        answer = _ask(stage.port, link)
        if answer != (302, rival.location(link)):
            raise BenchmarkError(f"{rival.title}: /{link.code} must lead to {rival.location(link)}, answered {answer}")


def _ask(port: int, link: Link) -> tuple[int, str | None]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", f"/{link.code}")
        answer = connection.getresponse()
        return answer.status, answer.getheader("Location")
    finally:
        connection.close()


def _warm_up(server: Server, load: wrk.Load, ground: Ground) -> None:
    """Ask for every link, over kept connections, which is fastest; who was too slow for it fails in _check_source."""
    wrk.run(replace(load, is_keep_alive=True), server.port, WARM_UP_S, ground.cores.load)


def _load(server: Server, load: wrk.Load, ground: Ground) -> Measurement:
    before = _read_meters(server, ground)
    counted = wrk.run(load, server.port, ground.seconds, ground.cores.load)
    used = _read_meters(server, ground).since(before)
    _check_source(server.rival, used.hits, counted.requests)
    if family(server.root) != server.pids:
        raise BenchmarkError(f"{server.rival.title}: a process of the server ended or appeared while it was measured")
    span_us = counted.seconds * 1e6
    return Measurement(
        requests=counted.requests,
        seconds=counted.seconds,
        requests_per_s=counted.requests / counted.seconds,
        cpu_us=used.server_us / counted.requests,
        redis_cpu_us=used.redis_us / counted.requests,
        p50_us=counted.p50_us,
        p99_us=counted.p99_us,
        bytes_per_answer=counted.bytes / counted.requests,
        server_share=used.server_us / span_us,
        load_share=counted.load_cpu_us / span_us,
        others_share=max(0, used.core_us - used.server_us) / span_us,
    )


def _read_meters(server: Server, ground: Ground) -> Meters:
    return Meters(
        hits=ground.store.hits(),
        server_us=cpu_us(server.pids),
        redis_us=cpu_us([ground.store.pid]),
        core_us=busy_us(ground.cores.server),
    )


def _check_source(rival: Rival, hits: int, requests: int) -> None:
    """Whether the answers came from where the rival says."""
    if rival.source == "redis" and hits < requests:
        raise BenchmarkError(f"{rival.title}: {requests} answers of only {hits} reads of Redis")
    if rival.source == "memory" and hits > requests * STRAY_HITS_MAX + 100:
        raise BenchmarkError(f"{rival.title}: {hits} reads of Redis for {requests} answers; its memory was not warm")
