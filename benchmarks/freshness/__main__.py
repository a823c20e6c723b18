"""python -m benchmarks.freshness: changes that wait for four workers, keep the results."""

import argparse
import sys
from dataclasses import asdict
from typing import Any, Final

from benchmarks import BenchmarkError, entry
from benchmarks.freshness.measure import WORKERS, measure
from benchmarks.freshness.table import COLUMNS, rows
from benchmarks.scale.stack import running_stack

COUNT: Final = 1000
SHORT_COUNT: Final = 30


def main() -> int:
    """Run it; the exit code: 0 every worker showed every change, else 1."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.freshness", description="Changes that wait for edges.")
    parser.add_argument("--short", action="store_true", help=f"{SHORT_COUNT} changes, to see that all works")
    is_short = parser.parse_args().short
    count = SHORT_COUNT if is_short else COUNT
    document = entry.measured("freshness", "python -m benchmarks.freshness", not is_short, lambda: _run(count))
    if document is None:
        return 1
    entry.show(f"{count:,} changes, {WORKERS} workers", COLUMNS, rows(document))
    return 0


def _run(count: int) -> dict[str, Any]:
    with entry.scratch() as directory, running_stack(directory, {"POINTSMAN_EDGE_WORKERS": str(WORKERS)}) as stack:
        waits = measure(stack, count)
    if any(each.stale for each in waits):
        raise BenchmarkError(f"a worker did not show a change that it had acknowledged: {waits}")
    return {"workers": WORKERS, "waits": [asdict(each) for each in waits]}


if __name__ == "__main__":
    sys.exit(main())
