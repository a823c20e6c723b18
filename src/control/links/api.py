"""The routes of links."""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from control import cursor
from control.http import Call, Reply, Route
from control.links.model import LinkPatch, LinkView, NewLink
from control.links.service import Change, Condition, Links
from control.projection.acknowledgement import Acknowledgements

LIST_LIMIT_DEFAULT: Final = 100
LIST_LIMIT_MAX: Final = 500
WAIT_MS_DEFAULT: Final = 3000
WAIT_MS_MAX: Final = 30_000
_CONTENT_PROBLEMS: Final = (
    "target_invalid",
    "target_scheme",
    "target_credentials",
    "target_characters",
    "target_too_long",
    "target_loop",
    "window_invalid",
    "cache_max_age_invalid",
    "tag_invalid",
    "too_many_tags",
    "tags_exhausted",
)


class WaitQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query of POST. `wait=edges`: answer when every live edge has the change, or `wait_ms` are over."""

    wait: Literal["edges"] | None = None
    wait_ms: Annotated[int, Meta(ge=1, le=WAIT_MS_MAX)] = WAIT_MS_DEFAULT


class LinkQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query of GET: `domain`, if it is not the default one."""

    domain: str | None = None


class ChangeQuery(WaitQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query of PATCH and DELETE."""

    domain: str | None = None


class ListQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query of the list: `cursor` is the `next_cursor` of the page before; `tag`: only links with this tag."""

    cursor: str | None = None
    tag: str | None = None
    limit: Annotated[int, Meta(ge=1, le=LIST_LIMIT_MAX)] = LIST_LIMIT_DEFAULT


class LinkPage(msgspec.Struct, frozen=True):
    """A page of links, newest first; `next_cursor` is null on the last one."""

    items: list[LinkView]
    next_cursor: str | None


class EdgesView(msgspec.Struct, frozen=True, kw_only=True):
    """How far the change got in time: to its shard, to these edge workers, not to those; complete: to all of them."""

    is_complete: bool
    is_projected: bool
    acknowledged: list[str]
    late: list[str]


class ChangedLink(LinkView, frozen=True, kw_only=True):
    """A link after a change; `edges` only if the request waited for them."""

    edges: EdgesView | UnsetType = UNSET


class DeletedLink(msgspec.Struct, frozen=True, kw_only=True):
    """What a deletion that waited for the edges answers."""

    edges: EdgesView


def routes(links: Links, acknowledgements: Acknowledgements) -> list[Route]:
    """The routes, bound to the services."""

    async def create(call: Call) -> Reply:
        change = await links.create(call.body)
        view = _changed(change.view, await _wait(acknowledgements, call.query, change))
        return Reply(value=view, etag=view.version, location=_location(change))

    async def get(call: Call) -> Reply:
        view = await links.get(call.query.domain, call.path["code"])
        return Reply(value=view, etag=view.version)

    async def list_page(call: Call) -> Reply:
        items = await links.page(_before(call.query.cursor), call.query.limit, call.query.tag)
        is_full = len(items) == call.query.limit
        return Reply(value=LinkPage(items, cursor.encode(b"%d" % items[-1].id) if is_full else None))

    async def patch(call: Call) -> Reply:
        version = None if call.body.version is UNSET else call.body.version
        condition = Condition(if_match=call.if_match, version=version)
        change = await links.update(call.query.domain, call.path["code"], call.body, condition)
        view = _changed(change.view, await _wait(acknowledgements, call.query, change))
        return Reply(value=view, etag=view.version)

    async def delete(call: Call) -> Reply:
        condition = Condition(if_match=call.if_match)
        change = await links.delete(call.query.domain, call.path["code"], condition)
        edges = await _wait(acknowledgements, call.query, change)
        return Reply(value=None if edges is UNSET else DeletedLink(edges=edges))

    return [
        Route(
            method="POST",
            path="/api/v1/links",
            name="createLink",
            summary="Create a link",
            handler=create,
            query=WaitQuery,
            body=NewLink,
            reply=ChangedLink,
            success="created",
            problems=(
                *_CONTENT_PROBLEMS,
                "code_invalid",
                "code_reserved",
                "code_taken",
                "domain_not_found",
                "not_ready",
                "too_many_waiting",
            ),
        ),
        Route(
            method="GET",
            path="/api/v1/links",
            name="listLinks",
            summary="List the links of all domains, newest first",
            handler=list_page,
            query=ListQuery,
            reply=LinkPage,
            problems=("tag_not_found",),
        ),
        Route(
            method="GET",
            path="/api/v1/links/{code}",
            name="getLink",
            summary="Read a link",
            handler=get,
            query=LinkQuery,
            reply=LinkView,
            problems=("link_not_found", "domain_not_found"),
        ),
        Route(
            method="PATCH",
            path="/api/v1/links/{code}",
            name="changeLink",
            summary="Change a link",
            handler=patch,
            query=ChangeQuery,
            body=LinkPatch,
            reply=ChangedLink,
            has_if_match=True,
            problems=(
                "patch_empty",
                *_CONTENT_PROBLEMS,
                "link_not_found",
                "domain_not_found",
                "version_conflict",
                "too_many_waiting",
            ),
        ),
        Route(
            method="DELETE",
            path="/api/v1/links/{code}",
            name="deleteLink",
            summary="Delete a link",
            handler=delete,
            query=ChangeQuery,
            reply=DeletedLink,
            may_be_empty=True,
            has_if_match=True,
            problems=("link_not_found", "domain_not_found", "too_many_waiting"),
        ),
    ]


async def _wait(acknowledgements: Acknowledgements, query: WaitQuery, change: Change) -> EdgesView | UnsetType:
    if query.wait is None:
        return UNSET
    result = await acknowledgements.wait(change.link_id, change.version, query.wait_ms / 1000)
    return EdgesView(
        is_complete=result.is_complete,
        is_projected=result.is_projected,
        acknowledged=result.acknowledged,
        late=result.late,
    )


def _changed(view: LinkView, edges: EdgesView | UnsetType) -> ChangedLink:
    return ChangedLink(**msgspec.structs.asdict(view), edges=edges)


def _location(change: Change) -> str:
    path = f"/api/v1/links/{change.view.code}"
    return path if change.is_default_domain else f"{path}?domain={change.view.domain}"


def _before(given: str | None) -> int | None:
    if given is None:
        return None
    try:
        link_id = int(cursor.decode(given))
    except ValueError as error:
        raise cursor.invalid() from error
    if not 0 < link_id < 2**63:
        raise cursor.invalid()
    return link_id
