"""The projector's connections: one to each shard, made and remade in the background.

A batch never waits for a connection: a shard without one is passed over (its rows are parked), so a shard that is down
or stalled delays the others at most once, by the reply timeout.
"""

import asyncio
from typing import Final

from control.background import Background, Pulse
from control.projection.shard_writer import connect_writer
from control.shards.connection import ShardConnection
from wire.topology import Topology

# How long a broken connection may go unnoticed by the task that remakes it.
CHECK_INTERVAL_S: Final = 0.25


class Writers:
    """The open connections by shard."""

    def __init__(self, background: Background) -> None:
        self._background = background
        self._connections: dict[str, ShardConnection] = {}
        self._urls: dict[str, str] = {}

    def get(self, shard_id: str) -> ShardConnection | None:
        """The shard's connection if it is open now."""
        connection = self._connections.get(shard_id)
        return connection if connection is not None and connection.is_open else None

    async def follow(self, topology: Topology) -> None:
        """Hold connections to just the shards of `topology`."""
        wanted = {shard.id: shard.url for shard in topology.shards}
        for shard_id in [shard_id for shard_id, url in self._urls.items() if wanted.get(shard_id) != url]:
            await self._drop(shard_id)
        for shard_id, url in wanted.items():
            if shard_id not in self._urls:
                self._urls[shard_id] = url
                self._background.start(f"writer {shard_id}", lambda pulse, s=shard_id, u=url: self._hold(pulse, s, u))  # type: ignore[misc]

    async def close(self) -> None:
        """Close every connection."""
        for shard_id in list(self._urls):
            await self._drop(shard_id)

    async def _drop(self, shard_id: str) -> None:
        del self._urls[shard_id]
        await self._background.stop_one(f"writer {shard_id}")
        connection = self._connections.pop(shard_id, None)
        if connection is not None:
            await connection.close()

    async def _hold(self, pulse: Pulse, shard_id: str, url: str) -> None:
        while True:
            if self.get(shard_id) is None:
                self._connections[shard_id] = await connect_writer(shard_id, url)
                pulse.beat()
            await asyncio.sleep(CHECK_INTERVAL_S)
