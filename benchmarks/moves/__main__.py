"""python -m benchmarks.moves: fill a stack, copy what a new shard takes over, keep the results."""

import argparse
import asyncio
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any, Final

from rich.console import Console

from benchmarks import entry
from benchmarks.clicks import store
from benchmarks.moves import copying
from benchmarks.moves.copying import Costs
from benchmarks.scale.stack import running_stack

LINKS, SHORT_LINKS = 2_000_000, 40_000
TURNS: Final = 5
COLUMNS: Final = ("", "links/s", "links/s of a core of control", "control, µs a link", "PostgreSQL, µs", "Redis, µs")


def main() -> int:
    """Run it; the exit code: 0 all measured, 1 something failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.moves", description="Links copied to a new shard.")
    parser.add_argument("--short", action="store_true", help=f"{SHORT_LINKS:,} links, to see that all works")
    is_short = parser.parse_args().short
    links = SHORT_LINKS if is_short else LINKS
    document = entry.measured("moves", "python -m benchmarks.moves", not is_short, lambda: _run(links))
    if document is None:
        return 1
    entry.show("links copied to a new shard", COLUMNS, rows(document))
    return 0


def rows(document: dict[str, Any]) -> list[entry.Row]:
    """The medians of all turns as one row of text."""
    turns = [Costs(**turn) for turn in document["turns"]]
    return [
        (
            f"{turns[0].links:,} links",
            f"{median(turn.links_s for turn in turns):,.0f}",
            f"{median(turn.links_s_of_core for turn in turns):,.0f}",
            *(
                f"{median(getattr(turn, name) for turn in turns):.2f}"
                for name in ("control_us", "postgres_us", "redis_us")
            ),
        )
    ]


def _run(links: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="pointsman-bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # run by root, PostgreSQL becomes another user, who must find its way
        with running_stack(directory) as stack, copying.target(directory) as (pid, url):
            Console().print(f"adding {links:,} links")
            store.add_links(stack.postgres_dsn, links)
            asyncio.run(copying.vacuum(stack.postgres_dsn))
            return {"links": links, "turns": [asdict(copying.measure(stack, pid, url)) for _ in range(TURNS)]}


if __name__ == "__main__":
    sys.exit(main())
