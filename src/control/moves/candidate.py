"""Looking at the server that is to become a shard."""

from dataclasses import dataclass
from typing import Final

from control.errors import Error
from control.shards.addresses import redacted
from control.shards.connection import connect
from wire.topology import Shard

# RESP3 and CLIENT TRACKING, by which edges hear of changes.
REDIS_VERSION_MIN: Final = (6, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What the server says of itself."""

    run_id: str
    version: str
    policy: str
    keys: int


async def inspect(shard: Shard) -> Candidate:
    """Ask the server; raises Error("shard_unreachable") without an answer, and "topology_invalid" for a replica."""
    try:
        connection = await connect(shard.id, shard.url)
        try:
            server, memory, replication, keys = await connection.pipeline(
                [("INFO", "server"), ("INFO", "memory"), ("INFO", "replication"), ("DBSIZE",)]
            )
        finally:
            await connection.close()
    except Error as error:
        raise Error(
            "shard_unreachable", f"{error.message}; start it, and let control reach it", pointer="/url"
        ) from error
    if _field(replication, "role") != "master":
        primary = f"{_field(replication, 'master_host')}:{_field(replication, 'master_port')}"
        raise Error(
            "topology_invalid",
            f"{redacted(shard.url)} is a replica of {primary}; give a primary, or make it one with REPLICAOF NO ONE",
            pointer="/url",
        )
    return Candidate(
        run_id=connection.run_id,
        version=_field(server, "redis_version"),
        policy=_field(memory, "maxmemory_policy"),
        keys=int(keys),
    )


def warnings(shard: Shard, candidate: Candidate) -> list[str]:
    """What the operator should know of the server before it becomes a shard."""
    found = []
    if _version(candidate.version) < REDIS_VERSION_MIN:
        found.append(f"{redacted(shard.url)} is Redis {candidate.version}; edges need 6.0 or newer to hear of changes")
    if candidate.policy != "noeviction":
        found.append(
            f"{redacted(shard.url)} has maxmemory-policy {candidate.policy}; set noeviction, or links are answered 404"
        )
    if candidate.keys:
        found.append(f"{redacted(shard.url)} holds {candidate.keys} keys; those that begin with l: will be removed")
    return found


def _field(info: bytes | str, name: str) -> str:
    text = info.decode() if isinstance(info, bytes) else info
    for line in text.splitlines():
        if line.startswith(f"{name}:"):
            return line.partition(":")[2]
    return "unknown"


def _version(text: str) -> tuple[int, ...]:
    parts = text.split(".")[:2]
    return tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) else REDIS_VERSION_MIN
