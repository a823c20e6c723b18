"""The routes of failover: another process behind a shard's id."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from control.db import Database
from control.failover import promotion, replacement
from control.http import Call, NoQuery, Reply, Route
from control.moves.api import REPLICAS_MAX, Url
from control.shards.addresses import redacted

_PROBLEMS: Final = (
    "shard_unknown",
    "shard_unavailable",
    "primary_silent",
    "placement_busy",
    "topology_missing",
    "topology_invalid",
    "topology_changed",
    "move_under_way",
)


class PromotionRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which replica, as it is shown or with its password; null: the one that has most. `is_lost`: the primary is out of
    reach for every edge, though it is silent."""

    replica: Url | None = None
    is_lost: bool = False


class PromotionView(msgspec.Struct, frozen=True, kw_only=True):
    """What was done. `lacked` batches of changes were not at the replica and are written to it again; `is_fenced`: the
    old primary answered and was told; `is_kept`: the server has it in its configuration that it follows nobody."""

    shard: str
    url: str
    epoch: int
    lacked: int
    is_fenced: bool
    is_kept: bool


class RebuildRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An empty server, and its replicas. `is_lost`: the old primary is out of reach for every edge, though it is
    silent."""

    url: Url
    replicas: Annotated[list[Url], Meta(max_length=REPLICAS_MAX)] = []
    is_lost: bool = False


class RebuildView(msgspec.Struct, frozen=True, kw_only=True):
    """The server that has the shard's place, and is being filled."""

    shard: str
    url: str
    epoch: int


def routes(database: Database) -> list[Route]:
    """The routes, bound to the database."""

    async def promote(call: Call) -> Reply:
        body: PromotionRequest = call.body
        shard_id = call.path["id"]
        done = await promotion.promote(database, shard_id, body.replica or "", body.is_lost)
        return Reply(
            value=PromotionView(
                shard=shard_id,
                url=redacted(done.url),
                epoch=done.topology.epoch,
                lacked=done.lacked,
                is_fenced=done.is_fenced,
                is_kept=done.is_kept,
            )
        )

    async def rebuild(call: Call) -> Reply:
        body: RebuildRequest = call.body
        shard_id = call.path["id"]
        topology = await replacement.replace_lost(database, shard_id, body.url, body.replicas, body.is_lost)
        return Reply(value=RebuildView(shard=shard_id, url=redacted(body.url), epoch=topology.epoch))

    return [
        Route(
            method="POST",
            path="/api/v1/shards/{id}/promote",
            name="promoteReplica",
            summary="Make a replica the primary of its shard",
            handler=promote,
            query=NoQuery,
            body=PromotionRequest,
            reply=PromotionView,
            problems=(*_PROBLEMS, "replica_unknown", "replica_foreign", "replica_behind"),
        ),
        Route(
            method="POST",
            path="/api/v1/shards/{id}/rebuild",
            name="rebuildShard",
            summary="Put an empty server in the place of a shard that is lost for good",
            handler=rebuild,
            query=NoQuery,
            body=RebuildRequest,
            reply=RebuildView,
            success="accepted",
            problems=(*_PROBLEMS, "shard_unreachable", "shard_not_empty", "shard_answers"),
        ),
    ]
