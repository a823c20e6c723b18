"""The results as rows of text, for the terminal and for the page."""

from typing import Any, Final

from benchmarks.load.generator import BROKEN

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

FAULTS_COLUMNS: Final = (
    "",
    "the move ended",
    "s",
    "answers",
    "wrong",
    "broken",
    "changes/s",
    "links moved",
)


def rows(document: dict[str, Any]) -> list[tuple[str, ...]]:
    """An act a line."""
    return [_row(act) for act in document["acts"]]


def faults_rows(document: dict[str, Any]) -> list[tuple[str, ...]]:
    """The same of acts with faults, which have no quiet time to be compared with."""
    return [_faults_row(act) for act in document["acts"]]


def _row(act: dict[str, Any]) -> tuple[str, ...]:
    report, quiet, counts = act["report"], act["quiet"], act["counts"]
    p99_ms = report["latency_us"]["p99"] / 1000
    quiet_ms = quiet["latency_us"]["p99"] / 1000 if quiet else None
    copied = counts.get("rows", 0)
    seconds = act["phases"].get("copying", 0)
    return (
        act["title"],
        f"{act['seconds']:.0f}",
        f"{report['answered']:,}",
        _wrong(act),
        _changes_s(act),
        f"{act['changes']['wait_p99_ms']:.0f}",
        f"{p99_ms:.2f}",
        f"{quiet_ms:.2f}" if quiet_ms else NONE,
        f"{p99_ms / quiet_ms:.2f}" if quiet_ms else NONE,
        f"{copied:,}",
        f"{copied / seconds:,.0f}" if seconds else NONE,
        f"{act['bytes'] / 1e6:.1f}",
        f"{act['postgres']['postgres']:.2f}",
    )


def _faults_row(act: dict[str, Any]) -> tuple[str, ...]:
    return (
        act["title"],
        act["phase"],
        f"{act['seconds']:.0f}",
        f"{act['report']['answered']:,}",
        _wrong(act),
        f"{_errors(act, *BROKEN):,}",
        _changes_s(act),
        f"{act['counts'].get('rows', 0):,}",
    )


def _wrong(act: dict[str, Any]) -> str:
    failures = f" ({len(act['failures'])} failures)" if act["failures"] else ""
    return f"{_errors(act, 'status', 'location')}{failures}"


def _errors(act: dict[str, Any], *kinds: str) -> int:
    """Of all clients."""
    return sum(each["errors"].get(kind, 0) for each in (act["report"], *act["others"]) for kind in kinds)


def _changes_s(act: dict[str, Any]) -> str:
    return f"{act['changes']['counts'].get('changes', 0) / act['changes']['seconds']:.0f}"
