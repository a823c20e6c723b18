"""python -m benchmarks.soak: load for minutes, show, keep the results."""

import argparse
import sys
from typing import Any

from benchmarks import entry
from benchmarks.macro.ground import grounded
from benchmarks.soak.measure import measure
from benchmarks.soak.table import COLUMNS, failures, picture, rows

SECONDS, SHORT_SECONDS = 300, 3


def main() -> int:
    """Run it; the exit code: 0 memory is flat and nothing is left over, else 1."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description="Full load for minutes.")
    parser.add_argument("--seconds", type=int, default=SECONDS, help=f"how long; the page is made of {SECONDS} or more")
    parser.add_argument("--short", action="store_true", help=f"{SHORT_SECONDS} seconds, to see that all works")
    arguments = parser.parse_args()
    seconds = SHORT_SECONDS if arguments.short else arguments.seconds
    command = f"python -m benchmarks.soak --seconds {seconds}"
    document = entry.measured("soak", command, seconds >= SECONDS, lambda: _run(seconds))
    if document is None:
        return 1
    entry.show(f"{seconds} seconds of full load", COLUMNS, rows(document))
    print(picture(document))
    for line in failures(document):
        print(line)
    return 1 if failures(document) else 0


def _run(seconds: int) -> dict[str, Any]:
    with grounded(seconds) as ground:
        return measure(ground)


if __name__ == "__main__":
    sys.exit(main())
