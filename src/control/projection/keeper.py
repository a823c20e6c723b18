"""The keeper of one shard: watches the Redis process behind it, publishes to it, repairs it and fences it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from control.background import Pulse
from control.bell import Bell, heard
from control.db import Connection, Database
from control.log import Logger
from control.projection import publication, recovery, store
from control.projection.decision import Need, Observed, decide
from control.projection.shard_writer import connect_writer, write_batch
from control.projection.store import ShardState
from control.shards.connection import ShardConnection
from control.shards.current import CurrentPlacement
from control.shards.edges import ShardEdges
from wire.topology import Shard

# A restarted shard is noticed when its connection breaks, a new topology when the bell is rung, an emptied shard
# within this.
CHECK_INTERVAL_S: Final = 0.25
PROBE_INTERVAL_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What all keepers of a process share. `bell` rings when there is a new topology; `wake` wakes the projector."""

    database: Database
    placement: CurrentPlacement
    bell: Bell
    wake: Callable[[], None]
    log: Logger


class Keeper:
    """One shard's keeper. Any number of control processes may run one: an advisory lock lets one of them repair."""

    def __init__(self, shard: Shard, edges: ShardEdges, tools: Tools) -> None:
        self._shard = shard
        self._edges = edges
        self._database = tools.database
        self._placement = tools.placement
        self._bell = tools.bell
        self._wake = tools.wake
        self._log = tools.log.bind(shard=shard.id)
        self._probed_s = 0.0
        self.need: Need = "nothing"
        self.is_complete = False
        self.run_id = ""  # of the process that answered last

    async def run(self, pulse: Pulse) -> None:
        """Watch over one connection until it breaks; called again by Background."""
        connection = await connect_writer(self._shard.id, self._shard.url)
        self.run_id = connection.run_id
        try:
            while True:
                changed = self._bell.listen()
                await self._check(connection)
                pulse.beat()
                await heard(changed, CHECK_INTERVAL_S)
        finally:
            self.is_complete = False
            await connection.close()

    async def _check(self, shard: ShardConnection) -> None:
        observed = await publication.observe(shard)
        async with self._database.connection() as connection:
            state = await self._judge(connection, shard, observed)
            if state is None or (self.need == "publish" and await publication.publish(connection, shard, observed)):
                return
        if self.need == "nothing":
            await self._free_waiting()
            await self._probe(shard, state)
        elif self.need != "publish":
            await self._repair(shard)

    async def _judge(self, connection: Connection, shard: ShardConnection, observed: Observed) -> ShardState | None:
        """Find out what the shard needs; None if it is not in the topology, at this address, any more."""
        placement = await self._placement.get(connection)
        state = (await store.states(connection, [shard.shard_id])).get(shard.shard_id)
        members = placement.topology.shards if placement is not None else ()
        if state is None or not any((one.id, one.url) == (self._shard.id, self._shard.url) for one in members):
            self.need = "nothing"
            return None
        assert placement is not None
        revision = await connection.fetchval("SELECT domains_revision FROM installation")
        self.need = decide(state, observed, placement.topology.epoch, revision)
        self.is_complete = self.need in ("nothing", "publish") and state.is_complete and not state.is_joining
        return state

    async def _free_waiting(self) -> None:
        async with self._database.connection() as connection:
            await recovery.unpark(connection, self._shard.id, self._wake)

    async def _probe(self, shard: ShardConnection, state: ShardState) -> None:
        """Write an empty batch every few seconds, so that the edges' lag is known when nobody changes a link.

        Only on the process that PostgreSQL calls ours: on one that has just come back, a number taken now would hide
        how far its log reaches.
        """
        now_s = asyncio.get_running_loop().time()
        if now_s - self._probed_s >= PROBE_INTERVAL_S:
            self._probed_s = now_s
            self._edges.probe(await write_batch(shard, [], state.base_seq), now_s)

    async def _repair(self, shard: ShardConnection) -> None:
        """Look again under the keeper's lock, and act, unless another keeper has it.

        The lock is one of a session of its own: it ends with this process, whatever becomes of it.
        """
        async with self._database.dedicated() as connection:
            await store.end_when_stopped(connection)
            if await store.try_keeper_lock(connection, shard.shard_id):
                observed = await publication.observe(shard)
                if await self._judge(connection, shard, observed) is not None:
                    await self._act(connection, shard, observed)

    async def _act(self, connection: Connection, shard: ShardConnection, observed: Observed) -> None:
        if self.need == "full":
            self._log.info("shard is being filled", run_id=shard.run_id)
            await recovery.fill(connection, shard, self._wake, lambda _: None)
            self._log.info("shard is complete", run_id=shard.run_id)
        elif self.need == "adopt":
            await recovery.begin_fill(connection, shard)
            await recovery.unpark(connection, shard.shard_id, self._wake)
            self._log.info("shard joins", run_id=shard.run_id)
        elif self.need == "tail":
            lost = await recovery.redo_tail(connection, shard, observed, self._wake)
            self._log.info("shard came back and is complete", run_id=shard.run_id, links_redone=lost)
