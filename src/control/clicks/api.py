"""The routes of clicks that are answered at once. Those that are streamed are in `streamed.py`."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from control.clicks import partitions
from control.clicks import span as spans
from control.clicks.reading import Reading, TopLinks
from control.clicks.reconciliation import EdgeBooks, reconcile
from control.clicks.span import Unit
from control.clicks.statistics import ClickStatistics, LinkStatistics, UnknownStatistics, View
from control.db import Database
from control.http import Call, Reply, Route

VALUES_DEFAULT: Final = 10
# As many as a document of the account keeps of a dimension.
VALUES_MAX: Final = 500
TOP_DEFAULT: Final = 20
# Not more than the daily lists of a domain hold, else the last ranks could not be told.
TOP_MAX: Final = 200
_SPAN_PROBLEMS: Final = ("span_invalid", "span_too_long", "time_zone_unknown")


class SpanQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`from` and `to`: dates (whole days of `tz`, both included) or instants."""

    from_: str | None = msgspec.field(name="from", default=None)
    to: str | None = None


class StatisticsQuery(SpanQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query of statistics. `limit`: values of each dimension."""

    unit: Unit = "day"
    tz: str = "UTC"
    limit: Annotated[int, Meta(ge=1, le=VALUES_MAX)] = VALUES_DEFAULT


class DomainStatisticsQuery(StatisticsQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The same with `domain`, if it is not the default one."""

    domain: str | None = None


class TopQuery(SpanQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query of the most clicked links, by UTC days; with `domain`, of that domain alone."""

    domain: str | None = None
    limit: Annotated[int, Meta(ge=1, le=TOP_MAX)] = TOP_DEFAULT


class EdgeQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query of the reconciliation: `edge` for one alone."""

    edge: str | None = None


class Reconciliation(msgspec.Struct, frozen=True, kw_only=True):
    """What edges say they served, against what is stored; `is_settled`: nothing is on its way, nothing is missing, and
    the edge that was asked for by its id is known."""

    is_settled: bool
    items: list[EdgeBooks]
    next_cursor: str | None = None


def routes(database: Database, links_days: int) -> list[Route]:
    """The routes, bound to the database, which keeps the days of links for `links_days`."""
    reading = Reading(database)

    async def link(call: Call) -> Reply:
        query = call.query
        is_all_time = query.from_ is None and query.to is None
        code = call.path["code"]
        return Reply(value=await reading.link(query.domain, code, view_of(query), is_all_time=is_all_time))

    async def domain(call: Call) -> Reply:
        return Reply(value=await reading.domain(call.path["host"], view_of(call.query)))

    async def tag(call: Call) -> Reply:
        return Reply(value=await reading.tag(call.path["tag"], view_of(call.query)))

    async def account(call: Call) -> Reply:
        return Reply(value=await reading.account(view_of(call.query)))

    async def unknown(call: Call) -> Reply:
        return Reply(value=await reading.unknown(call.query.domain, view_of(call.query)))

    async def top(call: Call) -> Reply:
        now = datetime.now(UTC)
        span = spans.whole_days(spans.parse(call.query.from_, call.query.to, spans.zone_of("UTC"), "day", now))
        spans.check_length(span, spans.SPAN_DAYS_MAX["day"])
        # The lists are kept for longer, but a link that is not on each of them could not be counted.
        span = spans.since(span, partitions.day_of(partitions.today(now)) - links_days)
        return Reply(value=await reading.top(call.query.domain, span, call.query.limit))

    async def books(call: Call) -> Reply:
        items = await reconcile(database, call.query.edge)
        is_known = bool(items) or call.query.edge is None
        return Reply(value=Reconciliation(is_settled=is_known and all(edge.is_settled for edge in items), items=items))

    return [
        _route("links/{code}/clicks", "linkClicks", "Count the clicks of a link", link, LinkStatistics,
               query=DomainStatisticsQuery, problems=("link_not_found", "domain_not_found")),
        _route("domains/{host}/clicks", "domainClicks", "Count the clicks of a domain", domain, ClickStatistics,
               problems=("domain_not_found",)),
        _route("tags/{tag}/clicks", "tagClicks", "Count the clicks of a tag", tag, ClickStatistics,
               problems=("tag_not_found",)),
        _route("clicks", "accountClicks", "Count the clicks of all links", account, ClickStatistics),
        _route("clicks/unknown", "unknownClicks", "Count the requests for codes that do not exist", unknown,
               UnknownStatistics, query=DomainStatisticsQuery, problems=("domain_not_found",)),
        _route("top", "topLinks", "List the most clicked links", top, TopLinks, query=TopQuery,
               problems=("domain_not_found",)),
        Route(method="GET", path="/api/v1/clicks/reconciliation", name="reconcileClicks",
              summary="Compare what edges served with what is stored", handler=books, query=EdgeQuery,
              reply=Reconciliation),
    ]  # fmt: skip


def view_of(query: StatisticsQuery) -> View:
    """What a query wants to see; raises Error for a span or a time zone that cannot be."""
    span = spans.parse(query.from_, query.to, spans.zone_of(query.tz), query.unit, datetime.now(UTC))
    spans.check_length(span, spans.SPAN_DAYS_MAX[query.unit])
    return View(span=span, unit=query.unit, values_max=query.limit)


def _route(
    path: str,
    name: str,
    summary: str,
    handler: Callable[[Call], Awaitable[Reply]],
    reply: Any,
    *,
    query: type[msgspec.Struct] = StatisticsQuery,
    problems: tuple[str, ...] = (),
) -> Route:
    return Route(
        method="GET",
        path=f"/api/v1/{path}",
        name=name,
        summary=summary,
        handler=handler,
        query=query,
        reply=reply,
        problems=(*problems, *_SPAN_PROBLEMS),
    )
