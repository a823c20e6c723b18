"""Reading statistics: which rows are read, and what is made of them."""

from datetime import date

import msgspec

from control.clicks import queries, statistics, top
from control.clicks import span as spans
from control.clicks._fold import DOMAIN_SCOPE, LINK_SCOPE, TAG_SCOPE, UNKNOWN_SCOPE, summarise
from control.clicks.queries import ACCOUNT, Subject
from control.clicks.span import Span
from control.clicks.statistics import ClickStatistics, LinkStatistics, UnknownStatistics, View
from control.clicks.top import DayList
from control.db import Connection, Database
from control.domains import model as domain_model
from control.domains import store as domain_store
from control.domains.model import Domain
from control.errors import Error
from control.links import model as link_model
from control.links import store as link_store
from control.tags import service as tags


class TopLink(msgspec.Struct, frozen=True, kw_only=True):
    """A link and its clicks on the days asked for. Of a link that was deleted, only its id and clicks are left."""

    id: int
    clicks: int
    domain: str | None
    code: str | None
    short_url: str | None
    target: str | None


class TopLinks(msgspec.Struct, frozen=True, kw_only=True):
    """The most clicked links of whole UTC days. No link that is missing has more than `missed_max` clicks; `is_exact`:
    so none has more than one that is listed."""

    first: date
    last: date
    is_exact: bool
    missed_max: int
    items: list[TopLink]


class Reading:
    """The questions about clicks that the API and the command line ask."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def link(self, host: str | None, code: str, view: View, *, is_all_time: bool) -> LinkStatistics:
        """The statistics of a link; raises Error("link_not_found") or Error("domain_not_found")."""
        async with self._database.connection() as connection:
            link_id = await link_id_of(connection, host, code)
            # In this order: what is stored meanwhile is in the totals alone, and no span has more than all time.
            documents = await queries.documents(connection, Subject(LINK_SCOPE, link_id), view.span)
            totals = await queries.totals(connection, link_id)
        return statistics.of_link(view, summarise(documents), totals, is_all_time=is_all_time)

    async def domain(self, host: str, view: View) -> ClickStatistics:
        """The statistics of a domain; raises Error("domain_not_found")."""
        async with self._database.connection() as connection:
            domain = await domain_of(connection, host)
            return await _scope(connection, Subject(DOMAIN_SCOPE, domain.id), view)

    async def tag(self, name: str, view: View) -> ClickStatistics:
        """The statistics of a tag; raises Error("tag_not_found")."""
        async with self._database.connection() as connection:
            found = await tags.find(connection, name)
            return await _scope(connection, Subject(TAG_SCOPE, found.id), view)

    async def account(self, view: View) -> ClickStatistics:
        """The statistics of all links together."""
        async with self._database.connection() as connection:
            return await _scope(connection, ACCOUNT, view)

    async def unknown(self, host: str | None, view: View) -> UnknownStatistics:
        """What was asked for at a domain and does not exist; raises Error("domain_not_found")."""
        async with self._database.connection() as connection:
            domain = await domain_of(connection, host)
            documents = await queries.documents(connection, Subject(UNKNOWN_SCOPE, domain.id), view.span)
        return statistics.of_unknown(view, summarise(documents))

    async def top(self, host: str | None, span: Span, limit: int) -> TopLinks:
        """The most clicked links of the UTC days of `span`: of all domains, or of the domain `host`."""
        async with self._database.connection() as connection:
            subject = ACCOUNT
            if host is not None:
                subject = Subject(DOMAIN_SCOPE, (await domain_of(connection, host)).id)
            lists = [_day_list(document) for document in await queries.documents(connection, subject, span)]
            found = top.candidates(lists, limit)
            clicks = await queries.clicks_of_links(connection, found.link_ids, span)
            ranking = top.ranking(found, clicks, limit)
            links = await queries.links(connection, [link_id for link_id, _ in ranking.links])
            domains = await domain_store.by_ids(connection, list({link["domain_id"] for link in links.values()}))
        return TopLinks(
            first=spans.date_of(span.first_day),
            last=spans.date_of(span.last_day),
            is_exact=ranking.is_exact,
            missed_max=ranking.missed_max,
            items=[_top_link(link_id, clicks, links.get(link_id), domains) for link_id, clicks in ranking.links],
        )


async def link_id_of(connection: Connection, host: str | None, code: str) -> int:
    """The id of the link at a code; raises Error("link_not_found") or Error("domain_not_found")."""
    domain = await domain_of(connection, host)
    link = await link_store.find(connection, domain.id, code) if link_model.is_code(code) else None
    if link is None:
        raise Error("link_not_found", f"there is no link {code[: link_model.CODE_LENGTH_MAX]!r} at {domain.host}")
    return link.id


async def domain_of(connection: Connection, host: str | None) -> Domain:
    """The domain of a host, or the default one; raises Error("domain_not_found")."""
    domain = None
    if host is None or domain_model.could_be_host(host):
        domain = await domain_store.find(connection, None if host is None else host.lower())
    if domain is None:
        raise Error("domain_not_found", f"{(host or 'the default domain')[:64]} is no short domain of this service")
    return domain


async def _scope(connection: Connection, subject: Subject, view: View) -> ClickStatistics:
    # In this order, as of a link.
    documents = await queries.documents(connection, subject, view.span)
    all_time = await queries.scope_total(connection, subject)
    return statistics.of_scope(view, summarise(documents), all_time)


def _day_list(document: tuple[int, bytes]) -> DayList:
    values, other = summarise([document]).dimensions["link"]
    return DayList([(int(value), clicks) for value, clicks in values], other)


def _top_link(link_id: int, clicks: int, link: queries.LinkRow | None, domains: dict[int, Domain]) -> TopLink:
    if link is None:
        return TopLink(id=link_id, clicks=clicks, domain=None, code=None, short_url=None, target=None)
    domain = domains[link["domain_id"]]
    return TopLink(
        id=link_id,
        clicks=clicks,
        domain=domain.host,
        code=link["code"],
        short_url=domain.short_url(link["code"]),
        target=link["target"],
    )
