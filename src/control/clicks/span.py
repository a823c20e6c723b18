"""Spans of time and how they are cut into hours and days of a time zone; pure.

Clicks are counted by quarters of an hour of UTC, because the offset of every time zone in use is a multiple of one: so
every zone's hours and days are whole quarters, also those with 23, 25 or 24.5 hours. A quarter is numbered since 1970.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from control.errors import Error

Unit = Literal["hour", "day"]

QUARTER_S: Final = 900
QUARTERS_A_DAY: Final = 96
# A page shows a few hundred points; a year of days with its margins, a month of hours.
SPAN_DAYS_MAX: Final[dict[Unit, int]] = {"day": 400, "hour": 31}
SPAN_DAYS_DEFAULT: Final[dict[Unit, int]] = {"day": 30, "hour": 1}
# Days with a clock change are longer: 31 days of which one has 25 hours are still 31 days.
_CLOCK_CHANGES: Final = 8
# No edge was there before, and date arithmetic stays far from where calendars and time zones end.
YEARS: Final = range(2000, 2200)
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_INSTANT: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:\d{2})", re.ASCII)
_ZONE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_+/-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The quarters from `start` up to, not including, `end`, seen in `zone`; never empty."""

    start: int
    end: int
    zone: ZoneInfo

    @property
    def first_day(self) -> int:
        """The first UTC day that the span touches, since 1970."""
        return self.start // QUARTERS_A_DAY

    @property
    def last_day(self) -> int:
        """The last one."""
        return (self.end - 1) // QUARTERS_A_DAY

    @property
    def is_whole_days(self) -> bool:
        """Whether the span consists of whole UTC days."""
        return self.start % QUARTERS_A_DAY == 0 and self.end % QUARTERS_A_DAY == 0

    def instant(self, quarter: int) -> datetime:
        """When a quarter begins, as the clocks of the zone show it."""
        return datetime.fromtimestamp(quarter * QUARTER_S, UTC if self.zone.key == "UTC" else self.zone)

    def starts(self, unit: Unit) -> list[int]:
        """Where each hour or day begins; the first one begins with the span."""
        return _days(self) if unit == "day" else _hours(self)


def zone_of(name: str) -> ZoneInfo:
    """The time zone of an IANA name; raises Error("time_zone_unknown")."""
    try:
        if _ZONE.fullmatch(name):
            return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        pass  # the name of nothing, of a file that is no zone, of a directory such as "Europe"
    raise Error("time_zone_unknown", f"{name[:64]!r} is no IANA time zone, such as Europe/Berlin or UTC")


def parse(start: str | None, end: str | None, zone: ZoneInfo, unit: Unit, now: datetime) -> Span:
    """The span from `start` to `end`, dates or instants, with defaults that depend on `unit`.

    A date stands for the whole day in `zone`, also as the end. Raises Error("span_invalid") or Error("span_too_long").
    """
    last = _default_end(zone, unit, now) if end is None else _end_of(end, zone)
    first = _default_start(last, zone, unit) if start is None else _start_of(start, zone)
    if first >= last:
        raise Error("span_invalid", f"`from` ({start}) is not before `to` ({end or 'now'})")
    return Span(start=first, end=last, zone=zone)


def check_length(span: Span, days_max: int) -> None:
    """Raises Error("span_too_long") for a span of more days."""
    if span.end - span.start > days_max * QUARTERS_A_DAY + _CLOCK_CHANGES:
        days = (span.end - span.start) / QUARTERS_A_DAY
        raise Error("span_too_long", f"the span has {days:.0f} days; at most {days_max} can be asked for at once")


def whole_days(span: Span) -> Span:
    """The whole UTC days that the span touches."""
    start, end = span.first_day * QUARTERS_A_DAY, (span.last_day + 1) * QUARTERS_A_DAY
    return Span(start=start, end=end, zone=ZoneInfo("UTC"))


def since(span: Span, first_day: int) -> Span:
    """The part of the span from a UTC day on; raises Error("span_invalid") if there is none."""
    start = max(span.start, first_day * QUARTERS_A_DAY)
    if start >= span.end:
        raise Error("span_invalid", f"the span ends before {date_of(first_day)}, the first day that is kept of links")
    return Span(start=start, end=span.end, zone=span.zone)


def parts(span: Span, days: int) -> list[Span]:
    """The span as spans of at most so many days of its zone, in order."""
    starts = span.starts("day")[::days]
    return [Span(start=a, end=b, zone=span.zone) for a, b in zip(starts, [*starts[1:], span.end], strict=True)]


def date_of(day: int) -> date:
    """The date of a UTC day."""
    return date(1970, 1, 1) + timedelta(days=day)


def _start_of(text: str, zone: ZoneInfo) -> int:
    if day := _date(text):
        return _midnight(day, zone)
    return int(_instant(text).timestamp()) // QUARTER_S


def _end_of(text: str, zone: ZoneInfo) -> int:
    if day := _date(text):
        return _midnight(day + timedelta(days=1), zone)
    return -int(-_instant(text).timestamp() // QUARTER_S)


def _date(text: str) -> date | None:
    if _DATE.fullmatch(text) is None:
        return None
    try:
        return _in_range(date.fromisoformat(text))
    except ValueError as error:
        raise Error("span_invalid", f"{text} is no date: {error}") from error


def _instant(text: str) -> datetime:
    if _INSTANT.fullmatch(text) is None:
        hint = "; write + as %2B in a URL" if " " in text else ""
        raise Error(
            "span_invalid", f"{text[:64]!r} is neither a date (2026-01-31) nor an instant (2026-01-31T09:00:00Z){hint}"
        )
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise Error("span_invalid", f"{text} is no instant: {error}") from error
    _in_range(instant)
    return instant


def _in_range(day: date) -> date:
    if day.year not in YEARS:
        raise Error("span_invalid", f"{day.isoformat()} is not in the years {YEARS[0]} to {YEARS[-1]}")
    return day


def _default_end(zone: ZoneInfo, unit: Unit, now: datetime) -> int:
    """The end of the present hour or day."""
    quarter = int(now.timestamp()) // QUARTER_S
    if unit == "hour":
        return _hour_end(quarter, zone)
    return _midnight(now.astimezone(zone).date() + timedelta(days=1), zone)


def _default_start(end: int, zone: ZoneInfo, unit: Unit) -> int:
    if unit == "hour":
        return end - SPAN_DAYS_DEFAULT["hour"] * QUARTERS_A_DAY
    last_day = _local(end - 1, zone).date()
    return _midnight(last_day - timedelta(days=SPAN_DAYS_DEFAULT["day"] - 1), zone)


def _local(quarter: int, zone: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(quarter * QUARTER_S, zone)


def _midnight(day: date, zone: ZoneInfo) -> int:
    """Where a day of the zone begins. A midnight that the clocks skip is the instant at which they do."""
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()) // QUARTER_S


def _days(span: Span) -> list[int]:
    starts = [span.start]
    day = _local(span.start, span.zone).date() + timedelta(days=1)
    while (midnight := _midnight(day, span.zone)) < span.end:
        if midnight > starts[-1]:  # not so for a day that a zone left out when it crossed the date line
            starts.append(midnight)
        day += timedelta(days=1)
    return starts


def _hours(span: Span) -> list[int]:
    starts = [span.start]
    while (end := _hour_end(starts[-1], span.zone)) < span.end:
        starts.append(end)
    return starts


def _hour_end(quarter: int, zone: ZoneInfo) -> int:
    """Where the zone's hour that has this quarter ends; a change of the clocks ends it too."""
    local = _local(quarter, zone)
    end = quarter + 4 - local.minute // 15
    offset = local.utcoffset()
    if _local(end, zone).utcoffset() == offset:
        return end
    return next(each for each in range(quarter + 1, end + 1) if _local(each, zone).utcoffset() != offset)
