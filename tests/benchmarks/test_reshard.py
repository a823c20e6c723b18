"""Moves under load: what the truth says, and how acts are shown."""

from pathlib import Path

import pytest

from benchmarks.reshard import population
from benchmarks.reshard.acts import ABORTS
from benchmarks.reshard.population import Truth, is_absent
from benchmarks.reshard.table import COLUMNS, FAULTS_COLUMNS, faults_rows, rows


def test_a_change_is_possible_when_it_begins_and_certain_when_it_is_confirmed(tmp_path: Path) -> None:
    """Others see it through the file; a link that was never touched is not changed."""
    links = population.make(tmp_path, 10, 100)
    with Truth(links) as ours, Truth(links) as theirs:
        assert (theirs.floor(3), theirs.ceiling(3), theirs.changed()) == (0, 0, [])
        assert ours.begin(3) == 1
        assert (theirs.floor(3), theirs.ceiling(3), theirs.changed()) == (0, 1, [3])
        ours.confirm(3, 1)
        assert (theirs.floor(3), theirs.ceiling(3)) == (1, 1)


def test_the_popular_are_asked_for_most(tmp_path: Path) -> None:
    """Numbers of the order are those of links, the first ones the most frequent; files are of one length."""
    links = population.make(tmp_path, 100, 10_000)
    order = links.read_order()
    assert len(order) == 10_000
    assert set(order) <= set(range(100))
    assert order.count(0) > order.count(10) > order.count(90)
    assert len(links.read_links()) == 100


@pytest.mark.parametrize(("number", "version", "absent"), [(3, 1, True), (3, 2, False), (2, 1, False), (7, 3, True)])
def test_every_fourth_link_comes_and_goes(number: int, version: int, absent: bool) -> None:
    """Its odd versions are its absence."""
    assert is_absent(number, version) is absent


def test_every_phase_that_can_be_aborted_is_an_act() -> None:
    """As the table of steps has them."""
    assert set(ABORTS) == {
        "planned", "arming_writes", "copying", "verifying", "arming_reads", "cutting_over", "soaking",
    }  # fmt: skip


def test_a_row_shows_wrong_answers_of_all_clients() -> None:
    """Also of those that only the act had; without a quiet time there is no ratio."""
    report = {"answered": 10, "latency_us": {"p99": 3000.0}, "errors": {"status": 1, "location": 2, "broken": 4}}
    act = {
        "title": "an act", "seconds": 9.6, "report": report, "others": [report], "quiet": None, "failures": ["x"],
        "changes": {"counts": {"changes": 50}, "seconds": 10, "wait_p99_ms": 12.3}, "counts": {"rows": 100},
        "phases": {"copying": 2.0}, "bytes": 1_000_000, "postgres": {"postgres": 0.5}, "phase": "aborted",
    }  # fmt: skip
    (row,) = rows({"acts": [act]})
    assert len(row) == len(COLUMNS)
    assert row[:6] == ("an act", "10", "10", "6 (1 failures)", "5", "12")
    assert "50" in row
    (row,) = faults_rows({"acts": [act]})
    assert len(row) == len(FAULTS_COLUMNS)
    assert row == ("an act", "aborted", "10", "10", "6 (1 failures)", "8", "5", "100")
