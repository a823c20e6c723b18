"""python -m benchmarks.idle: measure, show, keep the results."""

import argparse
import sys
from typing import Any

from benchmarks import entry
from benchmarks.idle.measure import measure
from benchmarks.idle.table import COLUMNS, rows
from benchmarks.macro.ground import grounded
from benchmarks.macro.rivals import RIVALS
from benchmarks.processes import allow_descriptors

NAMES = ("nginx", "edge")
CONNECTIONS, SHORT_CONNECTIONS = 10_000, 2_000
ROUNDS, SHORT_ROUNDS = 5, 1
SECONDS, SHORT_SECONDS = 2, 1
SPARE_DESCRIPTORS = 1_000  # for what is no idle connection


def main() -> int:
    """Run it; the exit code: 0 all measured, 1 something failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.idle", description="Ten thousand idle connections.")
    parser.add_argument("--short", action="store_true", help=f"{SHORT_CONNECTIONS:,}, once, to see that all works")
    is_short = parser.parse_args().short
    document = entry.measured("idle", "python -m benchmarks.idle", not is_short, lambda: _run(is_short))
    if document is None:
        return 1
    entry.show("Idle connections", COLUMNS, rows(document))
    return 0


def _run(is_short: bool) -> dict[str, Any]:
    count, rounds = (SHORT_CONNECTIONS, SHORT_ROUNDS) if is_short else (CONNECTIONS, ROUNDS)
    allow_descriptors(count + SPARE_DESCRIPTORS)
    names = NAMES[-1:] if is_short else NAMES
    there = [RIVALS[name] for name in names if not RIVALS[name].missing()]
    with grounded(SHORT_SECONDS if is_short else SECONDS) as ground:
        servers = {rival.name: measure(rival, ground, count, rounds) for rival in there}
    return {"connections": count, "servers": servers}


if __name__ == "__main__":
    sys.exit(main())
