"""The routes of projection: what operators look at."""

from datetime import datetime
from typing import Final

import msgspec

from control.db import Database
from control.http import Call, NoQuery, Reply, Route
from control.projection import store

ITEMS_MAX: Final = 100


class SetAside(msgspec.Struct, frozen=True, kw_only=True):
    """A change that cannot be projected; domain and code are null when the link is gone."""

    id: int
    domain: str | None
    code: str | None
    version: int
    reason: str
    attempts: int
    created_at: datetime
    retry_at: datetime | None


class SetAsideList(msgspec.Struct, frozen=True):
    """The oldest of them."""

    items: list[SetAside]
    next_cursor: str | None = None


def routes(database: Database) -> list[Route]:
    """The routes, bound to the database."""

    async def list_set_aside(_: Call) -> Reply:
        async with database.connection() as connection:
            rows = await store.list_set_aside(connection, ITEMS_MAX)
        return Reply(value=SetAsideList([SetAside(**row) for row in rows]))

    return [
        Route(
            method="GET",
            path="/api/v1/outbox/set-aside",
            name="listSetAside",
            summary="List the changes that cannot be projected",
            handler=list_set_aside,
            query=NoQuery,
            reply=SetAsideList,
        )
    ]
