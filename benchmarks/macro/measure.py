"""One turn of one rival: started, verified, warmed up, measured, verified again, stopped."""

import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, TypeVar

from benchmarks import BenchmarkError
from benchmarks.load import generator
from benchmarks.macro import wrk
from benchmarks.macro.cores import busy_us
from benchmarks.macro.count import Count
from benchmarks.macro.links import Link, write_codes
from benchmarks.macro.rivals import Rival
from benchmarks.macro.scenarios import TLS_PROTOCOL, TLS_VERSION, Scenario
from benchmarks.macro.serving import Ground, Server, serving
from benchmarks.processes import cpu_us, family
from edge import ledger, segment
from edge.ledger import Ledger

Result = TypeVar("Result")

STRAY_HITS_MAX: Final = 0.001  # share of answers; an edge that answers from L1 still reads fences and documents
# Short connections from one address would run out of its 28,000 ports, which wait a minute after use.
CLIENTS: Final = generator.Clients("127.0.0.1", 16)
WARM_UPS_MAX: Final = 3
CHUNK_BYTES: Final = 1 << 20


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
    p50_us: float
    p99_us: float
    bytes_per_answer: float
    server_share: float
    load_share: float
    others_share: float  # of the server's core, used by processes that are none of the server's


def measure(rival: Rival, scenario: Scenario, ground: Ground, rate: float) -> dict[str, float]:
    """Let the rival have its turn; raises BenchmarkError for anything that makes its numbers mean less."""
    with tempfile.TemporaryDirectory(prefix="pointsman-bench-") as name:
        directory = Path(name)
        with serving(rival, ground, directory, is_keep_alive=scenario.is_keep_alive) as server:
            warmed = warm_up(server, ground, directory)
            count, used = metered(server, ground, lambda: _load(scenario, server, ground, directory, rate))
        _check_source(rival, used.hits, count.requests)
        _check_log(rival, directory, warmed + count.requests)
        _check_clicks(rival, directory, warmed + count.requests)
        return asdict(_measurement(count, used))


def saturation(rival: Rival, scenario: Scenario, ground: Ground) -> float:
    """How many requests a second the rival can answer."""
    with tempfile.TemporaryDirectory(prefix="pointsman-bench-") as name:
        directory = Path(name)
        with serving(rival, ground, directory, is_keep_alive=scenario.is_keep_alive) as server:
            warm_up(server, ground, directory)
            orders = generator.Orders(
                links=directory / "links", connections=scenario.connections, seconds=ground.seconds
            )
            report = generator.load(orders, server.port, ground.cores.load)
            return report.answered / report.seconds


def warm_up(server: Server, ground: Ground, directory: Path) -> int:
    """Ask for every link until all are answered, over connections that are kept; the number of answers.

    On a machine that is busy with something else a look-up may be overdue, and its answer rightly 503. Only links that
    are in memory must be answered whatever happens: the last time that all are asked for, all must be right.
    """
    links = [Link(link.code, server.rival.location(link)) for link in ground.links]
    orders = generator.Orders(
        links=generator.write_links(links, directory / "links"),
        count=len(ground.links),
        tls=TLS_VERSION if server.rival.is_tls else 0,
    )
    answered = 0
    for _ in range(WARM_UPS_MAX):
        with generator.loading(orders, server.port, ground.cores.load) as run:
            report = run.report()
        answered += report.answered
        if not report.error_count:
            break
    report.check()
    return answered


def metered(server: Server, ground: Ground, work: Callable[[], Result]) -> tuple[Result, Meters]:
    """What the work gave, and what was used meanwhile."""
    before = _read_meters(server, ground)
    result = work()
    used = _read_meters(server, ground).since(before)
    if family(server.root) != server.pids:
        raise BenchmarkError("a process of the server ended or appeared while it was measured")
    return result, used


def _read_meters(server: Server, ground: Ground) -> Meters:
    return Meters(
        hits=ground.store.hits(),
        server_us=cpu_us(server.pids),
        redis_us=cpu_us([ground.store.pid]),
        core_us=busy_us(ground.cores.server),
    )


def _load(scenario: Scenario, server: Server, ground: Ground, directory: Path, rate: float) -> Count:
    if not scenario.uses_generator:
        codes = directory / "codes"
        write_codes(ground.links, codes)
        load = wrk.Load(codes, scenario.connections, scenario.is_keep_alive)
        return wrk.run(load, server.port, ground.seconds, ground.cores.load)
    orders = generator.Orders(
        links=directory / "links",
        connections=scenario.connections,
        seconds=ground.seconds,
        rate=rate,
        per_connection=0 if scenario.is_keep_alive else 1,
        clients=CLIENTS,
        tls=TLS_VERSION if scenario.is_tls else 0,
        is_resumed=scenario.is_resumed,
    )
    report = generator.load(orders, server.port, ground.cores.load)
    _check_handshakes(scenario, report)
    return Count(
        requests=report.answered,
        seconds=report.seconds,
        bytes=report.bytes,
        p50_us=report.latency_us["p50"],
        p99_us=report.latency_us["p99"],
        load_cpu_us=report.cpu_us,
    )


def _check_handshakes(scenario: Scenario, report: generator.Report) -> None:
    """Whether they were of the kind that the scenario is about."""
    if scenario.is_tls and report.protocol != TLS_PROTOCOL:
        raise BenchmarkError(f"the server chose {report.protocol!r}, not {TLS_PROTOCOL!r}")
    # Each slot's first session is a new one.
    full = report.opened - report.resumed
    if scenario.is_resumed and full > scenario.connections:
        raise BenchmarkError(f"of {report.opened} sessions only {report.resumed} were resumed")
    if not scenario.is_resumed and report.resumed:
        raise BenchmarkError(f"{report.resumed} sessions were resumed, though none was offered")


def _check_source(rival: Rival, hits: int, requests: int) -> None:
    """Whether the answers came from where the rival says."""
    if rival.source == "redis" and hits < requests:
        raise BenchmarkError(f"{requests} answers of only {hits} reads of Redis")
    if rival.source == "memory" and hits > requests * STRAY_HITS_MAX + 100:
        raise BenchmarkError(f"{hits} reads of Redis for {requests} answers; its memory was not warm")


def _check_log(rival: Rival, directory: Path, answers: int) -> None:
    """Whether a server that is to log has a line for each answer; it has stopped, so its buffers are written."""
    if not rival.log_file:
        return
    lines = 0
    with (directory / rival.log_file).open("rb") as log:
        while chunk := log.read(CHUNK_BYTES):
            lines += chunk.count(b"\n")
    if lines < answers:
        raise BenchmarkError(f"{lines} lines in {rival.log_file} for {answers} answers")


def _check_clicks(rival: Rival, directory: Path, answers: int) -> None:
    """Whether an edge has recorded a click for each answer; it has stopped."""
    if not rival.has_clicks:
        return
    clicks = segment.directory_of(str(directory))
    recorded = 0
    for writer in ledger.writers(clicks):
        with Ledger.open(ledger.path_of(clicks, writer)) as books:
            recorded += books.report(0).recorded
    if recorded < answers:
        raise BenchmarkError(f"{recorded} clicks recorded for {answers} answers")


def _measurement(count: Count, used: Meters) -> Measurement:
    span_us = count.seconds * 1e6
    return Measurement(
        requests=count.requests,
        seconds=count.seconds,
        requests_per_s=count.requests / count.seconds,
        cpu_us=used.server_us / count.requests,
        redis_cpu_us=used.redis_us / count.requests,
        p50_us=count.p50_us,
        p99_us=count.p99_us,
        bytes_per_answer=count.bytes / count.requests,
        server_share=used.server_us / span_us,
        load_share=count.load_cpu_us / span_us,
        others_share=max(0, used.core_us - used.server_us) / span_us,
    )
