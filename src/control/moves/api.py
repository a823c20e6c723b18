"""The routes of moves: what starts them, shows them, and is asked of one under way."""

import re
from collections.abc import Awaitable, Callable
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from control import cursor
from control.errors import Error
from control.http import Call, NoQuery, Reply, Route
from control.moves import view
from control.moves.model import Move, MoveRequest
from control.moves.service import PAGE_MAX, Moves
from control.moves.view import DryRun, MoveDetail, MoveView
from wire.topology import WEIGHT_MAX

LIST_LIMIT_DEFAULT: Final = 20
URL_LENGTH_MAX: Final = 1024
REPLICAS_MAX: Final = 8
# PostgreSQL's bigint has 19 digits; nobody makes that many moves.
_MOVE_ID: Final = re.compile(r"[1-9][0-9]{0,17}")

ShardId = Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9-]{0,62}$")]
Url = Annotated[str, Meta(min_length=1, max_length=URL_LENGTH_MAX)]
Weight = Annotated[float, Meta(ge=0, le=WEIGHT_MAX)]

_PLAN_PROBLEMS: Final = ("topology_missing", "topology_invalid", "topology_moves", "topology_changed", "move_under_way")
_NEW_SHARD_PROBLEMS: Final = ("shard_exists", "shard_unreachable")


class NewShard(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A shard to bring in; `url` is that of its primary."""

    id: ShardId
    url: Url
    weight: Weight = 1.0
    replicas: Annotated[list[Url], Meta(max_length=REPLICAS_MAX)] = []


class Replacement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A shard that takes another one's place, with its weight."""

    id: ShardId
    url: Url
    replicas: Annotated[list[Url], Meta(max_length=REPLICAS_MAX)] = []


class NewWeight(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The weight that a shard is to have, in hundredths; with 0 it stays and holds nothing."""

    weight: Weight


class LostShard(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The id of a shard that will not come back."""

    shard: str


class DryQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query of what starts a move. `dry_run`: answer with the plan, and change nothing."""

    dry_run: bool = False


class ListQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query of the list: `cursor` is the `next_cursor` of the page before."""

    cursor: str | None = None
    limit: Annotated[int, Meta(ge=1, le=PAGE_MAX)] = LIST_LIMIT_DEFAULT


class MovePage(msgspec.Struct, frozen=True):
    """A page of moves, newest first; `next_cursor` is null on the last one."""

    items: list[MoveView]
    next_cursor: str | None


def routes(moves: Moves) -> list[Route]:
    """The routes, bound to the service."""
    return [*_starting(moves), *_showing(moves), *_steering(moves)]


def _starting(moves: Moves) -> list[Route]:
    async def begin(call: Call, request: MoveRequest) -> Reply:
        planned = await moves.plan(request)
        if call.query.dry_run:
            return Reply(value=view.of_plan(planned), is_dry=True)
        return _accepted(await moves.carry_out(planned))

    async def add(call: Call) -> Reply:
        body: NewShard = call.body
        request = MoveRequest(
            kind="add", shard_id=body.id, url=body.url, weight=body.weight, replicas=tuple(body.replicas)
        )
        return await begin(call, request)

    async def remove(call: Call) -> Reply:
        return await begin(call, MoveRequest(kind="remove", shard_id=call.path["id"]))

    async def reweight(call: Call) -> Reply:
        shard_id, weight = call.path["id"], call.body.weight
        if weight == 0:
            return await begin(call, MoveRequest(kind="drain", shard_id=shard_id))
        return await begin(call, MoveRequest(kind="reweight", shard_id=shard_id, weight=weight))

    async def replace(call: Call) -> Reply:
        body: Replacement = call.body
        request = MoveRequest(
            kind="replace",
            shard_id=call.path["id"],
            new_id=body.id,
            url=body.url,
            replicas=tuple(body.replicas),
        )
        return await begin(call, request)

    return [
        Route(
            method="POST",
            path="/api/v1/shards",
            name="addShard",
            summary="Bring in a shard: starts a move",
            handler=add,
            query=DryQuery,
            body=NewShard,
            reply=MoveView,
            dry_reply=DryRun,
            success="accepted",
            problems=(*_PLAN_PROBLEMS, *_NEW_SHARD_PROBLEMS),
        ),
        Route(
            method="DELETE",
            path="/api/v1/shards/{id}",
            name="removeShard",
            summary="Take a shard out: starts a move",
            handler=remove,
            query=DryQuery,
            reply=MoveView,
            dry_reply=DryRun,
            success="accepted",
            problems=(*_PLAN_PROBLEMS, "shard_unknown", "ring_empty"),
        ),
        Route(
            method="PATCH",
            path="/api/v1/shards/{id}",
            name="reweightShard",
            summary="Give a shard another weight, 0 to drain it: starts a move",
            handler=reweight,
            query=DryQuery,
            body=NewWeight,
            reply=MoveView,
            dry_reply=DryRun,
            success="accepted",
            problems=(*_PLAN_PROBLEMS, "shard_unknown", "ring_empty", "move_empty"),
        ),
        Route(
            method="POST",
            path="/api/v1/shards/{id}/replace",
            name="replaceShard",
            summary="Let another server take a shard's place: starts a move",
            handler=replace,
            query=DryQuery,
            body=Replacement,
            reply=MoveView,
            dry_reply=DryRun,
            success="accepted",
            problems=(*_PLAN_PROBLEMS, *_NEW_SHARD_PROBLEMS, "shard_unknown"),
        ),
    ]


def _showing(moves: Moves) -> list[Route]:
    async def list_page(call: Call) -> Reply:
        found = await moves.list(_before(call.query.cursor), call.query.limit)
        is_full = len(found) == call.query.limit
        items = [view.of_move(move) for move in found]
        return Reply(value=MovePage(items, cursor.encode(b"%d" % found[-1].id) if is_full else None))

    async def get(call: Call) -> Reply:
        move_id = _move_id(call)
        move = await moves.get(move_id)
        return Reply(value=view.in_detail(move, await moves.events(move_id)))

    return [
        Route(
            method="GET",
            path="/api/v1/moves",
            name="listMoves",
            summary="List the moves, newest first",
            handler=list_page,
            query=ListQuery,
            reply=MovePage,
        ),
        Route(
            method="GET",
            path="/api/v1/moves/{id}",
            name="getMove",
            summary="Read a move, with its history",
            handler=get,
            query=NoQuery,
            reply=MoveDetail,
            problems=("move_unknown",),
        ),
    ]


def _steering(moves: Moves) -> list[Route]:
    """Each notes what is wanted; the driver acts upon it within a second."""

    def steer(action: Callable[[int], Awaitable[Move]], name: str, summary: str) -> Route:
        async def handle(call: Call) -> Reply:
            return _accepted(await action(_move_id(call)))

        return Route(
            method="POST",
            path=f"/api/v1/moves/{{id}}/{name}",
            name=f"{name}Move",
            summary=summary,
            handler=handle,
            query=NoQuery,
            reply=MoveView,
            success="accepted",
            problems=("move_unknown", "move_phase"),
        )

    async def lose(call: Call) -> Reply:
        return _accepted(await moves.declare_lost(_move_id(call), call.body.shard))

    return [
        steer(moves.pause, "pause", "Let a move do nothing more until it is resumed"),
        steer(moves.resume, "resume", "Let a paused move go on"),
        steer(moves.abort, "abort", "Give a move up, and take back what it has done"),
        steer(moves.reverse, "reverse", "Let edges read the old ring again, before a move is final"),
        Route(
            method="POST",
            path="/api/v1/moves/{id}/lost",
            name="declareShardLost",
            summary="Let a move go on without a shard that no edge can reach either",
            handler=lose,
            query=NoQuery,
            body=LostShard,
            reply=MoveView,
            success="accepted",
            problems=("move_unknown", "move_phase", "shard_unknown", "shard_answers"),
        ),
    ]


def _accepted(move: Move) -> Reply:
    return Reply(value=view.of_move(move), location=f"/api/v1/moves/{move.id}")


def _move_id(call: Call) -> int:
    text = call.path["id"]
    if not _MOVE_ID.fullmatch(text):
        raise Error("move_unknown", "there is no such move; a move is named by its number")
    return int(text)


def _before(given: str | None) -> int | None:
    if given is None:
        return None
    match = _MOVE_ID.fullmatch(cursor.decode(given).decode("latin-1"))
    if match is None:
        raise cursor.invalid()
    return int(match[0])
