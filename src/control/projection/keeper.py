"""The keeper of one shard: watches the Redis process behind it, repairs it and fences it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from control.background import Pulse
from control.db import Connection, Database
from control.log import Logger
from control.projection import recovery, store
from control.projection.decision import Need, Observed, decide
from control.projection.shard_writer import connect_writer, write_batch
from control.projection.store import ShardState
from control.shards import store as shard_store
from control.shards.connection import ShardConnection
from control.shards.edges import ShardEdges
from wire.topology import Shard, Topology

# A restarted shard is noticed when its connection breaks, an emptied one within this.
CHECK_INTERVAL_S: Final = 0.25
PROBE_INTERVAL_S: Final = 5.0


@dataclass(slots=True)
class Known:
    """What this keeper has published over its present connection."""

    epoch: int = 0
    revision: int = 0
    probed_s: float = 0.0


class Keeper:
    """One shard's keeper. Any number of control processes may run one: an advisory lock lets one of them act."""

    def __init__(
        self, database: Database, shard: Shard, edges: ShardEdges, wake: Callable[[], None], log: Logger
    ) -> None:
        self._database = database
        self._shard = shard
        self._edges = edges
        self._wake = wake
        self._log = log.bind(shard=shard.id)
        self.need: Need = "nothing"

    async def run(self, pulse: Pulse) -> None:
        """Watch over one connection until it breaks; called again by Background."""
        connection = await connect_writer(self._shard.id, self._shard.url)
        known = Known()
        try:
            while True:
                await self._check(connection, known)
                pulse.beat()
                await asyncio.sleep(CHECK_INTERVAL_S)
        finally:
            await connection.close()

    async def _check(self, shard: ShardConnection, known: Known) -> None:
        async with self._database.connection() as connection:
            epoch = await shard_store.current_epoch(connection)
            revision = await connection.fetchval("SELECT domains_revision FROM installation")
            state = (await store.states(connection, [shard.shard_id]))[shard.shard_id]
        self.need = decide(state, await recovery.observe(shard), epoch)
        if self.need == "nothing" and (known.epoch, known.revision) == (epoch, revision):
            await self._free_waiting()
            await self._probe(shard, state, known)
        elif await self._act_as_keeper(shard):
            known.epoch, known.revision = epoch, revision

    async def _free_waiting(self) -> None:
        async with self._database.connection() as connection:
            await recovery.unpark(connection, self._shard.id, self._wake)

    async def _probe(self, shard: ShardConnection, state: ShardState, known: Known) -> None:
        """Write an empty batch every few seconds, so that the edges' lag is known when nobody changes a link.

        Only on the process that PostgreSQL calls ours: on one that has just come back, a number taken now would hide
        how far its log reaches.
        """
        now_s = asyncio.get_running_loop().time()
        if now_s - known.probed_s >= PROBE_INTERVAL_S:
            known.probed_s = now_s
            self._edges.probe(await write_batch(shard, [], state.base_seq), now_s)

    async def _act_as_keeper(self, shard: ShardConnection) -> bool:
        """Look again under the keeper's lock, and act; False if another keeper has it.

        The lock is one of a session of its own: it ends with this process, whatever becomes of it.
        """
        async with self._database.dedicated() as connection:
            if not await store.try_keeper_lock(connection, shard.shard_id):
                return False
            topology = await shard_store.current(connection)
            assert topology is not None  # a keeper is started for a shard of a topology
            observed = await recovery.observe(shard)
            state = (await store.states(connection, [shard.shard_id]))[shard.shard_id]
            self.need = decide(state, observed, topology.epoch)
            await self._act(connection, shard, topology, observed)
            self.need = "nothing"
        return True

    async def _act(
        self, connection: Connection, shard: ShardConnection, topology: Topology, observed: Observed
    ) -> None:
        published = await recovery.read_published(connection, topology)
        if self.need == "full":
            self._log.info("shard is being filled", run_id=shard.run_id)
            await recovery.fill(connection, shard, published, self._wake, lambda _: None)
            self._log.info("shard is complete", run_id=shard.run_id)
        elif self.need == "tail":
            lost = await recovery.redo_tail(connection, shard, published, observed, self._wake)
            self._log.info("shard came back and is complete", run_id=shard.run_id, links_redone=lost)
        else:
            await recovery.publish(shard, published, observed)
