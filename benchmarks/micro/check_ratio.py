"""python -m benchmarks.micro.check_ratio: how much faster the compiled side is, and whether that is enough.

Each side's least time is compared: it is the one with the least of what else the machine was doing in it.
"""

import sys
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from benchmarks import BenchmarkError, results

# Under these a build is refused: about half of what is usual, so that neither noise nor another CPU trips them. The
# cache's methods cost little beside the call from Python, which the edge does not make, and against a dict in C; what
# is held there is that they do not become slow. So it is with the token of a budget.
LEAST_RATIOS: Final = {
    "base62 encode": 12.0,
    "base62 decode": 5.0,
    "code permutation": 300.0,
    "xxh64 of a key": 10.0,
    "ring lookup, 3 shards": 5.0,
    "ring lookup, 8 shards": 5.0,
    "ring lookup, 16 shards": 6.0,
    "ring lookup, 64 shards": 7.0,
    "ring build, 3 shards": 20.0,
    "ring build, 8 shards": 20.0,
    "ring build, 16 shards": 20.0,
    "arcs that move, 8 to 9 shards": 80.0,
    "cache lookup, 1,000 entries": 0.7,
    "cache lookup, 100,000 entries": 0.7,
    "cache miss": 0.6,
    "cache insert with eviction": 1.2,
    "request head, least": 7.0,
    "request head, curl": 7.0,
    "request head, browser": 7.0,
    "100 request heads, wrk": 30.0,
    "100 request heads, least": 30.0,
    "100 request heads, curl": 25.0,
    "100 request heads, browser": 20.0,
    "100 request heads, proxied": 20.0,
    "link record, common": 50.0,
    "link record, with all fields": 60.0,
    "client key": 80.0,
    "forwarded chain of 4": 11.0,
    "PROXY header, version 1": 5.0,
    "PROXY header, version 2": 3.5,
    "token, 1,000 clients": 2.0,
    "token, 30,000 clients": 2.0,
    "click, wrk": 7.0,
    "click, browser": 7.0,
    "click, 1,000 browsers": 6.0,
    "User-Agent, phone": 20.0,
    "User-Agent, iPhone": 25.0,
    "User-Agent, bot": 3.5,
    "User-Agent, hostile": 50.0,
    "place of an address": 2.5,
    "decode 1,000 clicks": 100.0,
    "fold 10,000 clicks, one link": 15.0,
    "fold 10,000 clicks, Zipf": 15.0,
    "fold 10,000 clicks, a million links": 6.0,
    "summary of 30 days": 3.0,
    "calls for 10,000 links": 40.0,
    "10,000 links beside values": 3.0,
}
COLUMNS: Final = ("operation", "plain ns", "compiled ns", "ratio", "least")


@dataclass(frozen=True, slots=True)
class Pair:
    """One operation on both sides, in nanoseconds, and the ratio that it must reach."""

    group: str
    plain_ns: float
    compiled_ns: float
    least_ratio: float

    @property
    def ratio(self) -> float:
        """Times faster."""
        return self.plain_ns / self.compiled_ns

    @property
    def is_enough(self) -> bool:
        """Whether the ratio is reached."""
        return self.ratio >= self.least_ratio


def pairs(document: dict[str, Any]) -> list[Pair]:
    """The pairs of a pytest-benchmark document; raises BenchmarkError unless they are just those of LEAST_RATIOS."""
    sides: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for benchmark in document["benchmarks"]:
        info = benchmark["extra_info"]
        sides[benchmark["group"]][info["side"]] = benchmark["stats"]["min"] / info["operations"] * 1e9
    if sides.keys() != LEAST_RATIOS.keys():
        raise BenchmarkError(f"timed and stated groups differ: {sorted(sides.keys() ^ LEAST_RATIOS.keys())}")
    halves = [group for group, times in sides.items() if len(times) != 2]
    if halves:
        raise BenchmarkError(f"only one side was timed of {halves}")
    return [
        Pair(group, sides[group]["plain"], sides[group]["compiled"], least_ratio)
        for group, least_ratio in LEAST_RATIOS.items()
    ]


def check(document: dict[str, Any], console: Console) -> bool:
    """Print the pairs; whether all ratios are reached."""
    table = Table(COLUMNS[0], title="Compiled beside plain Python", title_justify="left")
    for column in COLUMNS[1:]:
        table.add_column(column, justify="right")
    found = pairs(document)
    for pair in found:
        style = None if pair.is_enough else "red"
        table.add_row(pair.group, *numbers(pair), style=style)
    console.print(table)
    for pair in found:
        if not pair.is_enough:
            console.print(f"{pair.group}: {pair.ratio:.2f} is under {pair.least_ratio}", style="red")
    return all(pair.is_enough for pair in found)


def numbers(pair: Pair) -> tuple[str, ...]:
    """The cells behind a pair's name."""
    return f"{pair.plain_ns:,.0f}", f"{pair.compiled_ns:,.0f}", f"{pair.ratio:,.1f}", f"{pair.least_ratio:g}"


def main() -> int:
    """Check the last results; the exit code: 0 all ratios reached, 1 not."""
    console = Console()
    try:
        return 0 if check(results.read("micro"), console) else 1
    except BenchmarkError as error:
        console.print(f"benchmarks: {error}", style="red", markup=False)
        return 1


if __name__ == "__main__":
    sys.exit(main())
