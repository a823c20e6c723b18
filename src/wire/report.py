"""What a worker of an edge has served, recorded and dropped since its start: one entry of a shard's stream.

`served` = `recorded` + the sum of `dropped`; answers 404 to unknown codes are counted apart, likewise.

`served` and each reason of `dropped` only rise, so a report that comes late or twice is harmless: of each the highest
holds, and `recorded` is what is left. It rises too, but for one case: what a power cut took was recorded once and is
`torn` then. A ledger that the cut threw back may know less than was reported before, so the final report decides: its
`recorded` is what the files of the dead writer held, and what was served beyond that and not dropped otherwise is torn.
"""

from dataclasses import asdict, dataclass
from typing import Any, Final

from wire import document
from wire.errors import FormatError

FORMAT_VERSION: Final = 1
# Why a click was not recorded. A closed set: it is a label of metrics and a column of tables.
DROP_REASONS: Final = ("backlog_full", "disk_full", "no_segment", "torn")


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """`writer` and `edge_id` as in a frame; `dropped` and `unknown_dropped` by DROP_REASONS, all of them."""

    edge_id: str
    writer: int
    started_ms: int
    at_ms: int
    served: int
    recorded: int
    dropped: dict[str, int]
    unknown_recorded: int
    unknown_dropped: int
    is_final: bool


def encode(report: Report) -> bytes:
    """The value of a stream entry's field REPORT_FIELD."""
    return document.pack(FORMAT_VERSION, asdict(report))


def decode(data: bytes) -> Report:
    """The report in `data`; raises FormatError."""
    body = document.unpack(data, FORMAT_VERSION, "report")
    report = Report(
        edge_id=document.field(body, "edge_id", str, "report"),
        dropped=_dropped(body),
        is_final=document.field(body, "is_final", bool, "report"),
        **{
            name: _count(body, name)
            for name in ("writer", "started_ms", "at_ms", "served", "recorded", "unknown_recorded", "unknown_dropped")
        },
    )
    if report.served != report.recorded + sum(report.dropped.values()):
        raise FormatError("value", f"report: {report.served} served are not the recorded and the dropped together")
    return report


def _dropped(body: dict[str, Any]) -> dict[str, int]:
    dropped = document.field(body, "dropped", dict, "report")
    if set(dropped) != set(DROP_REASONS):
        raise FormatError("value", f"report: the reasons {sorted(dropped)} are not {sorted(DROP_REASONS)}")
    return {reason: _count(dropped, reason) for reason in DROP_REASONS}


def _count(body: dict[str, Any], name: str) -> int:
    count = document.field(body, name, int, "report")
    if not 0 <= count < 2**63:
        raise FormatError("value", f"report: {name} {count} is not in 0..2^63-1")
    return count
