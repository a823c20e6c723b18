"""The books of a writer: what it reported, and what has become of it here; pure.

`recorded` and `dropped` come from its reports, the rest is counted here. Reports come late, twice and out of order, so
which of them says what is decided by counts alone: see `wire.report`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from wire.report import DROP_REASONS, Report

# What PostgreSQL and Python's datetime can both hold; a report's instants may say anything below 2^63.
INSTANT_MS_MAX: Final = 253_402_300_799_000
# Of bigint. Of unknown codes nothing says that a report's counts have a sum below it.
COUNT_MAX: Final = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Clicks of a writer: stored, and lying in dead frames as far as they can be told apart."""

    edge_id: str
    stored: int = 0
    stored_unknown: int = 0
    dead: int = 0
    dead_unknown: int = 0

    def plus(self, other: "Counts") -> "Counts":
        """Both together."""
        return Counts(
            edge_id=self.edge_id,
            stored=self.stored + other.stored,
            stored_unknown=self.stored_unknown + other.stored_unknown,
            dead=self.dead + other.dead,
            dead_unknown=self.dead_unknown + other.dead_unknown,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """A row of click_writers."""

    writer: int
    edge_id: str
    started_ms: int | None = None
    reported_ms: int | None = None
    recorded: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    unknown_recorded: int = 0
    unknown_dropped: int = 0
    stored: int = 0
    stored_unknown: int = 0
    dead: int = 0
    dead_unknown: int = 0
    is_final: bool = False


def counted(book: Book, counts: Counts) -> Book:
    """The book after a batch."""
    return replace(
        book,
        stored=book.stored + counts.stored,
        stored_unknown=book.stored_unknown + counts.stored_unknown,
        dead=book.dead + counts.dead,
        dead_unknown=book.dead_unknown + counts.dead_unknown,
    )


def reported(book: Book, report: Report) -> Book:
    """The book after a report, whichever came before; that of two reports is the same whichever comes first."""
    served = max(book.recorded + sum(book.dropped.values()), report.served)
    dropped = {reason: max(book.dropped.get(reason, 0), report.dropped[reason]) for reason in DROP_REASONS}
    unknown_served = max(book.unknown_recorded + book.unknown_dropped, report.unknown_recorded + report.unknown_dropped)
    unknown_dropped = max(book.unknown_dropped, report.unknown_dropped)
    if book.is_final or report.is_final:
        last = report if report.is_final else book
        # What is stored was recorded, whatever a ledger that a power cut threw back says.
        recorded = max(last.recorded, book.stored + book.dead)
        unknown_recorded = max(last.unknown_recorded, book.stored_unknown + book.dead_unknown)
        dropped["torn"] = 0
        dropped["torn"] = max(0, served - recorded - sum(dropped.values()))
        unknown_dropped = min(max(0, unknown_served - unknown_recorded), COUNT_MAX)
    else:
        recorded = max(0, served - sum(dropped.values()))
        unknown_recorded = max(0, unknown_served - unknown_dropped)
    return replace(
        book,
        edge_id=report.edge_id,
        started_ms=min(report.started_ms, INSTANT_MS_MAX),
        reported_ms=max(book.reported_ms or 0, min(report.at_ms, INSTANT_MS_MAX)),
        recorded=recorded,
        dropped=dropped,
        unknown_recorded=unknown_recorded,
        unknown_dropped=unknown_dropped,
        is_final=book.is_final or report.is_final,
    )


def settle(books: Iterable[Book], counts: Mapping[int, Counts], reports: Iterable[Report]) -> list[Book]:
    """The books of all writers that a batch concerns, by rising writer; one without a row gets its first."""
    settled = {book.writer: book for book in books}
    for writer, count in counts.items():
        settled[writer] = counted(settled.get(writer) or Book(writer=writer, edge_id=count.edge_id), count)
    for report in reports:
        book = settled.get(report.writer) or Book(writer=report.writer, edge_id=report.edge_id)
        settled[report.writer] = reported(book, report)
    return [settled[writer] for writer in sorted(settled)]
