"""Looking at the shards: what each says of itself, and which edges live."""

import asyncio
import errno
import re
from collections.abc import Iterable, Mapping
from typing import Final

from control.errors import Error
from control.moves.barrier import ShardView
from control.shards.connection import connect
from control.shards.edges import Edges
from wire import FormatError, fence, keys
from wire.fence import Fence
from wire.heartbeat import Heartbeat
from wire.topology import Shard

_ERRNO: Final = re.compile(r"\[Errno (-?\d+)\]")


async def look(shards: Iterable[Shard]) -> dict[str, ShardView]:
    """What each shard says, all asked at once, over new connections: one that stands is no proof of anything."""
    asked = list(shards)
    views = await asyncio.gather(*(_look_at(shard) for shard in asked))
    return {shard.id: view for shard, view in zip(asked, views, strict=True)}


def live(edges: Edges, shards: Iterable[Shard]) -> Mapping[str, Mapping[str, Heartbeat]]:
    """The live workers of the shards that know all of theirs."""
    found = {shard.id: edges.of(shard.id) for shard in shards}
    return {shard_id: dict(known.live) for shard_id, known in found.items() if known.is_known}


def unread(edges: Edges, shards: Iterable[Shard]) -> frozenset[str]:
    """The live workers whose heartbeats cannot be read."""
    return frozenset(edge_id for shard in shards for edge_id in edges.of(shard.id).unread)


async def _look_at(shard: Shard) -> ShardView:
    try:
        connection = await connect(shard.id, shard.url)
    except Error as error:
        return ShardView(is_refused=is_refused(error))
    try:
        return ShardView(run_id=connection.run_id, fence=_decoded(await connection.execute("GET", keys.FENCE)))
    except Error:
        return ShardView()
    finally:
        await connection.close()


def is_refused(error: BaseException) -> bool:
    """Whether every address of a shard has refused the connection: its machine answers, and nothing listens there."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError):
            codes = _ERRNO.findall(str(found))
            return bool(codes) and all(int(code) == errno.ECONNREFUSED for code in codes)
        found = found.__cause__ or found.__context__
    return False


def _decoded(data: bytes | None) -> Fence | None:
    if data is None:
        return None
    try:
        return fence.decode(data)
    except FormatError:
        return None  # nothing that any edge of this build could believe
