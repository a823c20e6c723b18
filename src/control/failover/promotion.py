"""Making a replica the primary of its shard.

    check ─▶ caught up, if the primary answers ─▶ REPLICAOF NO ONE ─▶ the topology names it ─▶ the old primary is fenced

Cut off anywhere, it can be run again: a replica that was promoted already but is not the topology's primary yet is
known by its fence. What it lacks of the primary's log is projected again by its keeper.
"""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

from control.db import Database
from control.errors import Error
from control.failover.handing import check_steady, fence_off, hand_over, shard_of
from control.failover.member import Member, is_copy_of, meet, meet_primary
from control.projection import store
from control.projection.publication import observe
from control.shards import addresses
from wire.topology import Shard, Topology

# A replica is milliseconds behind. One that needs longer has lost its link, or is being filled by its primary.
CATCH_UP_S: Final = 10.0
LOOK_INTERVAL_S: Final = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """What was done. `is_fenced`: the old primary answered and was told; else it was dead. `is_kept`: the server has it
    in its configuration that it follows nobody; else it may be a replica again when it is restarted."""

    topology: Topology
    url: str
    lacked: int  # batches, by what the primary or PostgreSQL knew; they are projected again
    is_fenced: bool
    is_kept: bool


async def promote(database: Database, shard_id: str, url: str = "", is_lost: bool = False) -> Promotion:
    """Make the replica at `url`, or the one that has most, the primary of the shard.

    Raises Error: shard_unknown, topology_invalid, replica_unknown, replica_foreign, replica_behind, primary_silent,
    move_under_way, topology_changed, placement_busy, shard_unavailable.
    """
    shard = await shard_of(database, shard_id)
    url = _named(shard, url)
    await check_steady(database)
    async with AsyncExitStack() as stack:
        primary = await meet_primary(shard_id, shard.url, is_lost)
        if primary is not None:
            stack.push_async_callback(primary.connection.close)
        chosen, replica = await _choose(stack, shard, url)
        reached = await _check(database, shard, chosen, replica, primary)
        if primary is not None and replica.role == "slave":
            reached = await _catch_up(shard_id, primary, replica)
        await replica.connection.execute("REPLICAOF", "NO", "ONE")
        had = (await observe(replica.connection)).sequence
        rest = [other for other in shard.replicas if other != chosen]
        topology = await _hand_over(database, shard, chosen, rest)
        is_fenced = primary is not None and await fence_off(database, primary)
        is_kept = await _keep(replica)
    return Promotion(topology=topology, url=chosen, lacked=max(0, reached - had), is_fenced=is_fenced, is_kept=is_kept)


async def _keep(replica: Member) -> bool:
    """Let the server write into its configuration that it follows nobody, as Sentinel does; whether it has one."""
    try:
        await replica.connection.execute("CONFIG", "REWRITE")
    except Error:
        return False
    return True


def _named(shard: Shard, url: str) -> str:
    """The address of a replica that is named as the API shows it, without its password; any other as it is."""
    if url:
        addresses.check(url, "/replica")
    return next((known for known in shard.replicas if addresses.redacted(known) == url), url)


async def _hand_over(database: Database, shard: Shard, url: str, replicas: list[str]) -> Topology:
    """What fails here leaves a server that follows nobody any more, and a topology that does not name it."""
    try:
        return await hand_over(database, shard, url, replicas)
    except Error as error:
        raise Error(
            error.code,
            f"{error.message}. {addresses.redacted(url)} does not follow its primary any more: promote it again, or "
            "make it a replica again (REPLICAOF)",
        ) from error


async def _choose(stack: AsyncExitStack, shard: Shard, url: str) -> tuple[str, Member]:
    """The replica at `url`; without one, of those that answer the one whose copy of the log is longest."""
    if url:
        member = await meet(shard.id, url)
        stack.push_async_callback(member.connection.close)
        return url, member
    met = await asyncio.gather(*(meet(shard.id, known) for known in shard.replicas), return_exceptions=True)
    members: list[tuple[str, Member]] = []
    for known, found in zip(shard.replicas, met, strict=True):
        if isinstance(found, Member):
            stack.push_async_callback(found.connection.close)
            members.append((known, found))
        elif not isinstance(found, Error):
            raise found
    if not members:
        raise Error("replica_unknown", f"{shard.id} has no replica that answers; name one with --replica")
    return max(members, key=lambda pair: pair[1].observed.sequence)


async def _check(database: Database, shard: Shard, url: str, replica: Member, primary: Member | None) -> int:
    """See that it is a replica of this shard; returns the highest number that PostgreSQL knows of the shard."""
    async with database.connection() as connection:
        is_copy = await is_copy_of(connection, shard, url, replica)
        highest = await store.highest_noted(connection, shard.id)
    if not is_copy and not (primary is not None and replica.filled_by and replica.filled_by == primary.filled_by):
        raise Error("replica_foreign", f"what the server holds is no copy of {shard.id}: its fence is of another one")
    if primary is not None and replica.connection.run_id == primary.connection.run_id:
        raise Error("replica_foreign", f"the server is the primary of {shard.id} itself")
    return highest


async def _catch_up(shard_id: str, primary: Member, replica: Member) -> int:
    """Wait until the replica has what the primary has now; what is written meanwhile is projected again."""
    wanted = (await observe(primary.connection)).sequence
    clock = asyncio.get_running_loop().time
    deadline = clock() + CATCH_UP_S
    while (await observe(replica.connection)).sequence < wanted:
        if clock() >= deadline:
            raise Error("replica_behind", f"the replica of {shard_id} does not reach its primary; see its link to it")
        await asyncio.sleep(LOOK_INTERVAL_S)
    return wanted
