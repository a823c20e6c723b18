"""The results as rows of text, for the terminal and for the page."""

from collections.abc import Sequence
from statistics import median
from typing import Any, Final

from benchmarks.moves.costs import Costs

COLUMNS: Final = ("", "links/s", "links/s of a core of control", "control, µs a link", "PostgreSQL, µs", "Redis, µs")


def rows(document: dict[str, Any]) -> list[tuple[str, ...]]:
    """The medians of all turns."""
    audits = document["audits"]
    return [
        _row("copying {:,} links", document["turns"]),
        _row("audit: comparing {:,} links with their shards", [audit["links"] for audit in audits]),
        _row("audit: looking through {:,} keys of shards", [audit["keys"] for audit in audits]),
    ]


def _row(title: str, turns: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    costs = [Costs(**turn) for turn in turns]
    numbers = [[getattr(cost, name) for cost in costs] for name in ("control_us", "postgres_us", "redis_us")]
    return (
        title.format(costs[0].links),
        f"{median(cost.links_s for cost in costs):,.0f}",
        f"{median(cost.links_s_of_core for cost in costs):,.0f}",
        *(f"{median(values):.2f}" for values in numbers),
    )
