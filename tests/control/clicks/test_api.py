"""Statistics over HTTP: what was stored is what is answered, and what cannot be asked is a problem."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from control.clicks.api import Reconciliation
from control.clicks.reading import TopLinks
from control.clicks.service import Options
from control.clicks.statistics import LinkStatistics
from tests.control.clicks.depot import BROWSER, OPTIONS, Segment, open_depot, report_of
from tests.control.conftest import StationFactory
from tests.control.station import Station, fetch
from wire import click as wire_click
from wire import keys
from wire import report as wire_report
from wire.click import Click, Flag

AGENTS = {
    "human": BROWSER,
    "bot": b"Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "preview": b"Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
    "head": BROWSER,
}
BROKEN_DOWN = (
    "country", "city", "browser", "os", "device", "referrer", "utm_source", "utm_medium", "utm_campaign",
)  # fmt: skip
NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)


def click_of(
    at: datetime, link_id: int, kind: str = "human", visitor: int = 1, domain_id: int = 1, **texts: bytes
) -> Click:
    """A click as an edge records it."""
    return Click(
        time_ms=int(at.timestamp() * 1000),
        link_id=link_id,
        domain_id=domain_id,
        status=302,
        flags=Flag.HEAD if kind == "head" else 0,
        user_agent=AGENTS[kind],
        address=visitor.to_bytes(4, "big"),
        **texts,
    )


def unknown(at: datetime, code: str) -> Click:
    """A request for a code that does not exist."""
    time_ms = int(at.timestamp() * 1000)
    return Click(time_ms=time_ms, link_id=0, domain_id=1, status=404, flags=Flag.UNKNOWN_CODE, code=code.encode())


def store(station: Station, clicks: Sequence[Click], options: Options = OPTIONS) -> None:
    """Store clicks as the consumer does."""

    async def run() -> None:
        async with open_depot(station.database_url, [], options) as depot:
            segment = Segment()
            for at in range(0, len(clicks), 1000):
                await depot.store(segment.cut_body(wire_click.encode(clicks[at : at + 1000])))

    asyncio.run(run())


def get(station: Station, path: str, **query: Any) -> dict[str, Any]:
    """The body of a good answer; `from_` is `from`."""
    answer = station.client.get(f"/api/v1/{path}", params={name.rstrip("_"): value for name, value in query.items()})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def _create(station: Station, code: str, **members: Any) -> int:
    answer = station.client.post(
        "/api/v1/links", json={"target": f"https://example.com/{code}", "code": code} | members
    )
    assert answer.status_code == 201, answer.text
    return int(answer.json()["id"])


def test_a_link_that_nobody_clicked_has_zeros(bare_station: Station) -> None:
    """With every day of the last thirty."""
    _create(bare_station, "abc")
    body = get(bare_station, "links/abc/clicks")
    assert {body[name] for name in ("total", "humans", "bots", "previews", "heads", "visitors", "all_time")} == {0}
    assert len(body["series"]) == 30
    assert body["is_all_time"]
    assert body["first_at"] is None
    assert body["breakdowns"] == {name: {"items": [], "other": 0} for name in BROKEN_DOWN}


def test_clicks_are_counted_by_class(bare_station: Station) -> None:
    """Humans and bots are clicks; previews and HEAD requests are kept apart."""
    link_id = _create(bare_station, "abc")
    kinds = Counter(human=5, bot=3, preview=2, head=4)
    store(
        bare_station,
        [click_of(NOON, link_id, kind, number) for kind, count in kinds.items() for number in range(count)],
    )
    body = get(bare_station, "links/abc/clicks")
    assert (body["total"], body["humans"], body["bots"], body["previews"], body["heads"]) == (8, 5, 3, 2, 4)
    assert body["breakdowns"]["browser"]["items"][0] == {"value": "Firefox", "clicks": 5}
    assert tuple(body["breakdowns"]) == BROKEN_DOWN
    assert datetime.fromisoformat(body["first_at"]) == NOON
    assert sum(point["humans"] + point["bots"] for point in body["series"]) == 8


def test_all_time_is_not_the_span(bare_station: Station) -> None:
    """Without from and to a link's counts are of all time; series and the rest are of the last thirty days."""
    link_id = _create(bare_station, "abc")
    store(bare_station, [click_of(NOON - timedelta(days=100), link_id), click_of(NOON, link_id)])
    body = get(bare_station, "links/abc/clicks")
    assert (body["total"], body["all_time"], body["is_all_time"]) == (2, 2, True)
    assert sum(point["humans"] for point in body["series"]) == 1
    day = NOON.date().isoformat()
    body = get(bare_station, "links/abc/clicks", from_=day, to=day)
    assert (body["total"], body["all_time"], body["is_all_time"]) == (1, 2, False)


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/New_York"])
def test_days_are_those_of_the_time_zone(bare_station: Station, zone: str) -> None:
    """Each click is on the day that the zone's calendars showed, clock changes included."""
    link_id = _create(bare_station, "abc")
    start = datetime(2026, 10, 20, 0, 7, tzinfo=UTC)
    clicks = [click_of(start + timedelta(minutes=37 * number), link_id) for number in range(900)]
    store(bare_station, clicks)
    body = get(bare_station, "links/abc/clicks", from_="2026-10-24", to="2026-11-02", tz=zone)
    local = Counter(datetime.fromtimestamp(one.time_ms / 1000, ZoneInfo(zone)).date().isoformat() for one in clicks)
    found = {point["at"][:10]: point["humans"] for point in body["series"]}
    assert found == {day: local[day] for day in found}
    assert len(found) == 10
    assert body["total"] == sum(found.values())
    assert body["time_zone"] == zone
    assert body["utc_days"]["is_exact"] == (zone == "UTC")


def test_hours_of_a_clock_change(bare_station: Station) -> None:
    """The hour that comes twice is there twice."""
    link_id = _create(bare_station, "abc")
    store(bare_station, [click_of(datetime(2026, 10, 25, hour, 30, tzinfo=UTC), link_id) for hour in (0, 1)])
    body = get(bare_station, "links/abc/clicks", from_="2026-10-25", to="2026-10-25", tz="Europe/Berlin", unit="hour")
    assert len(body["series"]) == 25
    clicked = [point["at"] for point in body["series"] if point["humans"]]
    assert clicked == ["2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00"]


def test_scopes_add_up(bare_station: Station) -> None:
    """A domain, a tag and the account, from the same clicks."""
    one = _create(bare_station, "one", tags=["Spring sale"])
    two = _create(bare_station, "two")
    store(bare_station, [click_of(NOON, one, visitor=7)] * 3 + [click_of(NOON, two, "bot", visitor=8)] * 2)
    account = get(bare_station, "clicks")
    assert (account["total"], account["humans"], account["bots"], account["all_time"]) == (5, 3, 2, 5)
    assert account["visitors"] == 2
    assert get(bare_station, "domains/go.example/clicks")["total"] == 5
    assert get(bare_station, "domains/GO.EXAMPLE/clicks")["total"] == 5
    assert get(bare_station, "tags/spring SALE/clicks")["total"] == 3


def test_limit_cuts_breakdowns(bare_station: Station) -> None:
    """What is cut off is in other."""
    link_id = _create(bare_station, "abc")
    referrers = [b"https://a.example/", b"https://a.example/", b"https://b.example/", b"https://c.example/"]
    store(bare_station, [click_of(NOON, link_id, referrer=referrer) for referrer in referrers])
    body = get(bare_station, "links/abc/clicks", limit=1)
    assert body["breakdowns"]["referrer"] == {"items": [{"value": "a.example", "clicks": 2}], "other": 2}


def test_unknown_codes_are_listed(bare_station: Station) -> None:
    """By domain, the most asked for first."""
    store(bare_station, [unknown(NOON, code) for code in ("wp-login", "wp-login", "x")])
    body = get(bare_station, "clicks/unknown")
    assert body["total"] == 3
    assert body["codes"]["items"] == [{"value": "wp-login", "clicks": 2}, {"value": "x", "clicks": 1}]
    assert get(bare_station, "clicks/unknown", domain="go.example")["total"] == 3
    assert get(bare_station, "clicks")["total"] == 0


def test_top_lists_the_most_clicked(bare_station: Station) -> None:
    """With their present names; of a link that was deleted only the number is left."""
    ids = {code: _create(bare_station, code) for code in ("one", "two", "gone", "none")}
    counts = {"one": 2, "two": 5, "gone": 3}
    days = [NOON, NOON - timedelta(days=1)]
    store(
        bare_station, [click_of(at, ids[code]) for code, count in counts.items() for _ in range(count) for at in days]
    )
    assert bare_station.client.delete("/api/v1/links/gone").status_code == 204
    body = get(bare_station, "top")
    assert [(item["code"], item["clicks"]) for item in body["items"]] == [("two", 10), (None, 6), ("one", 4)]
    assert body["items"][0]["short_url"] == "http://go.example/two"
    assert body["items"][1]["id"] == ids["gone"]
    assert body["is_exact"]
    day = NOON.date().isoformat()
    body = get(bare_station, "top", from_=day, to=day, limit=1, domain="go.example")
    assert [(item["code"], item["clicks"]) for item in body["items"]] == [("two", 5)]
    assert (body["first"], body["last"], body["missed_max"]) == (day, day, 3)


def test_top_leaves_out_days_that_are_not_kept_of_links(station_factory: StationFactory, database_url: str) -> None:
    """The lists of these days are still there, but who is missing on one of them could not be counted any more."""
    station = station_factory(database_url, [], POINTSMAN_CLICKS_LINKS_DAYS="10")
    link_id = _create(station, "abc")
    old = NOON - timedelta(days=20)
    store(station, [click_of(old, link_id)] * 3 + [click_of(NOON, link_id)])
    fetch(station.database_url, "DELETE FROM click_link_days WHERE day < $1", int(NOON.timestamp()) // 86_400 - 10)
    body = get(station, "top")
    assert body["first"] == (NOON - timedelta(days=10)).date().isoformat()
    assert [(item["code"], item["clicks"]) for item in body["items"]] == [("abc", 1)]
    assert get(station, "clicks", from_=old.date().isoformat(), to=old.date().isoformat())["total"] == 3
    answer = station.client.get("/api/v1/top", params={"from": "2020-01-01", "to": "2020-01-31"})
    assert (answer.status_code, answer.json()["code"]) == (400, "span_invalid")


PROBLEMS: list[tuple[str, dict[str, Any], int, str]] = [
    ("links/none/clicks", {}, 404, "link_not_found"),
    ("links/a b/clicks", {}, 404, "link_not_found"),
    ("links/none/clicks", {"domain": "none.example"}, 404, "domain_not_found"),
    ("domains/none.example/clicks", {}, 404, "domain_not_found"),
    ("tags/none/clicks", {}, 404, "tag_not_found"),
    ("top", {"domain": "none.example"}, 404, "domain_not_found"),
    ("top", {"limit": 201}, 400, "query_invalid"),
    ("top", {"from": "2024-01-01", "to": "2026-01-01"}, 400, "span_too_long"),
    ("top", {"tz": "UTC"}, 400, "query_invalid"),
    ("clicks/unknown", {"domain": "none.example"}, 404, "domain_not_found"),
    ("clicks", {"tz": "Europe/Atlantis"}, 400, "time_zone_unknown"),
    ("clicks", {"tz": "Europe"}, 400, "time_zone_unknown"),
    ("clicks", {"from": "2026-11-02", "to": "2026-11-01"}, 400, "span_invalid"),
    ("clicks", {"from": "yesterday"}, 400, "span_invalid"),
    ("clicks", {"from": "2026-11-01T09:00:00"}, 400, "span_invalid"),
    ("clicks", {"from": "2024-01-01", "to": "2026-01-01"}, 400, "span_too_long"),
    ("clicks", {"from": "2026-01-01", "to": "2026-03-01", "unit": "hour"}, 400, "span_too_long"),
    ("clicks", {"unit": "week"}, 400, "query_invalid"),
    ("clicks", {"limit": 0}, 400, "query_invalid"),
    ("clicks", {"limit": 501}, 400, "query_invalid"),
    ("clicks", {"limit": "many"}, 400, "query_invalid"),
    ("clicks", {"form": "2026-11-01"}, 400, "query_invalid"),
    ("clicks", {"from_": "2026-11-01"}, 400, "query_invalid"),
    ("clicks/export", {"format": "xml"}, 400, "query_invalid"),
    ("clicks/export", {"what": "rows"}, 409, "rows_not_kept"),
    ("clicks/export", {"from": "2000-01-01", "to": "2026-01-01"}, 400, "span_too_long"),
    ("links/none/clicks/export", {}, 404, "link_not_found"),
]


def test_what_cannot_be_asked_is_a_problem(bare_station: Station) -> None:
    """Each with its code, and a key is needed everywhere."""
    for path, query, status, code in PROBLEMS:
        answer = bare_station.client.get(f"/api/v1/{path}", params=query)
        assert (answer.status_code, answer.json()["code"]) == (status, code), (path, query, answer.text)
        assert answer.headers["Content-Type"] == "application/problem+json"
        answer = bare_station.client.get(f"/api/v1/{path}", params=query, headers={"Authorization": ""})
        assert answer.status_code == 401


def test_examples_in_the_documentation_are_answers() -> None:
    """They have the members that answers have, in their order, and what they say can be."""
    text = (Path(__file__).parents[3] / "docs" / "clicks.md").read_text(encoding="utf-8")
    link, top, books = map(json.loads, re.findall(r"^```json\n(.+?)^```$", text, re.MULTILINE | re.DOTALL))
    for example, kind in ((link, LinkStatistics), (top, TopLinks), (books, Reconciliation)):
        assert list(example) == [field.encode_name for field in msgspec.structs.fields(kind)]
        assert msgspec.to_builtins(msgspec.convert(example, kind)) == example
    assert tuple(link["breakdowns"]) == BROKEN_DOWN
    assert link["total"] == link["humans"] + link["bots"]
    assert link["total"] == sum(point["humans"] + point["bots"] for point in link["series"])
    sums = {sum(one["clicks"] for one in part["items"]) + part["other"] for part in link["breakdowns"].values()}
    assert len(sums) == 1
    (edge,) = books["items"]
    assert edge["served"] == edge["recorded"] + sum(edge["dropped"].values())


def test_reconciliation_tells_what_is_missing(bare_station: Station) -> None:
    """Served is stored and dropped; what is on its way unsettles it."""

    async def run() -> None:
        async with open_depot(bare_station.database_url, []) as depot:
            segment = Segment()
            await depot.store(segment.cut([1, 2, 3]))
            report = report_of(segment, 5, dropped={"disk_full": 2})
            await depot.store({keys.REPORT_FIELD: wire_report.encode(report)})

    asyncio.run(run())
    body = get(bare_station, "clicks/reconciliation")
    (edge,) = body["items"]
    assert not body["is_settled"]
    assert (edge["served"], edge["stored"], edge["in_flight"], edge["missing"]) == (7, 3, 2, 0)
    assert edge["dropped"]["disk_full"] == 2
    unheard = get(bare_station, "clicks/reconciliation", edge="none")
    assert (unheard["items"], unheard["is_settled"]) == ([], False)


def test_statistics_write_nothing(bare_station: Station) -> None:
    """A question leaves no row behind."""
    _create(bare_station, "abc")
    get(bare_station, "links/abc/clicks")
    get(bare_station, "top")
    for table in ("click_totals", "click_link_days", "click_scope_days"):
        assert fetch(bare_station.database_url, f"SELECT count(*) FROM {table}") == [(0,)]
