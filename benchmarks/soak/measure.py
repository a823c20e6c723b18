"""The soak: load, samples, and what is left."""

import random
import re
import string
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks import BenchmarkError
from benchmarks.load import generator
from benchmarks.macro.links import CODE_LENGTH, Link
from benchmarks.macro.measure import warm_up
from benchmarks.macro.rivals import RIVALS
from benchmarks.macro.serving import Ground, Server, serving
from benchmarks.processes import descriptors, resident_bytes

SAMPLES: Final = 60
INTERVAL_S_MIN: Final = 0.5
LEAVE_S: Final = 10  # for the server to notice that all have gone
PER_CONNECTION: Final = 1_000
PEOPLE: Final = generator.Clients("127.0.4.1", 100)
ROUNDS: Final = 10  # of the links, with other codes that are none in each: a new one for each hundredth request
ABSENT_EVERY: Final = 100
_SERIES: Final = re.compile(r"^(pointsman_edge_\w+)(?:\{[^}]*\})? ([0-9.e+]+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What the server held at a moment; `flights` is None where its metrics do not say."""

    at_s: float
    resident_kb: float
    descriptors: int
    connections: int
    flights: int | None


def measure(ground: Ground) -> dict[str, Any]:
    """Load the edge for ground.seconds; raises BenchmarkError for any wrong answer."""
    with tempfile.TemporaryDirectory(prefix="pointsman-bench-") as name:
        directory = Path(name)
        with serving(RIVALS["edge"], ground, directory) as server:
            warm_up(server, ground, directory)
            before = _at_rest(server, None)
            links = generator.write_links(_asked(ground.links), directory / "soak")
            samples, report = _soak(server, ground, links)
            after = _at_rest(server, before)
    return {
        "seconds": ground.seconds,
        "requests": report.answered,
        "samples": [asdict(sample) for sample in samples],
        "before": asdict(before),
        "after": asdict(after),
    }


def _asked(links: list[Link]) -> Iterator[Link]:
    choose = random.Random(3)
    letters = string.digits + string.ascii_letters
    for _ in range(ROUNDS):
        for number, link in enumerate(links):
            yield link
            if number % ABSENT_EVERY == 0:
                yield Link("".join(choose.choices(letters, k=CODE_LENGTH)), generator.ABSENT)


def _soak(server: Server, ground: Ground, links: Path) -> tuple[list[Sample], generator.Report]:
    orders = generator.Orders(links=links, seconds=ground.seconds, per_connection=PER_CONNECTION, clients=PEOPLE)
    interval_s = max(INTERVAL_S_MIN, ground.seconds / SAMPLES)
    samples = []
    with generator.loading(orders, server.port, ground.cores.load) as run:
        started = time.monotonic()
        for number in range(1, int(ground.seconds / interval_s)):
            time.sleep(max(0.0, started + number * interval_s - time.monotonic()))
            samples.append(_sample(server, time.monotonic() - started))
        report = run.report().check()
    return samples, report


def _at_rest(server: Server, before: Sample | None) -> Sample:
    """What the server holds when nobody asks; waits until it is no more than before, or for LEAVE_S."""
    deadline = time.monotonic() + LEAVE_S
    while True:
        sample = _sample(server, 0)
        is_left = sample.connections > 0 or (before is not None and sample.descriptors > before.descriptors)
        if not is_left or time.monotonic() > deadline:
            return sample
        time.sleep(0.1)


def _sample(server: Server, at_s: float) -> Sample:
    try:
        # Before the descriptors are counted: the question itself is a connection, which ends with its answer.
        metrics = _metrics(server.admin_port)
    except OSError as error:
        raise BenchmarkError(f"the edge's metrics cannot be read: {error}") from error
    opened, closed = (metrics[f"pointsman_edge_connections_{what}_total"] for what in ("opened", "closed"))
    flights = metrics.get("pointsman_edge_flights")
    return Sample(
        at_s=at_s,
        resident_kb=resident_bytes(server.pids) / 1024,
        descriptors=descriptors(server.pids),
        connections=int(opened - closed),
        flights=None if flights is None else int(flights),
    )


def _metrics(port: int) -> dict[str, float]:
    """Each metric's value, added up over its labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    values: dict[str, float] = {}
    for name, value in _SERIES.findall(text):
        values[name] = values.get(name, 0.0) + float(value)
    return values
