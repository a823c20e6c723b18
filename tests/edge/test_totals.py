"""The sums of counters over generations of processes, and the loop's lag, with the clock as a parameter."""

import mmap

from edge._counters import BLOCK_BYTES, Counters
from edge.lag import WINDOW_MS, Lag
from edge.metrics import METRICS, render
from edge.totals import AMOUNTS, COUNTED, GAUGES, Totals


def test_every_counter_is_counted_or_is_true_of_an_instant() -> None:
    """Nothing is both, and an amount is always of an instant."""
    assert set(COUNTED).isdisjoint(GAUGES)
    assert AMOUNTS < GAUGES
    assert {"answers_302", "connections_opened", "tls_full"} <= set(COUNTED)
    assert {"is_ready", "beat_ms", "epoch", "memory_bytes"} <= GAUGES - AMOUNTS


def test_sums_outlive_processes_and_gauges_do_not() -> None:
    """Counters add up over both processes of a slot and over ended ones; gauges are those of the one that serves."""
    totals = Totals(slots=2)
    first, second = (totals.counters(totals.block(1, generation)) for generation in (0, 1))
    first.add("answers_302", 5)
    first.set("connections_open", 2)
    first.set("epoch", 1)
    assert totals.read(1, totals.block(1, 0)).counters["answers_302"] == 5
    second.add("answers_302", 1)
    second.set("connections_open", 3)
    second.set("epoch", 2)
    both = totals.read(1, totals.block(1, 1)).counters
    assert (both["answers_302"], both["connections_open"], both["epoch"]) == (6, 5, 2)
    totals.end(1, totals.block(1, 0))
    after = totals.read(1, totals.block(1, 1)).counters
    assert (after["answers_302"], after["connections_open"], after["epoch"]) == (6, 3, 2)
    assert first.read() == dict.fromkeys(first.read(), 0)
    assert totals.read(0, None).counters == dict.fromkeys(first.read(), 0)


def test_blocks_of_all_slots_and_generations_differ() -> None:
    """No two processes that can live at once write to the same block."""
    totals = Totals(slots=3)
    blocks = [totals.block(slot, generation) for generation in (0, 1) for slot in range(3)]
    assert blocks == [0, 1, 2, 3, 4, 5]
    assert totals.block(2, 7) == totals.block(2, 1)


def test_page_shows_each_slot_once() -> None:
    """The page of metrics has one series per slot, not per process."""
    totals = Totals(slots=2)
    page = render([totals.read(slot, totals.block(slot, 0)) for slot in range(2)], 4, 0)
    assert page.count("pointsman_edge_ready{") == 2
    assert len(METRICS) < page.count("# TYPE")


def test_lag_shows_the_largest_of_this_window_and_the_last() -> None:
    """A late turn is seen for at least a window, and for no more than two."""
    counters = Counters(mmap.mmap(-1, BLOCK_BYTES), 0)
    lag = Lag(counters, now_ms=0)
    lag.note(900, 10)
    lag.note(20, 20)
    assert (counters.get("loop_lag_us_max"), counters.get("loop_lag_us"), counters.get("loop_lags")) == (900, 920, 2)
    lag.note(30, WINDOW_MS)
    assert counters.get("loop_lag_us_max") == 900
    lag.note(40, 2 * WINDOW_MS)
    assert counters.get("loop_lag_us_max") == 40
