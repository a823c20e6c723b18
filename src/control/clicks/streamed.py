"""The routes of clicks that are streamed: the live tail and the exports."""

from datetime import UTC, datetime
from typing import Final, Literal

import msgspec

from control.clicks import events, export
from control.clicks import span as spans
from control.clicks._fold import LINK_SCOPE
from control.clicks.audience import Audience, Wanted
from control.clicks.export import CONTENT_TYPES, Exports, Format, Series
from control.clicks.queries import ACCOUNT, Subject
from control.clicks.reading import domain_of, link_id_of
from control.clicks.span import Unit
from control.db import Database
from control.http import Call, Reply, Route
from control.streaming import Stream, primed

What = Literal["series", "rows"]

_EXPORT_PROBLEMS: Final = (
    "span_invalid",
    "span_too_long",
    "time_zone_unknown",
    "rows_not_kept",
    "too_many_exports",
)


class TailQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query of the live tail: without `code`, the clicks of all links, of `domain` if it is given."""

    code: str | None = None
    domain: str | None = None


class ExportQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query of an export. `unit` is of a series; `from` and `to` as in the statistics."""

    format: Format = "csv"
    what: What = "series"
    unit: Unit = "day"
    tz: str = "UTC"
    from_: str | None = msgspec.field(name="from", default=None)
    to: str | None = None


class LinkExportQuery(ExportQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The same with `domain`, if it is not the default one."""

    domain: str | None = None


def routes(database: Database, audience: Audience, exports: Exports) -> list[Route]:
    """The routes, bound to the services."""

    def stream(query: ExportQuery, subject: Subject) -> Stream:
        span = spans.parse(query.from_, query.to, spans.zone_of(query.tz), query.unit, datetime.now(UTC))
        spans.check_length(span, export.DAYS_MAX)
        if query.what == "series":
            return exports.series(Series(subject=subject, span=span, unit=query.unit), query.format)
        return exports.rows(subject, span, query.format)

    async def follow(call: Call) -> Reply:
        wanted = await _wanted(database, call.query)
        audience.check_room()
        return Reply(stream=events.events(audience, wanted), content_type=events.CONTENT_TYPE, is_endless=True)

    async def export_link(call: Call) -> Reply:
        async with database.connection() as connection:
            link_id = await link_id_of(connection, call.query.domain, call.path["code"])
        return await _file(stream(call.query, Subject(LINK_SCOPE, link_id)), call.query, call.path["code"])

    async def export_account(call: Call) -> Reply:
        return await _file(stream(call.query, ACCOUNT), call.query, "all")

    return [
        Route(
            method="GET",
            path="/api/v1/clicks/tail",
            name="followClicks",
            summary="Follow clicks as they are stored",
            handler=follow,
            query=TailQuery,
            streams=(events.CONTENT_TYPE,),
            problems=("link_not_found", "domain_not_found", "too_many_tails"),
        ),
        Route(
            method="GET",
            path="/api/v1/links/{code}/clicks/export",
            name="exportLinkClicks",
            summary="Export the clicks of a link",
            handler=export_link,
            query=LinkExportQuery,
            streams=tuple(CONTENT_TYPES.values()),
            problems=("link_not_found", "domain_not_found", *_EXPORT_PROBLEMS),
        ),
        Route(
            method="GET",
            path="/api/v1/clicks/export",
            name="exportClicks",
            summary="Export the clicks of all links",
            handler=export_account,
            query=ExportQuery,
            streams=tuple(CONTENT_TYPES.values()),
            problems=_EXPORT_PROBLEMS,
        ),
    ]


async def _wanted(database: Database, query: TailQuery) -> Wanted:
    if query.code is None and query.domain is None:
        return Wanted()
    async with database.connection() as connection:
        if query.code is not None:
            return Wanted(link_id=await link_id_of(connection, query.domain, query.code))
        return Wanted(domain_id=(await domain_of(connection, query.domain)).id)


async def _file(stream: Stream, query: ExportQuery, name: str) -> Reply:
    """The answer, once the first of it is there."""
    return Reply(
        stream=await primed(stream),
        content_type=CONTENT_TYPES[query.format],
        file_name=f"clicks-{name}-{query.what}.{query.format}",
    )
