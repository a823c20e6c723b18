"""The results as rows of text, for the terminal and for the page."""

from typing import Any

TITLES = {
    "table_bytes": "PostgreSQL, table, bytes a link",
    "index_bytes": "PostgreSQL, indexes, bytes a link",
    "redis_bytes": "Redis, bytes a link",
    "l1_bytes": "L1 of an edge worker, bytes a link",
}


def rows(document: dict[str, Any]) -> list[tuple[str, str]]:
    """What was measured, and its value."""
    seconds = [
        ("`pointsman link import`", f"{document['import_s']:.1f} s"),
        ("`pointsman project --all`", f"{document['project_s']:.1f} s"),
    ]
    weights = [(title, f"{document['bytes_per_link'][name]:.0f}") for name, title in TITLES.items()]
    return [("links", f"{document['links']:,}"), *seconds, *weights]
