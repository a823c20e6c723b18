"""The results as rows of text, for the terminal and for the page."""

from typing import Any, Final

from benchmarks.freshness.measure import Waits

COLUMNS: Final = ("", "p50, ms", "p90, ms", "p99, ms", "most, ms", "answers of workers after it", "stale ones")


def rows(document: dict[str, Any]) -> list[tuple[str, ...]]:
    """A kind of request a line."""
    return [_row(Waits(**waits)) for waits in document["waits"]]


def _row(waits: Waits) -> tuple[str, ...]:
    shares = (0.5, 0.9, 0.99, 1.0)
    return (waits.title, *(f"{waits.at(share):.1f}" for share in shares), f"{waits.reads:,}", f"{waits.stale}")
