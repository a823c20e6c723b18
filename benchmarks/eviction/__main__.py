"""python -m benchmarks.eviction: every policy on every trace, keep the results."""

import argparse
import sys
from collections.abc import Iterator
from typing import Any

from rich.console import Console

from benchmarks import BenchmarkError, environment, results
from benchmarks.eviction import shipped, table, traces
from benchmarks.eviction.policies import POLICIES
from benchmarks.eviction.traces import Trace

ZIPF_EXPONENTS, SHORT_ZIPF_EXPONENTS = (0.7, 0.8, 0.9, 1.0, 1.1), (0.9,)
ZIPF_KEYS, ZIPF_REQUESTS = 50_000, 500_000
SHORT_ZIPF_KEYS, SHORT_ZIPF_REQUESTS = 5_000, 50_000
SCAN_EXPONENT = 0.9


def main() -> int:
    """Run it; the exit code: 0 all measured, 1 something failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.eviction", description="Eviction policies on traces.")
    parser.add_argument("--short", action="store_true", help="two traces and little Zipf, to see that all works")
    is_short = parser.parse_args().short
    console = Console()
    if is_short and not traces.is_there():
        console.print(f"no recorded traces in {traces.DIRECTORY} (POINTSMAN_TEST_DATA): Zipf only", markup=False)
    try:
        document = _run(is_short, console)
    except BenchmarkError as error:
        console.print(f"benchmarks: {error}", style="red", markup=False)
        return 1
    for line in table.remarks(document):
        console.print(line, highlight=False, markup=False)
    results.write("eviction-short" if is_short else "eviction", document)
    return 0


def _run(is_short: bool, console: Console) -> dict[str, Any]:
    scanned = _zipf(SCAN_EXPONENT, is_short)
    document: dict[str, Any] = {
        "provenance": environment.provenance("python -m benchmarks.eviction"),
        "lookups": shipped.lookups(),
        "overheads": shipped.overheads(),
        "scans": shipped.scans(scanned, scanned.capacities[2]),
        "points": [],
    }
    for is_recorded, trace in _traces(is_short):
        console.print(f"{trace.name}: {len(trace.requests):,} requests for {trace.keys:,} keys", markup=False)
        for capacity in trace.capacities:
            document["points"].append({"is_recorded": is_recorded} | _measure(trace, capacity))
    return document


def _traces(is_short: bool) -> Iterator[tuple[bool, Trace]]:
    if traces.is_there() or not is_short:
        for recording in traces.SHORT_RECORDINGS if is_short else traces.RECORDINGS:
            yield True, traces.read(recording)
    for exponent in SHORT_ZIPF_EXPONENTS if is_short else ZIPF_EXPONENTS:
        yield False, _zipf(exponent, is_short)


def _zipf(exponent: float, is_short: bool) -> Trace:
    keys, count = (SHORT_ZIPF_KEYS, SHORT_ZIPF_REQUESTS) if is_short else (ZIPF_KEYS, ZIPF_REQUESTS)
    return traces.zipf(exponent, keys, count)


def _measure(trace: Trace, capacity: int) -> dict[str, Any]:
    misses = {name: policy(trace.requests, trace.keys, capacity) for name, policy in POLICIES.items()}
    misses[table.SHIPPED] = shipped.misses(trace, capacity)
    return {"trace": trace.name, "requests": len(trace.requests), "capacity": capacity, "misses": misses}


if __name__ == "__main__":
    sys.exit(main())
