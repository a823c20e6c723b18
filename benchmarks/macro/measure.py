"""One turn of one rival: started, verified, warmed up, measured, stopped."""

import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from benchmarks import BenchmarkError
from benchmarks.macro import wrk
from benchmarks.macro.cores import busy_us
from benchmarks.macro.links import write_codes
from benchmarks.macro.rivals import Rival
from benchmarks.macro.scenarios import Scenario
from benchmarks.macro.serving import Ground, Server, serving
from benchmarks.processes import cpu_us, family

WARM_UP_S: Final = 2
WARM_UP_S_MAX: Final = 32
STRAY_HITS_MAX: Final = 0.001  # share of answers; an edge that answers from L1 still reads fences and documents


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
    cpu_us: float  # of all the server's processes, per request
    redis_cpu_us: float  # likewise of Redis
    p50_us: int
    p99_us: int
    bytes_per_answer: float
    server_share: float
    load_share: float
    others_share: float  # of the server's core, used by processes that are none of the server's


def measure(rival: Rival, scenario: Scenario, ground: Ground) -> dict[str, float]:
    """Let the rival have its turn; raises BenchmarkError for anything that makes its numbers mean less."""
    with tempfile.TemporaryDirectory(prefix="pointsman-bench-") as directory:
        codes = Path(directory, "codes")
        write_codes(ground.links, codes)
        load = wrk.Load(codes, scenario.connections, scenario.is_keep_alive)
        with serving(rival, scenario, ground, Path(directory)) as server:
            _warm_up(server, load, ground)
            return asdict(_load(server, load, ground))


def _warm_up(server: Server, load: wrk.Load, ground: Ground) -> None:
    """Ask for every link, over connections that are kept: that is the fastest way, and fills the same caches."""
    seconds = WARM_UP_S
    while seconds <= WARM_UP_S_MAX:
        counted = wrk.run(replace(load, is_keep_alive=True), server.port, seconds, ground.cores.load)
        if counted.requests >= len(ground.links):
            return
        seconds *= 2
    raise BenchmarkError(f"{WARM_UP_S_MAX} s are not enough to ask for every link once")


def _load(server: Server, load: wrk.Load, ground: Ground) -> Measurement:
    before = _read_meters(server, ground)
    counted = wrk.run(load, server.port, ground.seconds, ground.cores.load)
    used = _read_meters(server, ground).since(before)
    _check_source(server.rival, used.hits, counted.requests)
    if family(server.root) != server.pids:
        raise BenchmarkError("a process of the server ended or appeared while it was measured")
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
        raise BenchmarkError(f"{requests} answers of only {hits} reads of Redis")
    if rival.source == "memory" and hits > requests * STRAY_HITS_MAX + 100:
        raise BenchmarkError(f"{hits} reads of Redis for {requests} answers; its memory was not warm")
