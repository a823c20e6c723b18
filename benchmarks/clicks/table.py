"""The results as rows of text, for the terminal and for the page."""

from typing import Any, Final

COLUMNS: Final = ("", "clicks/s", "control, µs a click", "PostgreSQL, µs", "Redis, µs")
TABLE_COLUMNS: Final = ("table", "rows", "table, MB", "indexes, MB")
LATENCY_COLUMNS: Final = ("statistics of 30 days", "p50, ms", "p99, ms", "longest, ms")
Row = tuple[str, ...]


def ingest_rows(document: dict[str, Any]) -> list[Row]:
    """What clicks cost, by where they went."""
    return [_ingest_row(measured) for measured in document["ingest"]]


def table_rows(document: dict[str, Any]) -> list[Row]:
    """What the population weighs."""
    return [
        (
            table["name"],
            f"{table['rows']:,}",
            f"{table['table_bytes'] / 1e6:,.1f}",
            f"{table['index_bytes'] / 1e6:,.1f}",
        )
        for table in document["population"]["tables"]
    ]


def latency_rows(document: dict[str, Any]) -> list[Row]:
    """How long statistics take."""
    return [
        (name, *(f"{taken[quantile]:.1f}" for quantile in ("p50", "p99", "max")))
        for name, taken in document["latencies_ms"].items()
    ]


def _ingest_row(measured: dict[str, Any]) -> Row:
    used = measured["us_per_click"]
    costs = (f"{used[kind]:.2f}" for kind in ("control_us", "postgres_us", "redis_us"))
    return (measured["name"], f"{measured['clicks_per_s']:,.0f}", *costs)
