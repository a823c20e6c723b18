"""Clicks of requests, from the head's bytes to the segment's. Parsing is a part of it on both sides."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.micro import plain
from benchmarks.micro.compare import Compare
from benchmarks.micro.test_http import HEADS, WRK
from edge import segment
from edge._clicklog import ClickLog
from edge._counters import BLOCK_BYTES, Counters
from edge.config import EdgeConfig
from edge.ledger import Ledger
from edge.segment import Room

SEGMENT_BYTES = 2**26  # room for all rounds
ROUNDS = 2000
AGENTS = 1000


@pytest.fixture
def log(tmp_path: Path) -> Iterator[ClickLog]:
    """A click log with one large segment, and one more for the clicks that are timed inside the module."""
    with Ledger.create(tmp_path, "edge-1", 1) as books:
        made = ClickLog(Counters(bytearray(BLOCK_BYTES), 0), EdgeConfig(seeds=()))
        made.open(books.books)
        for number in range(2):
            made.supply(segment.create(Room(tmp_path, 2**40, SEGMENT_BYTES), books.writer, number, "edge-1"))
        made.tend(0, 1)
        yield made
        made.close()


CASES = {
    "wrk": [WRK],
    "browser": [HEADS["browser"]],
    "1,000 browsers": [HEADS["browser"].replace(b"Firefox/128.0", b"Firefox/%d.0" % n) for n in range(AGENTS)],
}


@pytest.mark.parametrize(("name", "heads"), CASES.items(), ids=CASES)
def test_record(compare: Compare, log: ClickLog, name: str, heads: list[bytes]) -> None:
    """The same requests over and over; `append_ns` is the part of the click alone, without parsing."""
    written = plain.ClickLog()
    compare.benchmark.extra_info["append_ns"] = log.time_appends(heads, "192.0.2.1", ROUNDS // len(heads))

    def record(head: bytes) -> None:
        log.record(head, "192.0.2.1", 7, 1, 302, 1)

    compare(f"click, {name}", record, written.record, (heads * 100)[:100])
