"""The results as rows of text, for the terminal and for the page."""

from statistics import fmean, median
from typing import Any, Final

SHIPPED: Final = "L1"


def columns(document: dict[str, Any]) -> tuple[str, ...]:
    """The heads of `rows`."""
    return ("trace", "entries", "LRU hits", *(name for name in document["points"][0]["misses"] if name != "LRU"))


def rows(document: dict[str, Any]) -> list[tuple[str, ...]]:
    """A point: LRU's hit ratio, and each policy's misses beside LRU's."""
    return [
        (
            point["trace"],
            f"{point['capacity']:,}",
            f"{1 - point['misses']['LRU'] / point['requests']:.3f}",
            *(f"{100 * change:+.1f} %" for change in _changes(point).values()),
        )
        for point in document["points"]
    ]


def remarks(document: dict[str, Any]) -> list[str]:
    """Means, L1's worst point, time, bytes and scan."""
    kinds = (("recorded traces", True), ("Zipf", False))
    lines = [
        f"{title}, mean: " + ", ".join(f"{name} {100 * mean:+.1f} %" for name, mean in _means(document, kind).items())
        for title, kind in kinds
        if _means(document, kind)
    ]
    worst = max(document["points"], key=lambda point: _changes(point)[SHIPPED])
    lines.append(
        f"{SHIPPED}'s worst point: {worst['trace']} with {worst['capacity']:,} entries, "
        f"{100 * _changes(worst)[SHIPPED]:+.1f} %"
    )
    lines += [
        f"look-up among {row['entries']:,} entries in random order: {median(row['nanoseconds']):.0f} ns"
        for row in document["lookups"]
    ]
    lines += [
        f"hit ratio of the hottest keys, {scan['arrangement']}: {scan['quiet']:.4f}, scanned {scan['scanned']:.4f}"
        for scan in document["scans"]
    ]
    lines.append(
        "bytes an entry besides key and payload, by payload: "
        + ", ".join(f"{row['payload_bytes']:,}: {row['overhead_bytes']:.0f}" for row in document["overheads"])
    )
    return lines


def _changes(point: dict[str, Any]) -> dict[str, float]:
    misses = point["misses"]
    return {name: count / misses["LRU"] - 1 for name, count in misses.items() if name != "LRU"}


def _means(document: dict[str, Any], is_recorded: bool) -> dict[str, float]:
    changes = [_changes(point) for point in document["points"] if point["is_recorded"] == is_recorded]
    return {name: fmean(change[name] for change in changes) for name in changes[0]} if changes else {}
