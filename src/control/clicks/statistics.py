"""What is answered about clicks, made of day documents and totals; pure."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

import msgspec

from control.clicks import span as spans
from control.clicks._fold import DIMENSION_NAMES, Summary
from control.clicks.span import Span, Unit

# One standard deviation of a day's visitors: 1.04 / sqrt(2^12) of a HyperLogLog with 4,096 registers. A sum over days
# is better, because the days' errors are independent; a day of few visitors is counted exactly.
VISITORS_ERROR: Final = 0.01625
UNKNOWN_DIMENSION: Final = "code"
# Links stand in lists of their own (`top`), where their counts are exact.
_LINK_DIMENSION: Final = "link"
_BROKEN_DOWN: Final = tuple(name for name in DIMENSION_NAMES if name not in (_LINK_DIMENSION, UNKNOWN_DIMENSION))

Slots = Mapping[tuple[int, int], tuple[int, int]]


class Point(msgspec.Struct, frozen=True):
    """An hour or a day of a series: when it begins, and its clicks."""

    at: datetime
    humans: int
    bots: int


class Value(msgspec.Struct, frozen=True):
    """A value of a dimension; "" is: not known."""

    value: str
    clicks: int


class Breakdown(msgspec.Struct, frozen=True):
    """The most clicked values, and the clicks of all others together."""

    items: list[Value]
    other: int


class UtcDays(msgspec.Struct, frozen=True):
    """The whole UTC days that the span touches; `is_exact`: they are the span."""

    first: date
    last: date
    is_exact: bool


class _Spanned(msgspec.Struct, frozen=True, kw_only=True):
    """What answers about a span have in common; `to` is not in it."""

    from_: datetime = msgspec.field(name="from")
    to: datetime
    time_zone: str
    unit: Unit
    utc_days: UtcDays
    series: list[Point]


class ClickStatistics(_Spanned, frozen=True, kw_only=True):
    """Clicks of a domain, a tag or the account. `total`, `humans`, `bots` and `series` are of the span; `previews`,
    `heads`, `visitors` and `breakdowns` of the UTC days that it touches; `all_time` is all clicks since the beginning.
    """

    total: int
    humans: int
    bots: int
    previews: int
    heads: int
    visitors: int
    visitors_error: float
    all_time: int
    breakdowns: dict[str, Breakdown]


class LinkStatistics(ClickStatistics, frozen=True, kw_only=True):
    """Clicks of a link. With `is_all_time`, when neither from nor to was given, the counts from `total` to `heads` are
    since the beginning."""

    is_all_time: bool
    first_at: datetime | None
    last_at: datetime | None


class UnknownStatistics(_Spanned, frozen=True, kw_only=True):
    """Requests for codes that do not exist at a domain; `codes` are of the UTC days that the span touches."""

    total: int
    codes: Breakdown


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """All clicks of a link; the instants are None before the first one."""

    humans: int = 0
    bots: int = 0
    previews: int = 0
    heads: int = 0
    first_at: datetime | None = None
    last_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """How statistics are to be shown: the span, by what it is cut, how many values of a dimension."""

    span: Span
    unit: Unit
    values_max: int


def of_scope(view: View, summary: Summary, all_time: int) -> ClickStatistics:
    """The answer about a domain, a tag or the account; `summary` is of the UTC days that the span touches."""
    return ClickStatistics(**_counted(view, summary), all_time=all_time)


def of_link(view: View, summary: Summary, totals: Totals, *, is_all_time: bool) -> LinkStatistics:
    """The answer about a link."""
    members = _counted(view, summary)
    if is_all_time:
        members |= {
            "total": totals.humans + totals.bots,
            "humans": totals.humans,
            "bots": totals.bots,
            "previews": totals.previews,
            "heads": totals.heads,
        }
    return LinkStatistics(
        **members,
        all_time=totals.humans + totals.bots,
        is_all_time=is_all_time,
        first_at=totals.first_at,
        last_at=totals.last_at,
    )


def of_unknown(view: View, summary: Summary) -> UnknownStatistics:
    """The answer about the unknown codes of a domain."""
    series = points(view.span, view.unit, summary.slots)
    return UnknownStatistics(
        **_spanned(view, series),
        total=sum(point.humans + point.bots for point in series),
        codes=_breakdown(summary.dimensions.get(UNKNOWN_DIMENSION, ([], 0)), view.values_max),
    )


def points(span: Span, unit: Unit, slots: Slots) -> list[Point]:
    """The series: each hour or day of the span with the clicks of its quarters."""
    starts = span.starts(unit)
    humans, bots = [0] * len(starts), [0] * len(starts)
    for (day, slot), (human_clicks, bot_clicks) in slots.items():
        quarter = day * spans.QUARTERS_A_DAY + slot
        if span.start <= quarter < span.end:
            index = bisect_right(starts, quarter) - 1
            humans[index] += human_clicks
            bots[index] += bot_clicks
    return [Point(span.instant(start), *counts) for start, *counts in zip(starts, humans, bots, strict=True)]


def _counted(view: View, summary: Summary) -> dict[str, Any]:
    series = points(view.span, view.unit, summary.slots)
    humans, bots = sum(point.humans for point in series), sum(point.bots for point in series)
    return {
        **_spanned(view, series),
        "total": humans + bots,
        "humans": humans,
        "bots": bots,
        "previews": summary.previews,
        "heads": summary.heads,
        "visitors": sum(summary.visitors.values()),
        "visitors_error": VISITORS_ERROR,
        # All of them, also of days without a document: clients need not ask whether one is there.
        "breakdowns": {
            name: _breakdown(summary.dimensions.get(name, ([], summary.humans + summary.bots)), view.values_max)
            for name in _BROKEN_DOWN
        },
    }


def _spanned(view: View, series: Sequence[Point]) -> dict[str, Any]:
    span = view.span
    return {
        "from_": span.instant(span.start),
        "to": span.instant(span.end),
        "time_zone": span.zone.key,
        "unit": view.unit,
        "utc_days": utc_days(span),
        "series": series,
    }


def utc_days(span: Span) -> UtcDays:
    """The UTC days that the span touches."""
    return UtcDays(spans.date_of(span.first_day), spans.date_of(span.last_day), span.is_whole_days)


def _breakdown(dimension: tuple[Sequence[tuple[str, int]], int], values_max: int) -> Breakdown:
    values, other = dimension
    rest = sum(clicks for _, clicks in values[values_max:])
    return Breakdown([Value(value, clicks) for value, clicks in values[:values_max]], other + rest)
