"""Statistics are what counting every click one by one gives."""

from collections import Counter
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from control.clicks import span as spans
from control.clicks import statistics
from control.clicks._fold import summarise
from control.clicks.span import Span, Unit
from control.clicks.statistics import Totals, View
from tests.control.clicks.traffic import click_at, documents_of, folded, scattered, unknown_at
from wire.click import Click, Flag

NOW = datetime(2026, 11, 21, 9, 50, tzinfo=UTC)


def _ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def _span(first: str, last: str, zone: str, unit: Unit = "day") -> Span:
    return spans.parse(first, last, ZoneInfo(zone), unit, NOW)


def _kind(click: Click) -> str:
    return "head" if click.flags & Flag.HEAD else click.user_agent.split()[0].decode()


def _oracle(clicks: list[Click], span: Span, unit: Unit) -> dict[object, Counter[str]]:
    """Every click, expanded by the clocks of the zone."""
    found: dict[object, Counter[str]] = {}
    for click in clicks:
        if span.start * 900_000 <= click.time_ms < span.end * 900_000:
            local = datetime.fromtimestamp(click.time_ms / 1000, span.zone)
            shown = local.date() if unit == "day" else (local.date(), local.hour, local.utcoffset())
            found.setdefault(shown, Counter())[_kind(click)] += 1
    return found


@pytest.mark.parametrize("unit", ["day", "hour"])
@pytest.mark.parametrize(
    "zone", ["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/New_York", "Australia/Lord_Howe", "Pacific/Chatham"]
)
def test_series_is_that_of_every_click_by_the_clocks(zone: str, unit: Unit) -> None:
    """Over both clock changes of an autumn, in every kind of zone."""
    clicks = scattered(1, 5000, _ms("2026-10-20T00:00:00Z"), _ms("2026-11-09T00:00:00Z"))
    span = _span("2026-10-24", "2026-11-03", zone, unit)
    points = statistics.points(span, unit, summarise(documents_of(clicks)).slots)
    found = {}
    for point in points:
        local = point.at.astimezone(span.zone)
        shown = local.date() if unit == "day" else (local.date(), local.hour, local.utcoffset())
        found[shown] = (point.humans, point.bots)
    expected = _oracle(clicks, span, unit)
    assert {shown: counts for shown, counts in found.items() if any(counts)} == {
        shown: (counts["human"], counts["bot"]) for shown, counts in expected.items() if counts["human"] + counts["bot"]
    }
    assert len(found) == len(points)


def test_counts_are_of_the_span_and_the_rest_of_its_utc_days() -> None:
    """The answer says which days those are."""
    clicks = [
        click_at(_ms("2026-11-01T01:00:00Z"), kind="preview", visitor=1),
        click_at(_ms("2026-11-01T20:00:00Z"), kind="human", visitor=1),
        click_at(_ms("2026-11-02T05:00:00Z"), kind="bot", visitor=2),
        click_at(_ms("2026-11-02T23:00:00Z"), kind="human", visitor=3),
        click_at(_ms("2026-11-02T23:30:00Z"), kind="head", visitor=3),
    ]
    view = View(span=_span("2026-11-02", "2026-11-02", "Asia/Kathmandu"), unit="day", values_max=10)
    answer = statistics.of_scope(view, summarise(documents_of(clicks)), all_time=77)
    assert (answer.total, answer.humans, answer.bots) == (2, 1, 1)
    assert (answer.previews, answer.heads, answer.all_time) == (1, 1, 77)
    assert answer.visitors == 3
    assert (str(answer.utc_days.first), str(answer.utc_days.last)) == ("2026-11-01", "2026-11-02")
    assert not answer.utc_days.is_exact
    assert sum(value.clicks for value in answer.breakdowns["country"].items) == 3
    assert "link" not in answer.breakdowns
    assert answer.time_zone == "Asia/Kathmandu"


def test_breakdowns_are_cut_and_their_rest_is_other() -> None:
    """Values and other are all clicks, whatever the limit."""
    clicks = scattered(2, 2000, _ms("2026-11-01T00:00:00Z"), _ms("2026-11-03T00:00:00Z"))
    expected = Counter(_kind(click) for click in clicks)
    for values_max in (1, 2, 50):
        view = View(span=_span("2026-11-01", "2026-11-02", "UTC"), unit="day", values_max=values_max)
        answer = statistics.of_scope(view, summarise(documents_of(clicks)), all_time=0)
        assert answer.utc_days.is_exact
        assert answer.total == expected["human"] + expected["bot"]
        for breakdown in answer.breakdowns.values():
            assert len(breakdown.items) <= values_max
            assert sum(value.clicks for value in breakdown.items) + breakdown.other == answer.total
            assert [value.clicks for value in breakdown.items] == sorted(
                (value.clicks for value in breakdown.items), reverse=True
            )


def test_a_link_that_nobody_clicked_has_zeros() -> None:
    """Each day of the span is there, with nothing in it."""
    view = View(span=_span("2026-11-01", "2026-11-30", "Europe/Berlin"), unit="day", values_max=10)
    answer = statistics.of_link(view, summarise([]), Totals(), is_all_time=True)
    assert (answer.total, answer.visitors, answer.all_time, answer.first_at) == (0, 0, 0, None)
    assert [(point.humans, point.bots) for point in answer.series] == [(0, 0)] * 30


def test_all_time_counts_are_the_totals() -> None:
    """They are not read from documents."""
    view = View(span=_span("2026-11-01", "2026-11-01", "UTC"), unit="day", values_max=10)
    totals = Totals(humans=10, bots=5, previews=3, heads=2)
    documents = documents_of([click_at(_ms("2026-11-01T00:00:00Z"))])
    answer = statistics.of_link(view, summarise(documents), totals, is_all_time=True)
    assert (answer.total, answer.humans, answer.bots, answer.previews, answer.heads) == (15, 10, 5, 3, 2)
    assert sum(point.humans for point in answer.series) == 1
    answer = statistics.of_link(view, summarise(documents), totals, is_all_time=False)
    assert (answer.total, answer.all_time, answer.previews) == (1, 15, 0)


def test_unknown_codes_are_counted_by_code() -> None:
    """With the codes that were asked for most."""
    at = _ms("2026-11-01T12:00:00Z")
    batch = folded([unknown_at(at, "wp-login"), unknown_at(at, "wp-login"), unknown_at(at, "x")])
    groups = batch.scopes(None)[4]
    (document,) = groups.merge([None])
    view = View(span=_span("2026-11-01", "2026-11-01", "UTC"), unit="hour", values_max=1)
    answer = statistics.of_unknown(view, summarise([(groups.days[0], document)]))
    assert answer.total == 3
    assert [(value.value, value.clicks) for value in answer.codes.items] == [("wp-login", 2)]
    assert answer.codes.other == 1
    assert [point.humans + point.bots for point in answer.series].index(3) == 12
