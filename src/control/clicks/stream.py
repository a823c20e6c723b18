"""The commands of the consumer group on a shard's stream.

An entry is in one of three places: not delivered yet, pending with a consumer, or gone. It leaves the stream first and
the group then, so what a cut leaves half done is a pending id without an entry, which whoever finds it drops. An entry
in the stream that no consumer will ever get, because somebody removed a consumer by hand, is found by `claim_lost`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

from control.clicks.model import Arrival, Entry
from control.shards.connection import Command, ShardConnection, connect
from wire import keys
from wire.report import Report
from wire.topology import Shard

# 2 MiB: a reply that a shard sends well within its deadline, and that a batch has room for.
READ_ENTRIES_MAX: Final = 16
# An edge asks every second or so. An hour later it is gone, or its frames came twice and will be told again.
ACK_EXPIRES_MS: Final = 3_600_000
CONSUMERS_MAX: Final = 1000
_KEY: Final = keys.CLICKS
_GROUP: Final = keys.CLICKS_GROUP
# A shard whose memory is full runs no scripts, and must be emptied all the same: only a new group needs this one.
_SCRIPTS: Final = {"group": resources.files(__package__).joinpath("group.lua").read_text(encoding="utf-8")}


@dataclass(frozen=True, slots=True)
class Lag:
    """What waits on a shard."""

    frames: int = 0
    bytes: int = 0
    pending: int = 0
    oldest_ms: int = 0


async def connect_stream(shard: Shard) -> ShardConnection:
    """A connection to the shard, on which the group is there."""
    connection = await connect(shard.id, shard.url, _SCRIPTS)
    try:
        await _ensure_group(connection)
    except BaseException:
        await connection.close()
        raise
    return connection


async def read_new(connection: ShardConnection, consumer: bytes, block_ms: int) -> list[Entry]:
    """Entries that nobody has got yet; waits for the first one."""
    return await _read(connection, consumer, b">", "BLOCK", block_ms)


async def read_own(connection: ShardConnection, consumer: bytes, after: bytes) -> list[Entry]:
    """Entries behind the id `after` that this consumer got and has not finished."""
    return await _read(connection, consumer, after)


async def claim(connection: ShardConnection, consumer: bytes, idle_ms: int, cursor: bytes) -> tuple[bytes, list[Entry]]:
    """Take over entries that their consumers have had for too long; the cursor goes on, b"0-0" is the end."""
    reply = await connection.execute("XAUTOCLAIM", _KEY, _GROUP, consumer, idle_ms, cursor, "COUNT", READ_ENTRIES_MAX)
    return reply[0], [Entry(*item) for item in reply[1] if item is not None]


async def claim_lost(connection: ShardConnection, consumer: bytes) -> list[Entry]:
    """Entries at the head of the stream that were delivered and are pending with nobody."""
    # In this order: what was delivered by the first answer, is still there, and is older than all that is pending by
    # the second, is with nobody. An entry leaves the stream before it leaves the pending ones.
    groups = await connection.execute("XINFO", "GROUPS", _KEY)
    end = next(_member(group, b"last-delivered-id") for group in groups if _member(group, b"name") == _GROUP)
    oldest = await _oldest_pending(connection)
    if oldest is not None:
        end = b"(" + oldest
    ids = [item[0] for item in await connection.execute("XRANGE", _KEY, "-", end, "COUNT", READ_ENTRIES_MAX)]
    if not ids:
        return []
    claimed = await connection.execute("XCLAIM", _KEY, _GROUP, consumer, 0, *ids, "FORCE")
    return [Entry(*item) for item in claimed if item is not None]


async def finish(
    connection: ShardConnection, ids: Sequence[bytes], arrivals: Iterable[Arrival], reports: Iterable[Report]
) -> None:
    """Remove entries, and tell the edges what is committed.

    Removed first: that frees memory, which a shard that is full needs before it takes an acknowledgement (and before it
    takes a MULTI). An acknowledgement that gets lost here is given when the edge sends the frame again.
    """
    removals: list[Command] = [("XDEL", _KEY, *ids), ("XACK", _KEY, _GROUP, *ids)]
    await connection.pipeline(removals + _acknowledgements(arrivals, reports))


async def retire_dead(connection: ShardConnection, consumer: bytes, forget_ms: int) -> int:
    """Forget consumers that hold nothing and have not been heard of for long; returns how many.

    One that reads between the question and its removal loses what it read to nobody, where `claim_lost` finds it.
    """
    found = await connection.execute("XINFO", "CONSUMERS", _KEY, _GROUP)
    dead = [
        _member(one, b"name")
        for one in found
        if _member(one, b"pending") == 0 and _member(one, b"idle") > forget_ms and _member(one, b"name") != consumer
    ]
    commands = [("XGROUP", "DELCONSUMER", _KEY, _GROUP, name) for name in dead[:CONSUMERS_MAX]]
    return len(await connection.pipeline(commands)) if commands else 0


async def measure(connection: ShardConnection) -> Lag:
    """What waits now. Entries that consumers have are older than those that nobody got yet."""
    length, size, pending, (seconds, micros) = await connection.pipeline(
        [("XLEN", _KEY), ("MEMORY", "USAGE", _KEY), ("XPENDING", _KEY, _GROUP), ("TIME",)]
    )
    oldest = pending[1]
    if length and oldest is None:
        oldest = next((item[0] for item in await connection.execute("XRANGE", _KEY, "-", "+", "COUNT", 1)), None)
    if not length or oldest is None:
        return Lag()
    now_ms = int(seconds) * 1000 + int(micros) // 1000
    return Lag(length, size or 0, pending[0], max(0, now_ms - int(oldest.partition(b"-")[0])))


async def _ensure_group(connection: ShardConnection) -> None:
    is_there = await connection.execute("EXISTS", _KEY)
    groups = await connection.execute("XINFO", "GROUPS", _KEY) if is_there else []
    if not any(_member(group, b"name") == _GROUP for group in groups):
        await connection.execute("EVALSHA", connection.scripts["group"], 1, _KEY, _GROUP)


async def _oldest_pending(connection: ShardConnection) -> bytes | None:
    """The oldest id that a consumer has; ids whose entries are gone are dropped on the way."""
    while True:
        oldest: bytes | None = (await connection.execute("XPENDING", _KEY, _GROUP))[1]
        if oldest is None or await connection.execute("XRANGE", _KEY, oldest, oldest):
            return oldest
        await connection.execute("XACK", _KEY, _GROUP, oldest)


async def _read(connection: ShardConnection, consumer: bytes, after: bytes, *options: Any) -> list[Entry]:
    reply = await connection.execute(
        "XREADGROUP", "GROUP", _GROUP, consumer, "COUNT", READ_ENTRIES_MAX, *options, "STREAMS", _KEY, after
    )
    return [Entry(*item) for item in reply[0][1]] if reply else []


def _acknowledgements(arrivals: Iterable[Arrival], reports: Iterable[Report]) -> list[Command]:
    fields: dict[str, list[Any]] = {}
    for arrival in arrivals:
        frame = arrival.frame
        name = keys.frame_name(frame.writer, frame.segment, frame.start)
        fields.setdefault(frame.edge_id, []).extend((name, arrival.end))
    for report in reports:
        fields.setdefault(report.edge_id, []).extend((keys.report_name(report.writer), 1))
    commands: list[Command] = []
    for edge_id, pairs in fields.items():
        key = keys.click_ack_key(edge_id)
        commands += [("HSET", key, *pairs), ("PEXPIRE", key, ACK_EXPIRES_MS)]
    return commands


def _member(flat: Sequence[Any], name: bytes) -> Any:
    """The value of a name in a reply of names and values by turns."""
    return flat[flat.index(name) + 1]
