"""The rounds of one server."""

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from benchmarks import BenchmarkError
from benchmarks.load import generator
from benchmarks.macro.measure import metered, warm_up
from benchmarks.macro.rivals import Rival
from benchmarks.macro.serving import Ground, Server, serving
from benchmarks.processes import resident_bytes

# As many people would come from many addresses; 50 of each.
PEOPLE: Final = generator.Clients("127.0.2.1", 200)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """CPU microseconds and requests a second without and with the idle connections; what these added to memory."""

    cpu_us_without: float
    cpu_us_with: float
    per_s_without: float
    per_s_with: float
    added_bytes: int
    left_bytes: int  # more than before, when they had gone


def measure(rival: Rival, ground: Ground, connections: int, rounds: int) -> list[dict[str, float]]:
    """All rounds of a server, which is started once: the first one shows what memory they take."""
    with tempfile.TemporaryDirectory(prefix="pointsman-bench-") as name:
        directory = Path(name)
        with serving(rival, ground, directory) as server:
            warm_up(server, ground, directory)
            return [asdict(_round(server, ground, directory / "links", connections)) for _ in range(rounds)]


def _round(server: Server, ground: Ground, links: Path, connections: int) -> Round:
    cpu_us_without, per_s_without = _load(server, ground, links)
    before = resident_bytes(server.pids)
    orders = generator.Orders(links=links, connections=connections, is_held=True, clients=PEOPLE)
    with generator.loading(orders, server.port, ground.cores.load) as idle:
        added = resident_bytes(server.pids) - before
        cpu_us_with, per_s_with = _load(server, ground, links)
        report = idle.stop().check()
    if report.dropped or report.opened != connections:
        raise BenchmarkError(f"of {connections} idle connections {report.dropped} were closed by the server")
    return Round(
        cpu_us_without=cpu_us_without,
        cpu_us_with=cpu_us_with,
        per_s_without=per_s_without,
        per_s_with=per_s_with,
        added_bytes=added,
        left_bytes=resident_bytes(server.pids) - before,
    )


def _load(server: Server, ground: Ground, links: Path) -> tuple[float, float]:
    """CPU per request, and requests a second, over kept connections at full load."""
    orders = generator.Orders(links=links, seconds=ground.seconds)
    report, used = metered(server, ground, lambda: generator.load(orders, server.port, ground.cores.load))
    return used.server_us / report.answered, report.answered / report.seconds
