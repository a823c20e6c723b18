"""The click stream of one Redis process, over one connection of redis-py.

redis-py's clients reconnect by themselves. Here that would be wrong: what is in a stream holds for a process (its run
id), and one that was started anew may have lost it. So a connection that failed is closed for good, and its user asks
for a new one and looks at its run id.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import redis.asyncio.connection as redis_connection
from redis.exceptions import RedisError

from wire import keys

# An entry has up to 128 KiB; a shard that takes this long for a few of them is no place to send more to.
REPLY_TIMEOUT_S: Final = 2.0

# Entries looked for by one script: it copies them, and the shard's look-ups wait for its end, some milliseconds.
PRESENT_MAX: Final = 64
# XRANGE would send each frame back whole, only to tell that it is there.
PRESENT: Final = """
local found = {}
for number, id in ipairs(ARGV) do
  found[number] = #redis.call('XRANGE', KEYS[1], id, id)
end
return found
"""

Command = tuple[Any, ...]


class StreamError(Exception):
    """The shard takes no clicks now; the message says why."""


class ClickStream:
    """Made by `connect`; used by one coroutine at a time."""

    def __init__(self, connection: redis_connection.AbstractConnection) -> None:
        self.run_id = ""
        self._connection = connection

    async def length(self) -> int:
        """How many entries nobody has taken out yet."""
        return int(await self._execute("XLEN", keys.CLICKS))

    async def append(self, entries: Sequence[Mapping[bytes, bytes]]) -> list[bytes]:
        """Put entries behind the others; their ids. Never trims: what is not stored yet must stay."""
        return await self._pipeline([("XADD", keys.CLICKS, "*", *_flat(entry)) for entry in entries])

    async def present(self, entry_ids: Sequence[bytes]) -> list[bool]:
        """Which of these entries are still in the stream."""
        parts = [entry_ids[at : at + PRESENT_MAX] for at in range(0, len(entry_ids), PRESENT_MAX)]
        replies = await self._pipeline([("EVAL", PRESENT, 1, keys.CLICKS, *part) for part in parts])
        return [count > 0 for reply in replies for count in reply]

    async def acknowledgements(self, edge_id: str) -> dict[bytes, bytes]:
        """What control says of an edge's frames and reports, see `wire.keys`."""
        reply = iter(await self._execute("HGETALL", keys.click_ack_key(edge_id)))
        return dict(zip(reply, reply, strict=True))

    async def clear(self, edge_id: str, names: Sequence[bytes]) -> None:
        """Take acknowledgements out that were read."""
        await self._execute("HDEL", keys.click_ack_key(edge_id), *names)

    async def topology(self) -> bytes | None:
        """The topology document that the shard holds."""
        data: bytes | None = await self._execute("GET", keys.TOPOLOGY)
        return data

    async def open(self) -> None:
        """Connect and learn the run id; called once, by `connect`."""
        try:
            await self._connection.connect()  # type: ignore[no-untyped-call]
        except (RedisError, OSError, TimeoutError) as error:
            raise StreamError(f"it cannot be reached: {error}") from error
        self.run_id = _run_id(await self._execute("INFO", "server"))

    async def close(self) -> None:
        """Close for good."""
        await self._connection.disconnect(nowait=True)

    async def _execute(self, *command: Any) -> Any:
        return (await self._pipeline([command]))[0]

    async def _pipeline(self, commands: Sequence[Command]) -> list[Any]:
        """The replies in order. An error among them is one of all: nobody knows what of the rest was done."""
        if not commands:
            return []
        try:
            await self._connection.send_packed_command(self._connection.pack_commands(commands), check_health=False)
            return [await self._connection.read_response() for _ in commands]
        except (RedisError, OSError, TimeoutError) as error:
            raise StreamError(f"it does not answer: {error}") from error


async def connect(url: str, connect_timeout_s: float) -> ClickStream:
    """The stream of the process that listens at `url` now; raises StreamError."""
    try:
        options: dict[str, Any] = dict(redis_connection.parse_url(url))
    except ValueError as error:
        raise StreamError(f"its URL cannot be used: {error}") from error
    kind: type[redis_connection.AbstractConnection] = options.pop("connection_class", redis_connection.Connection)
    connection = kind(
        **options,
        protocol=2,
        socket_connect_timeout=connect_timeout_s,
        socket_timeout=REPLY_TIMEOUT_S,
        retry=None,
        driver_info=None,
    )
    stream = ClickStream(connection)
    try:
        await stream.open()
    except BaseException:
        await stream.close()
        raise
    return stream


def _flat(entry: Mapping[bytes, bytes]) -> list[bytes]:
    return [word for field in entry.items() for word in field]


def _run_id(info: bytes | str) -> str:
    text = info.decode() if isinstance(info, bytes) else info
    for line in text.splitlines():
        if line.startswith("run_id:"):
            return line.removeprefix("run_id:")
    raise StreamError("INFO server names no run_id; this is no Redis")
