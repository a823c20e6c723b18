"""Connections to the shards that can be judged."""

import asyncio
from collections.abc import Mapping
from importlib import resources
from typing import Final

from control.db import Database
from control.errors import Error
from control.moves.connections import connect_known
from control.projection.store import ShardState
from control.shards.connection import ShardConnection
from wire.topology import Shard

# A shard that could not be reached is let alone for so long.
RETRY_INTERVAL_S: Final = 2.0


class Connections:
    """One to each shard, made when it is needed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._open: dict[str, tuple[Shard, ShardConnection]] = {}
        self._failed_s: dict[str, float] = {}

    async def judged(self, shard: Shard, states: Mapping[str, ShardState]) -> ShardConnection | None:
        """The connection to a shard that has to hold all its links; None if it may lack some, or cannot be reached."""
        state = states.get(shard.id)
        if state is None or not state.is_complete or state.is_joining:
            return None
        held = self._open.get(shard.id)
        if held is not None and held[0].url == shard.url and held[1].is_open and held[1].run_id == state.run_id:
            return held[1]
        await self._drop(shard.id)
        if asyncio.get_running_loop().time() - self._failed_s.get(shard.id, -RETRY_INTERVAL_S) < RETRY_INTERVAL_S:
            return None
        return await self._connect(shard)

    async def close(self) -> None:
        """Close all of them."""
        for shard_id in list(self._open):
            await self._drop(shard_id)

    async def _connect(self, shard: Shard) -> ShardConnection | None:
        try:
            connection = await connect_known(self._database, shard)
            script = (resources.files("control.audit") / "remove.lua").read_text(encoding="utf-8")
            connection.scripts["remove"] = await connection.execute("SCRIPT", "LOAD", script)
        except Error as error:
            if error.code != "shard_unavailable":
                raise
            self._failed_s[shard.id] = asyncio.get_running_loop().time()
            return None
        self._open[shard.id] = (shard, connection)
        return connection

    async def _drop(self, shard_id: str) -> None:
        held = self._open.pop(shard_id, None)
        if held is not None:
            await held[1].close()
