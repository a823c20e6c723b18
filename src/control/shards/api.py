"""The routes that show shards and edges; what changes them is in `control.moves.api`."""

import msgspec

from control.http import Call, NoQuery, Reply, Route
from control.shards.registry import Registry
from control.shards.view import EdgeView, ShardView


class ShardPage(msgspec.Struct, frozen=True):
    """All shards, in the order of the topology."""

    items: list[ShardView]
    next_cursor: str | None = None


class EdgePage(msgspec.Struct, frozen=True):
    """All live edge workers, by id. `unread` are the ids of others, whose heartbeats this build cannot read. With
    `unheard_shards`, a worker that only these shards know may be missing."""

    items: list[EdgeView]
    unread: list[str]
    unheard_shards: list[str]
    next_cursor: str | None = None


def routes(registry: Registry) -> list[Route]:
    """The routes, bound to the registry."""

    async def list_shards(_: Call) -> Reply:
        return Reply(value=ShardPage(await registry.shards()))

    async def list_edges(_: Call) -> Reply:
        found = await registry.workers()
        return Reply(value=EdgePage(items=found.items, unread=found.unread, unheard_shards=found.unheard_shards))

    return [
        Route(
            method="GET",
            path="/api/v1/shards",
            name="listShards",
            summary="List the shards, and what each says of itself now",
            handler=list_shards,
            query=NoQuery,
            reply=ShardPage,
        ),
        Route(
            method="GET",
            path="/api/v1/edges",
            name="listEdges",
            summary="List the live edge workers",
            handler=list_edges,
            query=NoQuery,
            reply=EdgePage,
        ),
    ]
