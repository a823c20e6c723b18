"""python -m benchmarks.clicks: bring clicks in, weigh them, ask for them, keep the results."""

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, TypeVar

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks import BenchmarkError, entry, environment, results
from benchmarks.clicks import table
from benchmarks.clicks.measure import Bench
from benchmarks.scale.stack import running_stack

Measured = TypeVar("Measured")
WITH_ROWS: Final = {"POINTSMAN_CLICKS_RAW": "on"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much of everything. The clicks of `warm_up` are not measured."""

    links: int
    clicks: int
    warm_up: int
    population: int
    requests: int


FULL: Final = Size(links=1_000_000, clicks=3_000_000, warm_up=300_000, population=50_000_000, requests=1000)
SHORT: Final = Size(links=20_000, clicks=200_000, warm_up=20_000, population=300_000, requests=100)


def main() -> int:
    """Run it; the exit code: 0 all measured, 1 something failed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.clicks", description="Clicks from stream to statistics."
    )
    parser.add_argument("--short", action="store_true", help="far less of everything, to see that all works")
    is_short = parser.parse_args().short
    console = Console()
    try:
        document = _run(SHORT if is_short else FULL, console)
    except BenchmarkError as error:
        console.print(f"benchmarks: {error}", style="red", markup=False)
        return 1
    for columns, rows in (
        (table.COLUMNS, table.ingest_rows(document)),
        (table.TABLE_COLUMNS, table.table_rows(document)),
        (table.LATENCY_COLUMNS, table.latency_rows(document)),
    ):
        _print(columns, rows, console)
    results.write("clicks-short" if is_short else "clicks", document)
    return 0


def _run(size: Size, console: Console) -> dict[str, Any]:
    document: dict[str, Any] = {
        "provenance": environment.provenance("python -m benchmarks.clicks"),
        "size": asdict(size),
    }
    with Progress(console=console) as progress:
        document |= _with_rollups(size, progress)
        document["ingest"] += _with_rows(size, progress)
    return document


def _with_rollups(size: Size, progress: Progress) -> dict[str, Any]:
    def measure(bench: Bench) -> dict[str, Any]:
        bench.ingest("warming up", size.warm_up, size.links)
        return {
            "ingest": [
                bench.ingest(f"{size.links:,} links", size.clicks, size.links),
                bench.ingest("one hot link", size.clicks, 1),
            ],
            "population": bench.populate(size.population),
            "latencies_ms": bench.read(size.requests),
        }

    return _on_stack({}, size.links, progress, measure)


def _with_rows(size: Size, progress: Progress) -> list[dict[str, Any]]:
    def measure(bench: Bench) -> list[dict[str, Any]]:
        bench.ingest("warming up", size.warm_up, size.links)
        return [bench.ingest(f"{size.links:,} links, and raw rows", size.clicks, size.links)]

    return _on_stack(WITH_ROWS, size.links, progress, measure)


def _on_stack(
    settings: Mapping[str, str], links: int, progress: Progress, measure: Callable[[Bench], Measured]
) -> Measured:
    with entry.scratch() as directory, running_stack(directory, settings) as stack:
        return measure(Bench(stack, links, progress))


def _print(columns: table.Row, rows: list[table.Row], console: Console) -> None:
    shown = Table(*columns)
    for row in rows:
        shown.add_row(*row)
    console.print(shown)


if __name__ == "__main__":
    sys.exit(main())
