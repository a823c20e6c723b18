"""Hearing the channel of the live tail on one shard."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import redis.asyncio.connection as redis_connection
from redis.exceptions import RedisError

from control.background import Pulse
from control.errors import Error
from control.shards.connection import raw_connection
from wire import keys
from wire.topology import Shard

PING_INTERVAL_S: Final = 1.0

OnState = Callable[[str, bool], None]
OnMessage = Callable[[bytes], Awaitable[None]]


class Subscription:
    """Subscribed to one shard; `on_state` is told when that begins and when it breaks."""

    def __init__(self, shard: Shard, on_state: OnState, on_message: OnMessage) -> None:
        self._shard = shard
        self._on_state = on_state
        self._on_message = on_message

    async def run(self, pulse: Pulse) -> None:
        """Hear messages over one connection until it breaks; called again by Background."""
        connection = raw_connection(self._shard.url, protocol=2)
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
            await connection.send_command("SUBSCRIBE", keys.CLICKS_TAIL, check_health=False)
            await connection.read_response()
            self._on_state(self._shard.id, True)
            pulse.beat()
            await self._hear(connection)
        except (RedisError, OSError, TimeoutError) as error:
            raise Error("shard_unavailable", f"shard {self._shard.id} cannot be followed: {error}") from error
        finally:
            self._on_state(self._shard.id, False)
            await connection.disconnect(nowait=True)

    async def _hear(self, connection: redis_connection.AbstractConnection) -> None:
        is_pinged = False
        while True:
            reply: Any = await connection.read_response(timeout=PING_INTERVAL_S, disconnect_on_error=False)
            if reply is None:  # nothing came in this time
                if is_pinged:
                    raise TimeoutError("it is silent, and what it publishes does not arrive either")
                await connection.send_command("PING", check_health=False)
            elif reply[0] == b"message":
                await self._on_message(reply[2])
            is_pinged = reply is None
