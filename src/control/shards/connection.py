"""One connection to one Redis process.

redis-py's clients reconnect by themselves. Here that would be wrong: what control knows of a shard holds for a process
(its run id), and a command that is sent again after a restart would reach a process whose content is not known. So a
connection that failed is closed for good, and its user asks for a new one and looks at its run id.
"""

from collections.abc import Sequence
from typing import Any, Final

import redis.asyncio.connection as redis_connection
from redis.exceptions import RedisError, ResponseError

from control.errors import Error

CONNECT_TIMEOUT_S: Final = 1.0
# Redis answers a batch in a few milliseconds. A shard that takes this long holds up the others' batch, once, and is
# then left alone until it answers again.
REPLY_TIMEOUT_S: Final = 1.0

Command = tuple[Any, ...]


class ShardConnection:
    """Used by one coroutine at a time. Every failure is Error("shard_unavailable")."""

    def __init__(self, shard_id: str, connection: redis_connection.AbstractConnection) -> None:
        self.shard_id = shard_id
        self.run_id = ""
        self.scripts: dict[str, bytes] = {}
        self._connection = connection
        self._is_open = False

    @property
    def is_open(self) -> bool:
        """Whether the connection may still be used."""
        return self._is_open

    async def execute(self, *command: Any) -> Any:
        """The reply to one command."""
        return (await self.pipeline([command]))[0]

    async def pipeline(self, commands: Sequence[Command]) -> list[Any]:
        """The replies to commands that are sent together, in order; an error reply among them closes the connection."""
        return await self.exchange(self._connection.pack_commands(commands), len(commands))

    async def exchange(self, packed: Sequence[bytes], replies: int) -> list[Any]:
        """The same for commands that are packed already, as so many replies expect."""
        if not self._is_open:
            raise Error("shard_unavailable", f"the connection to shard {self.shard_id} is closed")
        try:
            return await self._exchange(packed, replies)
        except ResponseError as error:
            await self.close()
            raise Error("shard_unavailable", f"shard {self.shard_id} answers with an error: {error}") from error
        except (RedisError, OSError, TimeoutError) as error:
            await self.close()
            raise Error("shard_unavailable", f"shard {self.shard_id} does not answer: {error}") from error
        except BaseException:
            # Cancelled with replies under way: the next user would read them as the replies to its own commands.
            await self.close()
            raise

    async def close(self) -> None:
        """Close for good."""
        self._is_open = False
        await self._connection.disconnect(nowait=True)

    async def open(self, scripts: dict[str, str]) -> None:
        """Connect, learn the run id and load the scripts by name; called once, by `connect`."""
        try:
            await self._connection.connect()  # type: ignore[no-untyped-call]
            commands = [("INFO", "server"), *(("SCRIPT", "LOAD", text) for text in scripts.values())]
            replies = await self._exchange(self._connection.pack_commands(commands), len(commands))
        except (RedisError, OSError, TimeoutError) as error:
            await self.close()
            raise Error("shard_unavailable", f"shard {self.shard_id} cannot be reached: {error}") from error
        except BaseException:
            await self.close()
            raise
        self.run_id = _run_id(replies[0])
        self.scripts = dict(zip(scripts, replies[1:], strict=True))
        self._is_open = True

    async def _exchange(self, packed: Sequence[bytes], replies: int) -> list[Any]:
        await self._connection.send_packed_command(packed, check_health=False)
        return [await self._connection.read_response() for _ in range(replies)]


async def connect(shard_id: str, url: str, scripts: dict[str, str] | None = None) -> ShardConnection:
    """A new connection to the Redis process that listens at `url` now."""
    connection = ShardConnection(shard_id, raw_connection(url, protocol=2))
    await connection.open(scripts or {})
    return connection


def raw_connection(url: str, protocol: int) -> redis_connection.AbstractConnection:
    """A connection of redis-py that is not open yet, with our deadlines and without retries."""
    options: dict[str, Any] = dict(redis_connection.parse_url(url))
    kind: type[redis_connection.AbstractConnection] = options.pop("connection_class", redis_connection.Connection)
    return kind(
        **options,
        protocol=protocol,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_timeout=REPLY_TIMEOUT_S,
        retry=None,
        driver_info=None,
    )


def _run_id(info: bytes | str) -> str:
    text = info.decode() if isinstance(info, bytes) else info
    for line in text.splitlines():
        if line.startswith("run_id:"):
            return line.removeprefix("run_id:")
    raise Error("shard_unavailable", "INFO server names no run_id; this is no Redis")
