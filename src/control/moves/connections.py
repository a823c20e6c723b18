"""A work's connections to the shards of its move."""

from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import resources
from typing import Final

from control.db import Database
from control.errors import Error
from control.projection import store
from control.projection.shard_writer import connect_writer
from control.shards.connection import ShardConnection
from wire.topology import Shard, Topology

_SCRIPTS: Final = ("drop", "force")


async def connect_mover(shard: Shard) -> ShardConnection:
    """A connection with the scripts of projection and of moves."""
    folder = resources.files("control.moves")
    scripts = {name: (folder / f"{name}.lua").read_text(encoding="utf-8") for name in _SCRIPTS}
    return await connect_writer(shard.id, shard.url, scripts)


async def connect_known(database: Database, shard: Shard, *, must_be_whole: bool = False) -> ShardConnection:
    """The same, to the process that the shard's keeper has adopted: any other one may lack what it has had.

    With `must_be_whole` it must not be one that its keeper is filling either.
    """
    async with database.connection() as rows:
        state = (await store.states(rows, [shard.id])).get(shard.id)
    if must_be_whole and state is not None and not (state.is_complete or state.is_joining):
        raise Error("shard_unavailable", f"shard {shard.id} is being repaired")
    connection = await connect_mover(shard)
    if state is None or state.run_id != connection.run_id:
        await connection.close()
        raise Error("shard_unavailable", f"shard {shard.id} is another process now; its keeper has to repair it")
    return connection


@asynccontextmanager
async def connected(database: Database, shards: Iterable[Shard]) -> AsyncIterator[list[ShardConnection]]:
    """Connections to the known processes of several shards that are not being filled, closed with the block."""
    async with AsyncExitStack() as stack:
        connections = []
        for shard in shards:
            connections.append(await connect_known(database, shard, must_be_whole=True))
            stack.push_async_callback(connections[-1].close)
        yield connections


def shard_of(topology: Topology, shard_id: str) -> Shard:
    """The shard of that id."""
    return next(shard for shard in topology.shards if shard.id == shard_id)
