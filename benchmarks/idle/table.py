"""The results as rows of text."""

from statistics import median
from typing import Any, Final

Row = tuple[str, ...]

CONNECTION_BYTES_MAX: Final = 6 * 1024
LOSS_MAX: Final = 1.05  # "no loss", with room for the noise of a small machine
COLUMNS: Final = ("", "target", "edge", "least", "most", "nginx")


def rows(document: dict[str, Any]) -> list[Row]:
    """What was measured of the edge, with its spread, and of nginx."""
    edge, nginx = document["servers"]["edge"], document["servers"].get("nginx")
    count = document["connections"]
    # Later rounds find memory that the first one left: that one shows what a connection takes. nginx's does not: it
    # takes its connections' memory from what reading its map of links has left.
    taken = f"{edge[0]['added_bytes'] / count:,.0f}"
    return [
        ("bytes a connection", f"≤ {CONNECTION_BYTES_MAX:,}", taken, "", "", ""),
        _spread("CPU per request, with / without them", f"≤ {LOSS_MAX:.2f}", "cpu_us", edge, nginx),
        _spread("requests/s, with / without them", "", "per_s", edge, nginx),
    ]


def _spread(name: str, target: str, number: str, edge: list[dict[str, float]], nginx: list[dict[str, float]]) -> Row:
    ours, theirs = _quotients(number, edge), _quotients(number, nginx or [])
    beside = f"{median(theirs):.2f}" if theirs else ""
    return name, target, f"{median(ours):.2f}", f"{min(ours):.2f}", f"{max(ours):.2f}", beside


def _quotients(number: str, rounds: list[dict[str, float]]) -> list[float]:
    return [each[f"{number}_with"] / each[f"{number}_without"] for each in rounds]
