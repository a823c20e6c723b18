"""Publishing another address for a shard, and fencing the process that it had."""

from collections.abc import Sequence
from dataclasses import replace

from control.db import Database
from control.errors import Error
from control.failover.member import Member
from control.projection import publication
from control.shards import service
from control.shards import store as shard_store
from wire.topology import Shard, Topology


async def shard_of(database: Database, shard_id: str) -> Shard:
    """The shard as the topology in force has it; raises Error("shard_unknown")."""
    return service.shard_named((await service.get_topology(database)).shards, shard_id)


async def check_steady(database: Database) -> None:
    """Raise Error("move_under_way") while links move: looked at before anything is done that cannot be published."""
    async with database.connection() as connection:
        current = await shard_store.current(connection)
        if (current is not None and current.mode != "steady") or await shard_store.is_move_under_way(connection):
            raise Error("move_under_way", "links are being moved; addresses can be changed when the move has ended")


async def hand_over(database: Database, before: Shard, url: str, replicas: Sequence[str]) -> Topology:
    """Publish `url` as the address of the shard, if it still is as `before` says.

    Raises Error("topology_changed") if it is not, and Error("move_under_way") while links move.
    """
    return await service.set_addresses(database, before, replace(before, url=url, replicas=tuple(replicas)))


async def fence_off(database: Database, primary: Member) -> bool:
    """Tell edges at a primary that is given up; whether that was possible. Its keeper tries, too (`Former`)."""
    async with database.connection() as connection:
        published = await publication.read_published(connection)
    try:
        return await publication.give_up(primary.connection, published)
    except Error:
        return False  # it has died meanwhile, or was made a replica and takes no writes
