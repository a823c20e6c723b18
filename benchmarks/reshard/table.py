"""The results as rows of text, for the terminal and for the page."""

from typing import Any, Final

NONE: Final = "-"
COLUMNS: Final = (
    "",
    "s",
    "answers",
    "wrong",
    "changes/s",
    "a change, p99, ms",
    "p99, ms",
    "quiet p99, ms",
    "ratio",
    "links moved",
    "links/s",
    "MB",
    "PostgreSQL, cores",
)


def rows(document: dict[str, Any]) -> list[tuple[str, ...]]:
    """An act a line."""
    return [_row(act) for act in document["acts"]]


def _row(act: dict[str, Any]) -> tuple[str, ...]:
    report, quiet, counts = act["report"], act["quiet"], act["counts"]
    p99_ms = report["latency_us"]["p99"] / 1000
    quiet_ms = quiet["latency_us"]["p99"] / 1000 if quiet else None
    copied = counts.get("rows", 0)
    seconds = act["phases"].get("copying", 0)
    wrong = sum(each["errors"][kind] for each in (report, *act["others"]) for kind in ("status", "location"))
    return (
        act["title"],
        f"{act['seconds']:.0f}",
        f"{report['answered']:,}",
        f"{wrong}" + (f" ({len(act['failures'])} failures)" if act["failures"] else ""),
        f"{act['changes']['counts'].get('changes', 0) / act['changes']['seconds']:.0f}",
        f"{act['changes']['wait_p99_ms']:.0f}",
        f"{p99_ms:.2f}",
        f"{quiet_ms:.2f}" if quiet_ms else NONE,
        f"{p99_ms / quiet_ms:.2f}" if quiet_ms else NONE,
        f"{copied:,}",
        f"{copied / seconds:,.0f}" if seconds else NONE,
        f"{act['bytes'] / 1e6:.1f}",
        f"{act['postgres']['postgres']:.2f}",
    )
