"""What was last reported of each writer, and what is to be reported now. Pure: the clock is a parameter.

A writer has at most one report in the streams: while nobody reads them, reports must not take the room of frames.

    due ──sent──▶ told ──REPORT_MS, and changed or AGAIN_MS, and its entry is gone──▶ due
                  told, final ──acknowledged──▶ over
    told ──the writer's final report──▶ due, at once
"""

from dataclasses import dataclass, replace
from typing import Final

from edge.backlog import Place
from wire.report import Report

REPORT_MS: Final = 2000
# A report that a shard lost is made good by the next one; a writer that serves nothing has no next one by itself.
AGAIN_MS: Final = 60_000


@dataclass(slots=True)
class Told:
    """The last report of a writer, and where it is."""

    report: Report
    place: Place
    entry_id: bytes
    sent_ms: int
    look_ms: int  # not before then is anything done about this writer


class Reports:
    """Of all writers of a directory."""

    def __init__(self) -> None:
        self._told: dict[int, Told] = {}

    def is_due(self, report: Report, now_ms: int) -> bool:
        """Whether to report this now, if nothing is `ahead` of it."""
        told = self._told.get(report.writer)
        if told is None or _is_last_word(report, told):
            return True
        if now_ms < told.look_ms:
            return False
        return report.is_final or now_ms - told.sent_ms >= AGAIN_MS or _counts(report) != _counts(told.report)

    def ahead(self, report: Report) -> Told | None:
        """What has to be gone from its stream before this is sent."""
        told = self._told.get(report.writer)
        return None if told is None or _is_last_word(report, told) else told

    def sent(self, report: Report, place: Place, entry_id: bytes, now_ms: int) -> None:
        """The report is an entry of a stream."""
        self._told[report.writer] = Told(report, place, entry_id, now_ms, now_ms + REPORT_MS)

    def remains(self, writer: int, now_ms: int) -> None:
        """Nobody has read the last one yet; one that was lost meanwhile may be there from its shard's disk."""
        told = self._told.get(writer)
        if told is not None:
            told.look_ms = now_ms + REPORT_MS

    def lose(self, shard_id: str, living_run_id: str = "") -> None:
        """What was sent to a shard is lost, but for what the process with `living_run_id` got."""
        for writer, told in list(self._told.items()):
            if told.place.shard_id == shard_id and told.place.run_id != living_run_id:
                del self._told[writer]

    def has_ended(self, writer: int) -> bool:
        """Whether the last thing that was said of it was its final report."""
        told = self._told.get(writer)
        return told is not None and told.report.is_final

    def awaited(self) -> set[str]:
        """The shards at which final reports are acknowledged."""
        return {told.place.shard_id for told in self._told.values() if told.report.is_final}

    def forget(self, writer: int) -> None:
        """Its ledger is gone."""
        self._told.pop(writer, None)


def _is_last_word(report: Report, told: Told) -> bool:
    """The final report waits for nothing: an edge that stops has little time to tell it."""
    return report.is_final and not told.report.is_final


def _counts(report: Report) -> Report:
    return replace(report, at_ms=0)
