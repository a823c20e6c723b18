"""Spans: what may be asked for, and how days and hours of any time zone are cut."""

import itertools
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.clicks import span as spans
from control.clicks.span import Span, Unit
from control.errors import Error

NOW = datetime(2026, 11, 21, 9, 50, 12, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
# Days that change by 30 minutes, offsets of 45 minutes, changes at midnight, a day that was left out.
ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "America/Sao_Paulo",
    "America/Havana",
    "Asia/Beirut",
    "Africa/Cairo",
    "Pacific/Apia",
    "Pacific/Chatham",
    "America/Nuuk",
    "Africa/Casablanca",
]


def _quarter(instant: datetime) -> int:
    return int(instant.timestamp()) // spans.QUARTER_S


def _parse(start: str | None, end: str | None, zone: ZoneInfo = BERLIN, unit: Unit = "day") -> tuple[str, str]:
    span = spans.parse(start, end, zone, unit, NOW)
    return span.instant(span.start).isoformat(), span.instant(span.end).isoformat()


def test_dates_are_whole_days_of_the_zone() -> None:
    """The end is included, and the day of the clock change is 25 hours long."""
    assert _parse("2026-10-25", "2026-10-25") == ("2026-10-25T00:00:00+02:00", "2026-10-26T00:00:00+01:00")


def test_instants_are_widened_to_quarters() -> None:
    """Clicks are counted by quarters of an hour; the answer says which ones."""
    expected = ("2026-11-01T10:00:00+01:00", "2026-11-01T11:15:00+01:00")
    assert _parse("2026-11-01T09:14:59Z", "2026-11-01T11:00:00.5+01:00") == expected


def test_an_instant_on_a_quarter_is_the_end_itself() -> None:
    """What begins at `to` is not in the span."""
    assert _parse("2026-11-01T09:00:00Z", "2026-11-01T09:15:00Z")[1] == "2026-11-01T10:15:00+01:00"


def test_the_default_is_the_last_thirty_days_today_included() -> None:
    """Whole days of the zone."""
    assert _parse(None, None) == ("2026-10-23T00:00:00+02:00", "2026-11-22T00:00:00+01:00")


def test_the_default_for_hours_is_the_last_day_this_hour_included() -> None:
    """24 hours."""
    assert _parse(None, None, unit="hour") == ("2026-11-20T11:00:00+01:00", "2026-11-21T11:00:00+01:00")


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2026-11-02", "2026-11-01"),
        ("2026-11-01T09:00:00Z", "2026-11-01T09:00:00Z"),
        ("2027-01-01", None),
        ("2026-02-30", None),
        ("2026-13-01", None),
        ("20261101", None),
        ("2026-W01-1", None),
        ("yesterday", None),
        ("", None),
        ("2026-11-01T09:00:00", None),
        ("2026-11-01T25:00:00Z", None),
        ("2026-11-01T09:00:00 01:00", None),
        ("2026-11-01T09:00:00+99:00", None),
        ("1969-12-31", None),
        ("0001-01-01T00:00:00+14:00", None),
        (None, "9999-12-31"),
        (None, "9999-12-31T23:59:59-23:59"),
        ("\uff12026-11-01", None),
    ],
)
def test_what_is_no_span_is_refused(start: str | None, end: str | None) -> None:
    """With a problem of its own."""
    with pytest.raises(Error) as error:
        spans.parse(start, end, BERLIN, "day", NOW)
    assert error.value.code == "span_invalid"
    assert error.value.message


def test_a_plus_that_became_a_space_is_explained() -> None:
    """The commonest mistake in a URL."""
    with pytest.raises(Error, match="%2B"):
        spans.parse("2026-11-01T09:00:00 01:00", None, BERLIN, "day", NOW)


@pytest.mark.parametrize(
    "name", ["", "Europe", "Europe/Atlantis", "../../etc/passwd", "/etc/passwd", "tzdata.zi", "x" * 999, "\0"]
)
def test_names_of_no_zone_are_refused(name: str) -> None:
    """Directories, other files and paths that lead elsewhere among them."""
    with pytest.raises(Error) as error:
        spans.zone_of(name)
    assert error.value.code == "time_zone_unknown"


def test_every_zone_of_the_database_is_known() -> None:
    """By its name."""
    for name in available_timezones():
        assert spans.zone_of(name).key == name


def test_length_is_bounded_with_room_for_a_clock_change() -> None:
    """31 days of which one has 25 hours are 31 days; one more is too long."""
    month = spans.parse("2026-10-01", "2026-10-31", BERLIN, "hour", NOW)
    spans.check_length(month, spans.SPAN_DAYS_MAX["hour"])
    with pytest.raises(Error) as error:
        spans.check_length(spans.parse("2026-10-01", "2026-11-01", BERLIN, "hour", NOW), spans.SPAN_DAYS_MAX["hour"])
    assert error.value.code == "span_too_long"


def _oracle(span: Span, unit: Unit) -> list[int]:
    """Where the clocks of the zone begin to show another day, or another hour or offset, quarter by quarter."""

    def shown(quarter: int) -> object:
        local = datetime.fromtimestamp(quarter * spans.QUARTER_S, span.zone)
        return local.date() if unit == "day" else (local.date(), local.hour, local.utcoffset())

    changes = [each for each in range(span.start + 1, span.end) if shown(each) != shown(each - 1)]
    return [span.start, *changes]


@pytest.mark.parametrize("unit", ["day", "hour"])
@pytest.mark.parametrize("zone", ZONES)
def test_cuts_are_those_of_the_clocks(zone: str, unit: Unit) -> None:
    """All of 2026, and the days around the line that Apia crossed, quarter by quarter."""
    for first, last in (("2026-01-01", "2026-12-31"), ("2011-12-20", "2012-01-05"), ("2018-01-01", "2018-12-31")):
        span = spans.parse(first, last, ZoneInfo(zone), unit, NOW)
        assert span.starts(unit) == _oracle(span, unit)


@settings(deadline=None, max_examples=60)
@given(
    zone=st.sampled_from(ZONES),
    unit=st.sampled_from(["day", "hour"]),
    start=st.integers(_quarter(datetime(2005, 1, 1, tzinfo=UTC)), _quarter(datetime(2030, 1, 1, tzinfo=UTC))),
    length=st.integers(1, 20 * 96),
)
def test_cuts_of_any_span_are_those_of_the_clocks(zone: str, unit: Unit, start: int, length: int) -> None:
    """Also where it begins and ends inside a day or an hour."""
    span = Span(start=start, end=start + length, zone=ZoneInfo(zone))
    assert span.starts(unit) == _oracle(span, unit)


def test_days_of_a_clock_change_have_23_and_25_hours() -> None:
    """In Berlin, 2026."""
    for day, hours in (("2026-03-29", 23), ("2026-10-25", 25), ("2026-10-26", 24)):
        span = spans.parse(day, day, BERLIN, "hour", NOW)
        assert len(span.starts("hour")) == hours


def test_parts_are_the_whole() -> None:
    """Cut at midnights of the zone, with nothing between them."""
    span = spans.parse("2026-01-15T10:00:00Z", "2026-12-24", BERLIN, "day", NOW)
    parts = spans.parts(span, 31)
    assert (parts[0].start, parts[-1].end) == (span.start, span.end)
    assert all(before.end == after.start for before, after in itertools.pairwise(parts))
    assert [start for part in parts for start in part.starts("day")] == span.starts("day")


def test_utc_days_are_those_that_are_touched() -> None:
    """A day in Kathmandu begins at a quarter past six in the evening of UTC."""
    span = spans.parse("2026-11-02", "2026-11-02", ZoneInfo("Asia/Kathmandu"), "day", NOW)
    assert spans.date_of(span.first_day) == date(2026, 11, 1)
    assert spans.date_of(span.last_day) == date(2026, 11, 2)
    assert not span.is_whole_days
    assert spans.whole_days(span).is_whole_days
    assert spans.whole_days(span).instant(spans.whole_days(span).end) - datetime(2026, 11, 1, tzinfo=UTC) == timedelta(
        2
    )
