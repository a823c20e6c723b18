"""python -m benchmarks.moves: fill a stack, copy what a new shard takes over, audit all shards, keep the results."""

import argparse
import sys
from dataclasses import asdict
from typing import Any, Final

from rich.console import Console

from benchmarks import entry
from benchmarks.moves import auditing, copying, table
from benchmarks.moves.links import add
from benchmarks.scale.stack import running_stack

LINKS, SHORT_LINKS = 2_000_000, 40_000
TURNS: Final = 5
AUDIT_TURNS: Final = 3
# The stack's own audit would have its part of the CPU that is measured.
QUIET: Final = {"POINTSMAN_AUDIT_LINKS_S": "0"}


def main() -> int:
    """Run it; the exit code: 0 all measured, 1 something failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.moves", description="Links copied and audited.")
    parser.add_argument("--short", action="store_true", help=f"{SHORT_LINKS:,} links, to see that all works")
    is_short = parser.parse_args().short
    links = SHORT_LINKS if is_short else LINKS
    document = entry.measured("moves", "python -m benchmarks.moves", not is_short, lambda: _run(links))
    if document is None:
        return 1
    entry.show("links copied to a new shard, and audited", table.COLUMNS, table.rows(document))
    return 0


def _run(links: int) -> dict[str, Any]:
    with (
        entry.scratch() as directory,
        running_stack(directory, QUIET) as stack,
        copying.target(directory) as (pid, url),
    ):
        Console().print(f"adding {links:,} links")
        add(stack.postgres_dsn, links)
        stack.run("project", "--all")
        return {
            "links": links,
            "turns": [asdict(copying.measure(stack, pid, url)) for _ in range(TURNS)],
            "audits": [asdict(auditing.measure(stack)) for _ in range(AUDIT_TURNS)],
        }


if __name__ == "__main__":
    sys.exit(main())
