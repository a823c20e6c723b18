"""The results as rows of text, for the terminal and for the page."""

from statistics import median
from typing import Any, Final

from benchmarks.moves.copying import Costs

COLUMNS: Final = ("", "links/s", "links/s of a core of control", "control, µs a link", "PostgreSQL, µs", "Redis, µs")


def rows(document: dict[str, Any]) -> list[tuple[str, ...]]:
    """The medians of all turns."""
    turns = [Costs(**turn) for turn in document["turns"]]
    costs = [[getattr(turn, name) for turn in turns] for name in ("control_us", "postgres_us", "redis_us")]
    return [
        (
            f"copying {turns[0].links:,} links",
            f"{median(turn.links_s for turn in turns):,.0f}",
            f"{median(turn.links_s_of_core for turn in turns):,.0f}",
            *(f"{median(numbers):.2f}" for numbers in costs),
        )
    ]
