"""When a writer is reported: what changed soon, what did not once a minute, what is final at once."""

from dataclasses import replace

from edge.backlog import Place
from edge.reports import AGAIN_MS, REPORT_MS, Reports
from wire.report import DROP_REASONS, Report

PLACE = Place("shard-0", "run-0")
REPORT = Report(
    edge_id="test",
    writer=7,
    started_ms=1,
    at_ms=2,
    served=3,
    recorded=3,
    dropped=dict.fromkeys(DROP_REASONS, 0),
    unknown_recorded=0,
    unknown_dropped=0,
    is_final=False,
)
CHANGED = replace(REPORT, served=4, recorded=4)
FINAL = replace(REPORT, is_final=True)


def told(report: Report = REPORT) -> Reports:
    """A writer was reported at 0."""
    reports = Reports()
    assert reports.is_due(report, 0)
    reports.sent(report, PLACE, b"1-0", 0)
    return reports


def test_change_is_reported_after_a_while() -> None:
    """Not more often than every two seconds; and not while the last report is in the stream."""
    reports = told()
    assert not reports.is_due(CHANGED, REPORT_MS - 1)
    assert reports.is_due(CHANGED, REPORT_MS)
    reports.remains(7, REPORT_MS)
    assert not reports.is_due(CHANGED, 2 * REPORT_MS - 1)
    assert reports.is_due(CHANGED, 2 * REPORT_MS)


def test_what_did_not_change_is_repeated_seldom() -> None:
    """A shard may have lost it; its instant alone is no change."""
    reports = told()
    assert not reports.is_due(replace(REPORT, at_ms=9), AGAIN_MS - 1)
    assert reports.is_due(REPORT, AGAIN_MS)


def test_final_report_waits_for_nothing_but_its_acknowledgement() -> None:
    """It goes behind a report that is still in the stream, and again until it is forgotten."""
    reports = told()
    assert reports.is_due(FINAL, 1)
    assert (reports.ahead(FINAL), reports.has_ended(7)) == (None, False)
    reports.sent(FINAL, PLACE, b"2-0", 1)
    assert (reports.has_ended(7), reports.awaited()) == (True, {"shard-0"})
    assert reports.is_due(FINAL, 1 + REPORT_MS)
    last = reports.ahead(FINAL)
    assert last is not None
    assert last.entry_id == b"2-0"
    reports.forget(7)
    assert (reports.has_ended(7), reports.awaited()) == (False, set())


def test_report_that_was_lost_with_its_shard_is_due_again() -> None:
    """But not what the process that lives has got."""
    reports = told()
    reports.lose("shard-0", living_run_id="run-0")
    assert not reports.is_due(REPORT, 1)
    reports.lose("shard-0", living_run_id="run-1")
    assert reports.is_due(REPORT, 1)
    reports.remains(7, 1)
    assert reports.is_due(REPORT, 1)
