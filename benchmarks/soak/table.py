"""The results as rows of text, and what they fail of."""

from statistics import median
from typing import Any, Final

from benchmarks.soak.chart import chart
from benchmarks.soak.flatness import GROWTH_KB_MAX, SLOPE_KB_PER_MIN_MAX, Flatness, judge

Row = tuple[str, ...]

COLUMNS: Final = ("", "target", "measured", "least", "most")


def rows(document: dict[str, Any]) -> list[Row]:
    """What was measured, with its spread over the samples."""
    flatness = _flatness(document)
    return [
        ("requests answered, all rightly", "", f"{document['requests']:,}", "", ""),
        _slope_row(flatness),
        ("growth after the first minute, KB", f"≤ {GROWTH_KB_MAX:,.0f}", f"{flatness.growth_kb:,.0f}", "", ""),
        ("descriptors left over", "0", f"{left_over(document)}", "", ""),
        _spread("memory, KB", document, "resident_kb"),
        _spread("descriptors", document, "descriptors"),
        _spread("connections", document, "connections"),
        _spread("flights", document, "flights"),
    ]


def picture(document: dict[str, Any]) -> str:
    """Memory over time."""
    return chart([sample["resident_kb"] for sample in document["samples"]], "KB")


def failures(document: dict[str, Any]) -> list[str]:
    """What did not hold."""
    flatness, found = _flatness(document), []
    if not flatness.is_flat:
        found.append(
            f"memory grew by {flatness.slope_kb_per_min:,.0f} KB a minute and {flatness.growth_kb:,.0f} KB in all"
        )
    if left_over(document):
        found.append(f"{left_over(document)} descriptors were left when the load had gone")
    return found


def left_over(document: dict[str, Any]) -> int:
    """Descriptors that were not open before the load."""
    return max(0, int(document["after"]["descriptors"]) - int(document["before"]["descriptors"]))


def _flatness(document: dict[str, Any]) -> Flatness:
    samples = document["samples"]
    return judge([sample["at_s"] for sample in samples], [sample["resident_kb"] for sample in samples])


def _slope_row(flatness: Flatness) -> Row:
    name = "growth a minute, least squares, KB" + ("" if flatness.is_judged else " (too short to judge)")
    return name, f"≤ {SLOPE_KB_PER_MIN_MAX:,.0f}", f"{flatness.slope_kb_per_min:,.0f}", "", ""


def _spread(name: str, document: dict[str, Any], number: str) -> Row:
    values = [sample[number] for sample in document["samples"] if sample[number] is not None]
    if not values:
        return name, "", "not shown", "", ""
    return name, "", f"{median(values):,.0f}", f"{min(values):,.0f}", f"{max(values):,.0f}"
