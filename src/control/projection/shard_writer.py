"""The commands that write to one shard: records, batch numbers, documents with the fence, and the sweep."""

from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Final

from control.errors import Error
from control.projection.model import TOMBSTONE_TTL_MS, Write
from control.shards.connection import Command, ShardConnection, connect
from wire import keys

# One script call holds up the shard's other clients; 250 keys take about half a millisecond.
KEYS_PER_CALL: Final = 250
_SCRIPTS: Final = ("write", "number", "publish", "sweep")


async def connect_writer(shard_id: str, url: str, more: Mapping[str, str] | None = None) -> ShardConnection:
    """A connection with this module's scripts loaded, and with `more` of them, by name."""
    folder = resources.files("control.projection")
    scripts = {name: (folder / f"{name}.lua").read_text(encoding="utf-8") for name in _SCRIPTS}
    return await connect(shard_id, url, {**scripts, **(more or {})})


async def write(connection: ShardConnection, writes: Sequence[Write], epoch: int | None = None) -> None:
    """Compare-and-set the records. With an epoch, as `write_batch`."""
    await connection.pipeline(_write_commands(connection, writes, epoch))


async def write_batch(
    connection: ShardConnection, writes: Sequence[Write], base_seq: int, epoch: int | None = None
) -> int:
    """Compare-and-set the records and return the number of the batch, which stands behind them in the shard's log.

    With an epoch, nothing is written under a fence of a later one: Error("shard_unavailable").
    """
    number: Command = ("EVALSHA", connection.scripts["number"], 1, keys.SEQUENCE, base_seq)
    replies = await connection.pipeline([*_write_commands(connection, writes, epoch), number])
    return int(replies[-1])


async def publish(connection: ShardConnection, held: Sequence[bytes | int], new: Sequence[bytes]) -> bool:
    """Set fence, topology and domains to `new` if they still are `held` (see publish.lua); whether they were."""
    sha = connection.scripts["publish"]
    return bool(await connection.execute("EVALSHA", sha, 3, keys.FENCE, keys.TOPOLOGY, keys.DOMAINS, *held, *new))


async def remove(connection: ShardConnection, fence: bytes, link_keys: Sequence[bytes]) -> int:
    """Remove links if the fence still is `fence`; returns how many were there. Raises Error("shard_unavailable")."""
    sha = connection.scripts["sweep"]
    removed = int(await connection.execute("EVALSHA", sha, len(link_keys) + 1, keys.FENCE, *link_keys, fence))
    if removed < 0:
        raise Error("shard_unavailable", f"the fence of shard {connection.shard_id} was changed by somebody else")
    return removed


def _write_commands(connection: ShardConnection, writes: Sequence[Write], epoch: int | None = None) -> list[Command]:
    guard = () if epoch is None else (epoch, keys.FENCE)
    sha = connection.scripts["write"]
    commands: list[Command] = []
    for start in range(0, len(writes), KEYS_PER_CALL):
        chunk = writes[start : start + KEYS_PER_CALL]
        commands.append(
            (
                "EVALSHA",
                sha,
                len(chunk),
                *(item.key for item in chunk),
                TOMBSTONE_TTL_MS,
                *(item.data for item in chunk),
                *guard,
            )
        )
    return commands
