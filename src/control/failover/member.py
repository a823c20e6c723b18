"""What a server says of itself, seen as a shard's primary or one of its replicas."""

from dataclasses import dataclass

from control.db import Connection
from control.errors import Error
from control.moves.observation import is_refused
from control.projection import publication, store
from control.projection.decision import Observed
from control.projection.shard_writer import connect_writer
from control.shards.connection import ShardConnection
from wire.topology import Shard


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One server, over one connection, which its user closes."""

    connection: ShardConnection
    observed: Observed
    role: str  # "master" or "slave", as Redis calls them
    is_linked: bool  # a replica that hears its primary

    @property
    def filled_by(self) -> str:
        """The run id of the process whose content it has, by its fence; "" if nobody says."""
        return self.observed.fence.run_id if self.observed.fence is not None else ""


async def meet(shard_id: str, url: str) -> Member:
    """Connect and look; raises Error("shard_unavailable")."""
    connection = await connect_writer(shard_id, url)
    try:
        replication = _fields(await connection.execute("INFO", "replication"))
        observed = await publication.observe(connection)
    except BaseException:
        await connection.close()
        raise
    return Member(
        connection=connection,
        observed=observed,
        role=replication.get("role", ""),
        is_linked=replication.get("master_link_status") == "up",
    )


async def meet_primary(shard_id: str, url: str, is_lost: bool) -> Member | None:
    """The primary that is given up; None if it is dead: nothing listens there, or the operator says that it is lost.

    Raises Error("primary_silent") if it does not answer and nobody knows: behind a network that is cut it may go on
    answering edges, which would not see a change any more.
    """
    try:
        return await meet(shard_id, url)
    except Error as error:
        if is_lost or is_refused(error):
            return None
        raise Error(
            "primary_silent",
            f"the primary of {shard_id} does not answer ({error.message}), but it may be alive for edges; stop it, or "
            "say that it is lost with --lost",
        ) from error


async def is_copy_of(connection: Connection, shard: Shard, url: str, member: Member) -> bool:
    """Whether what the server at `url` holds is the shard's, by the fence that came with it.

    While a process is being adopted none is called the shard's. If it dies then, a server which the topology names as a
    replica is known by what it is not: another shard's.
    """
    states = await store.all_states(connection)
    own = states[shard.id].run_id
    if own is not None:
        return member.filled_by == own
    others = {state.run_id for state in states.values()}
    return url in shard.replicas and member.filled_by not in ("", *others)


def _fields(info: bytes | str) -> dict[str, str]:
    text = info.decode() if isinstance(info, bytes) else info
    pairs = (line.partition(":") for line in text.splitlines())
    return {name: value for name, found, value in pairs if found}
