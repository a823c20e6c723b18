"""The books of a writer: the same in whatever order its reports come, and nothing of what was served is forgotten."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from hypothesis import given
from hypothesis import strategies as st

from control.clicks.books import Book, Counts, counted, reported
from tests.control.clicks.depot import Segment, report_of
from wire.report import DROP_REASONS, Report

SEGMENT = Segment(writer=7)
BOOK = Book(writer=7, edge_id="edge-1")


def told(
    recorded: int,
    unknown: tuple[int, int] = (0, 0),
    dropped: Mapping[str, int] = MappingProxyType({}),
    *,
    is_final: bool = False,
) -> Report:
    """A report of the writer, as of no instant."""
    return report_of(
        SEGMENT,
        recorded,
        dropped=dict(dropped),
        at_ms=5,
        unknown_recorded=unknown[0],
        unknown_dropped=unknown[1],
        is_final=is_final,
    )


def books_of(*reports: Report, book: Book = BOOK) -> Book:
    """The books after these reports."""
    for report in reports:
        book = reported(book, report)
    return book


def counts(book: Book) -> tuple[int, int, int, int]:
    """Recorded and dropped clicks, and those of unknown codes."""
    return book.recorded, sum(book.dropped.values()), book.unknown_recorded, book.unknown_dropped


def test_late_and_repeated_reports_change_nothing() -> None:
    """Of each count the highest holds."""
    early, late = told(10, (3, 0)), told(20, (3, 2), {"disk_full": 5})
    assert counts(books_of(early, late, late, early)) == (20, 5, 3, 2)


def test_what_a_power_cut_took_is_served_once() -> None:
    """It was recorded and is torn, long before the final report: that may not come while a file is set aside."""
    before, after = told(100, (20, 1)), told(70, (15, 6), {"torn": 30})
    for reports in ((before, after), (after, before), (before, after, before)):
        assert counts(books_of(*reports)) == (70, 30, 15, 6)


def test_what_a_ledger_forgot_is_torn_in_the_end() -> None:
    """The cut threw the ledger back: of the 1000 clicks that it once had, the disk has 150 and knows of 50 more."""
    before = told(1000, (100, 3), {"backlog_full": 8})
    final = told(150, (40, 1), {"torn": 50, "backlog_full": 2}, is_final=True)
    for reports in ((before, final), (final, before), (before, final, before, final)):
        book = books_of(*reports)
        assert (book.recorded, book.dropped["torn"], book.dropped["backlog_full"]) == (150, 850, 8)
        assert (book.unknown_recorded, book.unknown_dropped) == (40, 63)
        assert book.is_final


def test_what_is_stored_is_not_torn() -> None:
    """The segment was stored and deleted, and the ledger that the cut threw back takes it for one that was lost."""
    book = counted(BOOK, Counts(edge_id="edge-1", stored=500, stored_unknown=10))
    book = books_of(told(500, (10, 0)), told(0, (0, 10), {"torn": 500}, is_final=True), book=book)
    assert counts(book) == (500, 0, 10, 0)


@st.composite
def lives(draw: st.DrawFn) -> list[Report]:
    """What a writer may report from its first click to its end, with a power cut at some instant or without one."""
    reports = []
    recorded = unknown = 0
    dropped = dict.fromkeys(DROP_REASONS[:-1], 0)
    steps = draw(st.lists(st.tuples(st.sampled_from(["click", "unknown", *dropped]), st.integers(1, 9)), max_size=12))
    for what, count in steps:
        recorded += count if what == "click" else 0
        unknown += count if what == "unknown" else 0
        if what in dropped:
            dropped[what] += count
        reports.append(told(recorded, (unknown, 0), dropped))
    torn, unknown_torn = draw(st.integers(0, recorded)), draw(st.integers(0, unknown))
    last = told(recorded - torn, (unknown - unknown_torn, unknown_torn), dropped | {"torn": torn})
    return [*reports, last, replace(last, is_final=True)]


@given(life=lives(), data=st.data())
def test_order_of_reports_does_not_matter(life: list[Report], data: st.DataObject) -> None:
    """Some are lost, some come twice, none in its turn: in the end the last one's counts hold."""
    some = data.draw(st.lists(st.sampled_from(life)))
    book = books_of(*data.draw(st.permutations([*some, life[-1]])))
    last = life[-1]
    assert counts(book) == (
        last.recorded,
        sum(last.dropped.values()),
        last.unknown_recorded,
        last.unknown_dropped,
    )
    assert dict(book.dropped) == last.dropped
    without = books_of(*(report for report in some if not report.is_final))
    newest = max((report for report in some if not report.is_final), key=life.index, default=told(0))
    assert counts(without) == counts(books_of(newest))
