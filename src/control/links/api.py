"""The routes of links."""

import base64
import binascii
from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta

from control.errors import Error
from control.http import Call, Reply, Route
from control.links.model import LinkPatch, LinkView, NewLink
from control.links.service import Change, Condition, Links

LIST_LIMIT_DEFAULT: Final = 100
LIST_LIMIT_MAX: Final = 500
_BODY_PROBLEMS: Final = (
    "body_malformed",
    "body_too_large",
    "content_type",
    "field_type",
    "field_value",
    "field_unknown",
)
_TARGET_PROBLEMS: Final = (
    "target_invalid",
    "target_scheme",
    "target_credentials",
    "target_characters",
    "target_too_long",
    "target_loop",
    "window_invalid",
)


class CreateQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Query of POST."""


class LinkQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Query of the routes of one link: `domain`, if it is not the default one."""

    domain: str | None = None


class ListQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Query of the list: `cursor` is the `next_cursor` of the page before."""

    cursor: str | None = None
    limit: Annotated[int, Meta(ge=1, le=LIST_LIMIT_MAX)] = LIST_LIMIT_DEFAULT


class LinkPage(msgspec.Struct, frozen=True):
    """A page of links, newest first; `next_cursor` is null on the last one."""

    items: list[LinkView]
    next_cursor: str | None


def routes(links: Links) -> list[Route]:
    """The routes, bound to the service."""

    async def create(call: Call) -> Reply:
        return _reply(await links.create(call.body))

    async def get(call: Call) -> Reply:
        view = await links.get(call.query.domain, call.path["code"])
        return Reply(value=view, etag=view.version)

    async def list_page(call: Call) -> Reply:
        items = await links.page(_before(call.query.cursor), call.query.limit)
        is_full = len(items) == call.query.limit
        return Reply(value=LinkPage(items, _cursor(items[-1].id) if is_full else None))

    async def patch(call: Call) -> Reply:
        version = None if call.body.version is UNSET else call.body.version
        condition = Condition(if_match=call.if_match, version=version)
        return _reply(await links.update(call.query.domain, call.path["code"], call.body, condition))

    async def delete(call: Call) -> Reply:
        await links.delete(call.query.domain, call.path["code"], Condition(if_match=call.if_match))
        return Reply()

    return [
        Route(
            method="POST",
            path="/api/v1/links",
            name="createLink",
            summary="Create a link",
            handler=create,
            query=CreateQuery,
            body=NewLink,
            reply=LinkView,
            success="created",
            problems=(
                *_BODY_PROBLEMS,
                "field_missing",
                *_TARGET_PROBLEMS,
                "code_invalid",
                "code_reserved",
                "code_taken",
                "domain_not_found",
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
            query=LinkQuery,
            body=LinkPatch,
            reply=LinkView,
            has_if_match=True,
            problems=(
                *_BODY_PROBLEMS,
                "patch_empty",
                *_TARGET_PROBLEMS,
                "link_not_found",
                "domain_not_found",
                "version_conflict",
            ),
        ),
        Route(
            method="DELETE",
            path="/api/v1/links/{code}",
            name="deleteLink",
            summary="Delete a link",
            handler=delete,
            query=LinkQuery,
            success="no_content",
            has_if_match=True,
            problems=("link_not_found", "domain_not_found"),
        ),
    ]


def _reply(change: Change) -> Reply:
    assert change.view is not None  # only a deletion has none
    return Reply(value=change.view, etag=change.version, location=f"/api/v1/links/{change.view.code}")


def _cursor(link_id: int) -> str:
    return base64.urlsafe_b64encode(b"%d" % link_id).decode().rstrip("=")


def _before(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    try:
        link_id = int(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, binascii.Error) as error:
        raise Error("query_invalid", "the cursor is none that a list has given") from error
    if not 0 < link_id < 2**63:
        raise Error("query_invalid", "the cursor is none that a list has given")
    return link_id
