"""The process that a shard's address led to before it was changed: it may be alive, and edges connected to it.

Whoever changed the address has fenced it, if he could. He may have been killed before, or the process was stopped, or
cut off. An edge that knows no other shard would believe it for ever: nobody else tells the edge of the new topology. So
the process is looked for, and fenced when it answers.
"""

import asyncio
from typing import Final

from control.background import Pulse
from control.db import Database
from control.errors import Error
from control.projection import publication
from control.projection.shard_writer import connect_writer
from control.shards.connection import ShardConnection

LOOK_INTERVAL_S: Final = 2.0
# A machine that was suspended comes back within a day, or somebody has to do with it.
LOOKED_FOR_S: Final = 86_400.0


class Former:
    """Looks for the process `run_id` at `url`, and for no other: what listens there later may be anybody's."""

    def __init__(self, shard_id: str, url: str, run_id: str, database: Database) -> None:
        self._shard_id = shard_id
        self._url = url
        self._run_id = run_id
        self._database = database
        self._deadline_s = asyncio.get_running_loop().time() + LOOKED_FOR_S

    async def run(self, pulse: Pulse) -> None:
        """Look until there is nothing to be done any more; that it does not answer is no failure."""
        clock = asyncio.get_running_loop().time
        while not await self._is_settled() and clock() < self._deadline_s:
            pulse.beat()
            await asyncio.sleep(LOOK_INTERVAL_S)
        await pulse.rest()

    async def _is_settled(self) -> bool:
        try:
            shard = await connect_writer(self._shard_id, self._url)
        except Error:
            return False
        try:
            return shard.run_id != self._run_id or await self._fence_off(shard)
        except Error:
            return False  # it has gone again, or takes no writes; or the database has
        finally:
            await shard.close()

    async def _fence_off(self, shard: ShardConnection) -> bool:
        """Whether no edge that believes it stays with it. As a replica it carries the fence of another process."""
        observed = await publication.observe(shard)
        async with self._database.connection() as connection:
            published = await publication.read_published(connection)
        if any(member.url == self._url for member in published.topology.shards):
            return True  # the address is in use again
        fence = observed.fence
        if fence is None or fence.run_id != shard.run_id or fence.epoch >= published.topology.epoch:
            return True
        return await publication.give_up(shard, published)
