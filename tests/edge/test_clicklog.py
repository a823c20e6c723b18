"""The click log writes what wire.click reads, whatever the requests are."""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge import segment
from edge._clicklog import ClickLog
from edge._counters import BLOCK_BYTES, Counters
from edge.config import EdgeConfig
from edge.ledger import Ledger
from edge.segment import Room, Segment
from tests.edge.clickbook import clicks_of
from wire.click import FRAME_BYTES_MAX, TEXT_BYTES_MAX, Click, Flag

SEGMENT_BYTES = 2**20
NOW_MS = 1_000_000
WALL_MS = 1_700_000_000_000
# What a parser of heads lets through, apart from spaces at the ends, which are none of the value's.
VALUES = st.binary(max_size=400).map(lambda raw: bytes(byte for byte in raw if byte > 0x20 and byte != 0x7F))
# Some that come again and again, as User-Agents do, and some that do not.
TEXTS = st.one_of(st.sampled_from([b"", b"one", b"two", b"x" * 255, b"x" * 256, b"x" * 257]), VALUES)
QUERIES = st.text("abc=&%20?/", max_size=300).map(str.encode)
CODES = st.text("abcXYZ019-_", min_size=1, max_size=64).map(str.encode)
ADDRESSES = st.one_of(st.none(), st.ip_addresses().map(str))


@dataclass(frozen=True)
class Asked:
    """A request, and what it was answered with."""

    code: bytes
    query: bytes
    user_agent: bytes
    referrer: bytes
    opt_out: bytes
    is_head: bool
    address: str | None
    link_id: int
    domain_id: int

    @property
    def head(self) -> bytes:
        """Its bytes."""
        lines = [
            (b"HEAD" if self.is_head else b"GET") + b" /" + self.code + b"?" + self.query + b" HTTP/1.1",
            b"Host: sho.rt",
            b"User-Agent: " + self.user_agent,
            b"Referer: " + self.referrer,
            self.opt_out,
        ]
        return b"\r\n".join(line for line in lines if line) + b"\r\n\r\n"

    @property
    def status(self) -> int:
        """Of its answer."""
        return 302 if self.link_id else 404

    def expected(self) -> Click:
        """Its click, by the default settings."""
        flags = (Flag.HEAD if self.is_head else Flag(0)) | (Flag(0) if self.link_id else Flag.UNKNOWN_CODE)
        if self.opt_out:
            return self._click(flags | Flag.OPTED_OUT)
        return self._click(
            flags,
            user_agent=self.user_agent[:TEXT_BYTES_MAX],
            referrer=self.referrer[:TEXT_BYTES_MAX],
            query=self.query[:TEXT_BYTES_MAX],
            address=truncated(self.address),
        )

    def _click(self, flags: Flag, **more: bytes) -> Click:
        return Click(
            time_ms=WALL_MS,
            link_id=self.link_id,
            domain_id=self.domain_id,
            status=self.status,
            flags=flags,
            code=b"" if self.link_id else self.code,
            **more,
        )


def truncated(text: str | None) -> bytes:
    """An address without what tells one client of a site from another."""
    if text is None or int(ip_address(text)) == 0 == 6 - ip_address(text).version:
        return b""
    packed = ip_address(text).packed
    mapped = getattr(ip_address(text), "ipv4_mapped", None)
    if mapped is not None:
        packed = mapped.packed
    return packed[:3] + b"\0" if len(packed) == 4 else packed[:6] + bytes(10)


REQUESTS = st.builds(
    Asked,
    code=CODES,
    query=QUERIES,
    user_agent=TEXTS,
    referrer=TEXTS,
    opt_out=st.sampled_from([b"", b"", b"", b"Sec-GPC: 1", b"dnt: 1"]),
    is_head=st.booleans(),
    address=ADDRESSES,
    link_id=st.sampled_from([0, 1, 2**40, 2**63 - 1]),
    domain_id=st.integers(1, 2**31 - 1),
)


class Log:
    """A click log with a ledger and segments."""

    def __init__(self, directory: Path, **values: object) -> None:
        self.config = msgspec.convert({"seeds": (), **values}, EdgeConfig)
        self.counters = Counters(bytearray(BLOCK_BYTES), 0)
        self.clicks = ClickLog(self.counters, self.config)
        self.ledger = Ledger.create(directory, "edge-1", 1)
        self.clicks.open(self.ledger.books)
        self._room = Room(directory, 2**40, SEGMENT_BYTES)
        self._numbers = 0
        self.tend(NOW_MS)

    def tend(self, now_ms: int) -> None:
        """As the worker's timer does, with a spare whenever there is none."""
        if not self.clicks.has_spare:
            made = segment.create(self._room, self.ledger.writer, self._numbers, "edge-1")
            self.clicks.supply(made)
            self._numbers += 1
        self.clicks.tend(now_ms, WALL_MS + now_ms - NOW_MS)

    def record(self, asked: Asked) -> None:
        """One click."""
        self.clicks.record(asked.head, asked.address, asked.link_id, asked.domain_id, asked.status, NOW_MS)

    def segments(self) -> list[Segment]:
        """What is on disk."""
        directory, writer = self._room.directory, self.ledger.writer
        numbers = segment.numbers(directory, writer)
        return [Segment.open(segment.path_of(directory, writer, number)) for number in numbers]

    def read(self) -> list[Click]:
        """The clicks in all sealed frames."""
        return [click for read in self.segments() for click in clicks_of(read)]

    def close(self) -> None:
        """As a worker that has drained."""
        self.clicks.close()
        self.ledger.close()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    """One with the default settings."""
    made = Log(tmp_path)
    yield made
    made.close()


@given(st.lists(REQUESTS, max_size=30))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_clicks_are_read_as_the_requests_were(tmp_path_factory: pytest.TempPathFactory, asked: list[Asked]) -> None:
    """Against a slow and obvious oracle: all fields, cut and truncated as documented."""
    log = Log(tmp_path_factory.mktemp("log"))
    for one in asked:
        log.record(one)
    log.close()
    assert log.read() == [one.expected() for one in asked]
    report = log.ledger.report(0)
    links = sum(one.link_id > 0 for one in asked)
    assert (report.served, report.recorded, report.unknown_recorded) == (links, links, len(asked) - links)
    assert log.counters.get("clicks_recorded") == links
    assert log.counters.get("unknown_clicks_recorded") == len(asked) - links


def plain(number: int, **fields: object) -> Asked:
    """A request that has a text of its own."""
    values = {
        "code": b"code",
        "query": b"",
        "user_agent": b"agent-%d" % number,
        "referrer": b"",
        "opt_out": b"",
        "is_head": False,
        "address": "192.0.2.1",
        "link_id": number + 1,
        "domain_id": 1,
    }
    return Asked(**(values | fields))  # type: ignore[arg-type]


def test_more_texts_than_the_table_has_places_are_all_right(log: Log) -> None:
    """Those that meet in one place are written again; they are never taken for each other."""
    asked = [plain(number % 5000) for number in range(12_000)]
    for one in asked:
        log.record(one)
        log.tend(NOW_MS)
    log.close()
    assert log.read() == [one.expected() for one in asked]


def test_frames_are_as_long_as_they_may_be(log: Log) -> None:
    """A frame ends where the largest click might not fit any more, and never beyond."""
    for number in range(10_000):
        log.record(plain(number, user_agent=b"a" * 255, link_id=1))
    (read,) = log.segments()
    sizes = [end - start for start, end in read.frames()]
    assert len(sizes) >= 3
    assert all(FRAME_BYTES_MAX - 1024 < size <= FRAME_BYTES_MAX for size in sizes)


def test_largest_clicks_fit(log: Log) -> None:
    """With three texts of their own, an address of IPv6 and the longest code."""
    texts = [bytes([65 + number % 26]) * 250 + b"%05d" % number for number in range(3000)]
    asked = [
        plain(
            number, link_id=0, code=b"c" * 64, address="2001:db8::1",
            user_agent=texts[3 * number], referrer=texts[3 * number + 1], query=texts[3 * number + 2],
        )
        for number in range(1000)
    ]  # fmt: skip
    for one in asked:
        log.record(one)
        log.tend(NOW_MS)
    log.close()
    assert log.read() == [one.expected() for one in asked]


def test_link_id_that_the_format_cannot_hold_is_none(log: Log) -> None:
    """A record that is none of control's cannot make a frame unreadable."""
    log.clicks.record(plain(1).head, None, 2**63, 1, 302, NOW_MS)
    log.close()
    (click,) = log.read()
    assert (click.link_id, click.code, click.flags) == (0, b"code", Flag.UNKNOWN_CODE)


def test_clock_that_is_set_shows_at_once(log: Log) -> None:
    """With the timer's next tick; the order of clicks is the one of the file."""
    log.record(plain(1))
    log.clicks.tend(NOW_MS, WALL_MS - 3_600_000)
    log.record(plain(2))
    log.close()
    assert [click.time_ms for click in log.read()] == [WALL_MS, WALL_MS - 3_600_000]


def test_switched_off_it_records_nothing(tmp_path: Path) -> None:
    """And counts nothing."""
    log = Log(tmp_path, clicks=False)
    log.record(plain(1))
    log.record(plain(1, link_id=0))
    log.close()
    assert log.read() == []
    report = log.ledger.report(0)
    assert (report.served, report.unknown_recorded, report.unknown_dropped) == (0, 0, 0)


def test_time_appends_records_what_it_times(log: Log) -> None:
    """For benchmarks: each head in turn, so many rounds."""
    heads = [plain(1).head, plain(2).head]
    assert 0 < log.clicks.time_appends(heads, "192.0.2.1", 10) < 1e9
    log.close()
    assert [click.user_agent for click in log.read()] == [b"agent-1", b"agent-2"] * 10
