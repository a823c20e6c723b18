"""python -m benchmarks.scale: load, project, weigh, keep the results."""

import argparse
import csv
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import BenchmarkError, entry, environment, results
from benchmarks.macro import cores, links, wrk
from benchmarks.macro.serving import verify
from benchmarks.scale import memory
from benchmarks.scale.stack import Stack, running_stack
from benchmarks.scale.table import rows

LINKS, SHORT_LINKS = 1_000_000, 20_000
FILL_S, SHORT_FILL_S = 10, 2
CONNECTIONS = 64


def main() -> int:
    """Run it; the exit code: 0 all measured, 1 something failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description="A stack with a million links.")
    parser.add_argument("--short", action="store_true", help=f"{SHORT_LINKS:,} links, to see that all works")
    is_short = parser.parse_args().short
    console = Console()
    try:
        document = _run(SHORT_LINKS if is_short else LINKS, SHORT_FILL_S if is_short else FILL_S, console)
    except BenchmarkError as error:
        console.print(f"benchmarks: {error}", style="red", markup=False)
        return 1
    for name, value in rows(document):
        console.print(f"{name:<40}{value:>20}", highlight=False)
    results.write("scale-short" if is_short else "scale", document)
    return 0


def _run(count: int, fill_s: int, console: Console) -> dict[str, Any]:
    with entry.scratch() as directory:
        console.print(f"writing {count:,} links")
        sample = _write(links.make(count), directory / "links.csv", directory / "codes")
        console.print("starting a stack")
        with running_stack(directory) as stack:
            measured = _measure(stack, directory, count, fill_s)
            verify(stack.edge_port, [(link, link.target) for link in sample])
    return {"provenance": environment.provenance("python -m benchmarks.scale"), "links": count} | measured


def _write(made: Iterable[links.Link], rows_file: Path, codes_file: Path) -> list[links.Link]:
    """The files to load and to ask for; every thousandth link."""
    sample = []
    with rows_file.open("w", encoding="ascii", newline="") as stream, codes_file.open("w", encoding="ascii") as codes:
        writer = csv.writer(stream)
        for number, link in enumerate(made):
            writer.writerow((link.code, link.target))
            codes.write(f"{link.code}\n")
            if number % 1000 == 0:
                sample.append(link)
    return sample


def _measure(stack: Stack, directory: Path, count: int, fill_s: int) -> dict[str, Any]:
    before = asdict(memory.read(stack))
    import_s = stack.run("link", "import", str(directory / "links.csv"))
    project_s = stack.run("project", "--all")
    after = asdict(memory.read(stack))
    load = wrk.Load(directory / "codes", CONNECTIONS, is_keep_alive=True)
    wrk.run(load, stack.edge_port, fill_s, cores.pick().load)
    weights = {name: (after[name] - before[name]) / count for name in after}
    return {
        "import_s": import_s,
        "project_s": project_s,
        "bytes_per_link": weights | {"l1_bytes": memory.l1_bytes_per_link(stack)},
    }


if __name__ == "__main__":
    sys.exit(main())
