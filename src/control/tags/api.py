"""The routes of tags."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from control import cursor
from control.http import Call, NoQuery, Reply, Route
from control.tags import model
from control.tags.service import Tags

LIST_LIMIT_DEFAULT: Final = 100
LIST_LIMIT_MAX: Final = 500


class TagQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query of the list: `cursor` is the `next_cursor` of the page before."""

    cursor: str | None = None
    limit: Annotated[int, Meta(ge=1, le=LIST_LIMIT_MAX)] = LIST_LIMIT_DEFAULT


class TagView(msgspec.Struct, frozen=True, kw_only=True):
    """A tag as answers show it."""

    name: str


class TagPage(msgspec.Struct, frozen=True):
    """A page of tags, in the order of their names without letter case; `next_cursor` is null on the last one."""

    items: list[TagView]
    next_cursor: str | None


def routes(tags: Tags) -> list[Route]:
    """The routes, bound to the service."""

    async def list_page(call: Call) -> Reply:
        found = await tags.page(_after(call.query.cursor), call.query.limit)
        is_full = len(found) == call.query.limit
        items = [TagView(name=tag.name) for _, tag in found]
        return Reply(value=TagPage(items, cursor.encode(found[-1][0].encode()) if is_full else None))

    async def delete(call: Call) -> Reply:
        await tags.delete(call.path["name"])
        return Reply()

    return [
        Route(
            method="GET",
            path="/api/v1/tags",
            name="listTags",
            summary="List the tags",
            handler=list_page,
            query=TagQuery,
            reply=TagPage,
        ),
        Route(
            method="DELETE",
            path="/api/v1/tags/{name}",
            name="deleteTag",
            summary="Delete a tag that no link has",
            handler=delete,
            query=NoQuery,
            success="no_content",
            problems=("tag_not_found", "tag_in_use"),
        ),
    ]


def _after(given: str | None) -> str:
    if given is None:
        return ""
    try:
        key = cursor.decode(given).decode()
    except UnicodeDecodeError as error:
        raise cursor.invalid() from error
    if not key or not model.is_printable(key):
        raise cursor.invalid()
    return key
